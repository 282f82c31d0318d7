"""Join the parts of the bundle on the machine with the GPU, and install its wheels beside the machine's own packages.

    python3 benchmarks/gpu/unpack.py --into ~/tdro-gpu

Needs Python's own library only. Each call keeps the parts that it finds; with the last one the bundle is whole, and is
unpacked. Nothing of the machine is changed: the wheels go into a folder that PYTHONPATH names.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

BUNDLE = Path(__file__).parent / "bundle"
LIST = "parts.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Keep the parts that are here; unpack if they are all there. 1 if parts are missing still, 2 if one is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--no-install", action="store_true", help="unpack only")
    options = parser.parse_args(arguments)
    try:
        missing = unpack(options.bundle, options.into)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if missing:
        print(f"still missing: {', '.join(missing)}")
        return 1
    if not options.no_install:
        wheels = sorted(map(str, (options.into / "wheels").glob("*.whl")))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--upgrade"]
        subprocess.run([*pip, "--target", str(options.into / "packages"), *wheels], check=True)
    into = options.into.absolute()
    print(f"export PYTHONPATH={into / 'packages'}:$PWD/src TDRO_CACHE={into / 'cache'} HF_HUB_OFFLINE=1")
    return 0


def unpack(bundle: Path, into: Path) -> list[str]:
    """Keep the parts of ``bundle`` in ``into/parts``, and extract them all into ``into`` once none is missing.

    Returns:
        The names of the parts that are missing.

    Raises:
        ValueError: a part is not what was packed.
    """
    kept = into / "parts"
    kept.mkdir(parents=True, exist_ok=True)
    for file in bundle.glob("*"):
        shutil.copyfile(file, kept / file.name)
    expected: dict[str, str] = json.loads((kept / LIST).read_text(encoding="utf-8"))
    missing = [name for name in expected if not (kept / name).exists()]
    for name in expected.keys() - set(missing):
        if hashlib.sha256((kept / name).read_bytes()).hexdigest() != expected[name]:
            (kept / name).unlink()
            raise ValueError(f"{name} is not the part that was packed; bring it again")
    if not missing:
        whole = into / "bundle.tar.xz"
        with whole.open("wb") as file:
            for name in sorted(expected):
                file.write((kept / name).read_bytes())
        with tarfile.open(whole) as archive:
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 and newer
            archive.extractall(into, **safe)
        whole.unlink()
    return missing


if __name__ == "__main__":
    sys.exit(main())
