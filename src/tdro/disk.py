"""A disk that is full, read-only or somebody else's: what is said of it, whoever was writing.

An ``OSError`` says why, but one of ``write`` has no name of a file; safetensors, torch, NumPy and shutil raise errors
of their own. :func:`named` makes an ``OSError`` with the name out of all of these, and the command line prints what
:func:`told` makes of it. Rejected: a ``try`` around each place that writes, of which there are a hundred.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tdro.errors import UserError

_NO_ROOM = "make room, then the same command goes on"
_ELSEWHERE = "name another place, or get the right to write there"
_FOLDER = "a file is where a folder should be; move it away, or name another folder"
_ADVICE = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: f"a limit such as `ulimit -f`, or of the file system; {_NO_ROOM}",
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.ENOTDIR: _FOLDER,
    errno.EEXIST: _FOLDER,
    errno.EISDIR: "a folder is where a file should be; move it away, or name another file",
    errno.ENOTEMPTY: "somebody else writes there",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ELOOP: "its links lead in a circle",
    errno.EIO: "the disk, or the network to it, fails",
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # whose file is the one written, whatever they name
_NUMBER = re.compile(r"\(os error (\d+)\)|\[errno (\d+)\]", re.IGNORECASE)  # safetensors; shutil, Arrow
# torch and NumPy, which do not say why
_UNNUMBERED = re.compile(
    r"PytorchStreamWriter failed|file write failed|unexpected pos \d+ vs|basic_ios::clear|\d+ requested and \d+ written"
)
_UNOPENED = re.compile(r"^File \S* cannot be opened|open file failed", re.IGNORECASE)  # torch


def disk_error(error: BaseException) -> int | None:
    """The error number of a failure to write, wherever it is in the chain of causes; None if it is something else."""
    seen: BaseException | None = error
    while seen is not None:
        number = _number(seen)
        if number in _ADVICE:
            return number
        seen = seen.__cause__ or seen.__context__
    return None


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    text = str(error)
    if found := _NUMBER.search(text):
        return int(found[1] or found[2])
    if isinstance(error, (OSError, RuntimeError)) and _UNNUMBERED.search(text):
        return errno.ENOSPC
    return errno.EACCES if isinstance(error, RuntimeError) and _UNOPENED.search(text) else None


@contextlib.contextmanager
def named(path: Path | str) -> Iterator[None]:
    """What fails to be written in this block fails as an ``OSError`` with the name of ``path``.

    Another file's name is kept (a file that is where a folder should be, one that may not be read), unless that is in
    or beside ``path``: it is temporary then.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number = disk_error(error)
        if number is None:
            raise
        own = getattr(error, "filename", None)
        name = own if isinstance(own, str) and number not in _FULL and not _beside(own, path) else str(path)
        raise OSError(number, os.strerror(number), name) from error


def _beside(one: str, path: Path | str) -> bool:
    return Path(path).absolute().parent in Path(one).absolute().parents


def told(error: BaseException, cache: Path) -> str | None:
    """A line about a failure to write, with the path and what to do; None if it is something else.

    Args:
        error: any.
        cache: the user's cache, which can be moved.
    """
    if isinstance(error, FileNotFoundError) and "No usable temporary directory" in str(error):
        return "no folder for temporary files can be written; set TMPDIR to one that can"
    number = disk_error(error)
    if number is None:
        return None
    path = getattr(error, "filename", None)
    line = f"cannot be written ({os.strerror(number)}); {_ADVICE[number]}"
    if not isinstance(path, str):
        return f"a file {line}"
    place = Path(path).absolute()
    if cache.absolute() in (place, *place.parents):
        line += "; TDRO_CACHE names another folder"
    elif str(place).startswith(str(Path(tempfile.gettempdir()).absolute() / tempfile.gettempprefix())):
        line += "; TMPDIR names another folder"
    return f"{path}: {line}"


def check_writable(path: Path | str, *, folder: bool = False) -> None:
    """Raise where a file, or files in a folder, cannot be written: before the work whose result they are.

    Nothing is made and nothing is left.

    Raises:
        UserError: a folder is where the file should be, or a file where a folder should be.
        OSError: nothing can be written there; with its name.
    """
    path = Path(path).absolute()
    if not folder and path.is_dir():
        raise UserError(f"{path}: is a folder; name a file in it")
    place = path if folder else path.parent
    while not place.exists() and not place.is_symlink():
        place = place.parent
    if not place.is_dir():
        raise UserError(f"{place}: is a file, where a folder should be; move it away, or name another folder")
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(place)) from error


def reserve(path: Path) -> None:
    """Let a sparse file take up its room on the disk: a full disk is an error then, and not a signal that ends the
    process when a page of its memory map is written.

    Raises:
        OSError: there is no room.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, max(1, path.stat().st_size))
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
