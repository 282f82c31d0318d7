"""Files that are there whole or not at all: atomic writes, JSON, and fingerprints of contents.

Every file is written under another name beside its destination and then renamed, so a kill leaves the old file or the
new one, never half of one. JSON has enough digits of a float64 that it is the same to the bit when it is read. See
docs/decisions.md, no-pickle.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tdro.disk import writing
from tdro.errors import UserError

_NAME = 200  # characters of a name that its temporary file takes over; file systems allow 255 bytes in all


def write_atomic(path: Path | str, content: str | bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file by a temporary file, fsync and rename.

    A file that holds the content already is left alone, so that a command that is repeated changes nothing.

    Args:
        path: of the file; its folder is made.
        content: a text, bytes, or a function that writes to the open file.

    Raises:
        DiskError: it cannot be written.
    """
    path = Path(path)
    content = content.encode("utf-8") if isinstance(content, str) else content
    if isinstance(content, bytes) and file_holds(path, content):
        return
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:_NAME]}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def exists(value: str) -> bool:
    """Whether there is a file or folder of that name. A text that cannot be a path at all is False, no error."""
    try:
        return bool(value) and Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def file_holds(path: Path, content: bytes) -> bool:
    """Whether a file is there and has exactly this content."""
    try:
        return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


@contextlib.contextmanager
def whole_folder(folder: Path | str) -> Iterator[Path]:
    """A new folder for the block to fill.

    When the block ends without an error, the folder gets its name and replaces an older one; after an error, nothing of
    it is left.

    Example::

        with whole_folder("out") as folder:
            write_json(folder / "a.json", a)
            write_json(folder / "b.json", b)  # "out" is there with both files, or not at all

    Raises:
        DiskError: it, or what the block writes, cannot be written.
    """
    folder = Path(folder)
    with writing(folder), _beside(folder) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        yield made
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        made.rename(folder)


def _beside(folder: Path) -> tempfile.TemporaryDirectory[str]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Without ignore_cleanup_errors, a failure to remove it would hide the error for which it is removed.
    return tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name[:_NAME]}.", ignore_cleanup_errors=True)


def make_once(path: Path | str, make: Callable[[], None]) -> None:
    """Call ``make`` unless the file is there, even if several processes come here at once.

    One process makes it; the others wait and then find what it made.

    Args:
        path: the file that ``make`` writes last of all.
        make: writes it, and whatever else belongs to it.

    Raises:
        DiskError: it cannot be written there.
    """
    path = Path(path)
    if path.exists():
        return
    from filelock import FileLock

    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / "lock"):
            if not path.exists():
                make()


def remove_whole(folder: Path) -> None:
    """Remove a folder if it is there.

    It is renamed first: a kill in the middle leaves no half of it under its name, which a later run would continue.
    """
    removed = folder.with_name(folder.name + ".removed")
    shutil.rmtree(removed, ignore_errors=True)
    if folder.exists():
        folder.rename(removed)
        shutil.rmtree(removed)


def write_json(path: Path | str, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomic(path, _as_json(value))


def holds_json(path: Path | str, value: Any) -> bool:
    """Whether a file has exactly the content that :func:`write_json` would write."""
    return file_holds(Path(path), _as_json(value).encode())


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def read_json(path: Path | str) -> Any:
    """Read JSON.

    Raises:
        UserError: the file is missing or broken, or has a key twice; with file and line.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_each_key_once)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error
    except (
        OSError,
        RecursionError,
        ValueError,
    ) as error:  # ValueError: not UTF-8, or a number with thousands of digits
        raise UserError(f"{path}: cannot be read ({error})") from error


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} is there twice; which one counts?")
    return found


def write_jsonl(path: Path | str, rows: Iterable[dict[str, Any]]) -> None:
    """Write JSONL, an object a line, atomically."""
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_jsonl(path: Path | str) -> list[dict[str, Any]]:
    """Read JSONL, an object a line; blank lines are skipped.

    Raises:
        UserError: the file is missing, or a line is broken; with file and line.
    """
    rows: list[dict[str, Any]] = []
    try:
        with Path(path).open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise UserError(f"{path}, line {number}: not JSON ({error.msg})") from error
                if not isinstance(row, dict):
                    raise UserError(f"{path}, line {number}: expected a JSON object, found {type(row).__name__}")
                rows.append(row)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    return rows


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """16 hex digits of the SHA-256 of a value as JSON, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
