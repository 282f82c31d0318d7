"""The SHA-256 of a file's bytes, computed once and remembered in the cache with the file's size and time.

A run begins by asking whether its sources are the ones that were built before. To answer that by reading 20 GB takes
half a minute. So the digest is remembered, and as long as path, size and modification time are the same, the file is
not read again. It is always the digests that are compared: a copy or a touched file has the same one. A file that was
changed less than two seconds ago is not remembered, for another change could give it the same time.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

from tdro.console import progress_bar
from tdro.disk import cache_folder
from tdro.errors import UserError
from tdro.files import fingerprint, read_json, write_json

_BLOCK = 1 << 20
_SETTLED = 2_000_000_000  # nanoseconds; no file system's clock is coarser

logger = logging.getLogger(__name__)


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex. Raises :class:`UserError` if the file cannot be read."""
    try:
        path = path.resolve()
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        note = _note(str(path))
        if (known := _read(note)) and known.get("stamp") == stamp:
            return str(known["digest"])
        digest = _digest(path, status.st_size)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    if time.time_ns() - status.st_mtime_ns > _SETTLED:
        _remember(note, {"what": str(path), "stamp": stamp, "digest": digest})
    return digest


def remembered(what: str, ask: Callable[[], str]) -> str:
    """What ``ask`` returns. Where it raises :class:`UserError` (no network), what it returned last, with a warning.

    Args:
        what: names the question in the cache and in the warning.
        ask: is called once.
    """
    note = _note(what)
    try:
        answer = ask()
    except UserError as error:
        if known := _read(note):
            logger.warning("%s: taken as it was last (%s)", what, error)
            return str(known["digest"])
        raise
    _remember(note, {"what": what, "digest": answer})
    return answer


def _note(what: str) -> Path:
    return cache_folder() / "digests" / f"{fingerprint(what)}.json"


def _remember(note: Path, content: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # without a cache, the digest is computed again: slower, but right
        write_json(note, content)


def _read(note: Path) -> dict[str, object] | None:
    try:
        content = read_json(note)
    except UserError:  # not there, or broken: as if nothing had been remembered
        return None
    return content if isinstance(content, dict) and "digest" in content else None


def _digest(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with (
        path.open("rb") as file,
        progress_bar(total=size, title=f"reading {path.name}", unit="B", unit_scale=True) as bar,
    ):
        while block := file.read(_BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()
