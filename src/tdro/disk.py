"""A disk that is full, read-only or somebody else's: one kind of error, whoever was writing.

An ``OSError`` of ``write`` says why but not which file, and safetensors, torch, NumPy and shutil raise errors of their
own. ``with writing(path):`` turns all of these into a :class:`DiskError`, which names the path, the reason and what to
do. See docs/decisions.md, writing-block.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
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
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # errors that no other file is to blame for
# The error number in a message of safetensors, or of shutil and Arrow.
_NUMBER = re.compile(r"\(os error (\d+)\)|\[errno (\d+)\]", re.IGNORECASE)
# Messages of torch and NumPy when a write failed; they do not say why.
_UNNUMBERED = re.compile(
    r"PytorchStreamWriter failed|file write failed|unexpected pos \d+ vs|basic_ios::clear|\d+ requested and \d+ written"
)
# Messages of torch when a file could not be opened.
_UNOPENED = re.compile(r"^File \S* cannot be opened|open file failed", re.IGNORECASE)


def disk_error(error: BaseException) -> int | None:
    """The number (``errno``) of an error if it is a failure to write, else None.

    The failure may be the error itself or anywhere in the chain of its causes.
    """
    cause: BaseException | None = error
    while cause is not None:
        number = _number(cause)
        if number in _ADVICE:
            return number
        cause = cause.__cause__ or cause.__context__
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


class DiskError(OSError, UserError):
    """Something could not be written. Its text is a line with the path, the reason and what to do.

    Args:
        number: of the error, such as ``errno.ENOSPC``.
        path: what could not be written, if that is known.
        other: what is in the way, such as a file where a folder should be.
    """

    def __init__(self, number: int, path: Path | str | None, other: Path | str | None = None) -> None:
        super().__init__(number, os.strerror(number), None if path is None else str(path))
        self.other = other

    def __str__(self) -> str:
        reason = f"{self.strerror}: {self.other}" if self.other else self.strerror
        line = f"{self.filename or 'a file'}: cannot be written ({reason}); {_ADVICE[self.errno or 0]}"
        place = Path(self.filename or "").absolute()
        if cache_folder().absolute() in (place, *place.parents):
            return f"{line}; TDRO_CACHE names another folder"
        temporary = Path(tempfile.gettempdir()).absolute() / tempfile.gettempprefix()
        return f"{line}; TMPDIR names another folder" if str(place).startswith(str(temporary)) else line


def cache_folder(cache: Path | str | None = None) -> Path:
    """The folder of the cache: ``cache``, else ``$TDRO_CACHE``, else ``$XDG_CACHE_HOME/tdro``, else ``~/.cache/tdro``.

    It need not be there.
    """
    if cache or (cache := os.environ.get("TDRO_CACHE")):
        return Path(cache).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tdro"


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Raise a :class:`DiskError` that names ``path`` for whatever cannot be written in this block.

    It also names a file that is in the way, such as one where a folder should be.
    """
    try:
        yield
    except Exception as error:
        number = None if isinstance(error, UserError) and not isinstance(error, DiskError) else disk_error(error)
        if number is None:
            raise
        own = getattr(error, "other", None) or getattr(error, "filename", None)
        in_the_way = isinstance(own, (str, Path)) and number not in _FULL and not _beside(own, path)
        raise DiskError(number, path, own if in_the_way else None) from error


def _beside(one: Path | str, path: Path | str) -> bool:
    """Whether ``one`` is in the folder of ``path`` or below it, as a temporary file is."""
    return Path(path).absolute().parent in Path(one).absolute().parents


def disk_error_line(error: Exception) -> str | None:
    """The message for a failure to write that happened in no :func:`writing` block; None if the error is another."""
    if isinstance(error, FileNotFoundError) and "No usable temporary directory" in str(error):
        return "no folder for temporary files can be written; set TMPDIR to one that can"
    number = disk_error(error)
    if number is None:
        return None
    own = getattr(error, "filename2", None) or getattr(error, "filename", None)
    return str(DiskError(number, own if isinstance(own, str) else None))


def check_writable(path: Path | str, *, folder: bool = False, read: Iterable[Path | str] = ()) -> None:
    """Raise if a file, or files in a folder, cannot be written. Called before the work whose result they are.

    Nothing is left of the attempt.

    Args:
        path: of the file, or of the folder.
        folder: it is a folder.
        read: what the command reads. None of it may be written over, whatever the user forces.

    Raises:
        UserError: nothing can be written there, or a folder is where the file should be, or the reverse; or the command
            reads it.
    """
    path = Path(path)
    if path.resolve() in {Path(each).expanduser().resolve() for each in read}:
        raise UserError(f"{path}: is read by this command; write to another place")
    if not folder and path.is_dir():
        raise UserError(f"{path}: is a folder; name a file in it")
    place = path.absolute() if folder else path.absolute().parent
    while not place.exists() and not place.is_symlink():
        place = place.parent
    if not place.is_dir():
        raise DiskError(errno.ENOTDIR, path, None if place == path.absolute() else place)
    with writing(path), tempfile.TemporaryFile(dir=place) as file:
        file.write(bytes(4096))


def reserve_space(path: Path) -> None:
    """Let a sparse file take up its whole room on the disk, before it is written through a memory map.

    Otherwise a full disk would not be an error, but a signal that ends the process when a page of the map is written.

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
