"""What a file holds, as a digest of its bytes; computed once, and remembered with the file's size and time.

A run begins by asking whether its sources are those that were built before. Reading 20 GB to answer takes half a
minute; size and modification time of the same path answer at once. They only ever spare the reading: what is compared
is the digest, so a copy, a checkout or a touched file is known for what it is. A file that was changed a moment ago is
not remembered, for the next change could have the same time.
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
_SETTLED = 2_000_000_000  # nanoseconds: coarser than any file system's clock

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
    """What ``ask`` answers; or, where it raises :class:`UserError`, what it answered the last time it did not."""
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
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time; who must write there, says so
        write_json(note, content)


def _read(note: Path) -> dict[str, object] | None:
    try:
        content = read_json(note)
    except UserError:  # not there, or broken: it is made again
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
