"""Read a JSONL file, one value at a time; a broken line becomes a problem, and the lines around it are still read.

Files come from anywhere: gzipped, cut off in the middle, in UTF-16 from a spreadsheet, with NUL bytes after a crash,
with the line ends of three systems. The bytes are read in blocks and split into lines before a line is decoded. So
memory stays constant, a bad byte costs only its own line, and each line has a byte offset from which an interrupted
build goes on. See docs/decisions.md, jsonl-by-bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tdro.data.read.column_names import shown_key
from tdro.data.read.problem import Action, Problem
from tdro.data.read.text_files import (
    BLOCK,
    BREAKS,
    broken_file,
    encoding_of,
    member,
    next_member,
    open_bytes,
    size_in_file,
    utf8_blocks,
)

LONGEST_LINE = 32 << 20  # bytes; no training row is so long, but a file without line ends is


def raw_rows(
    path: Path | str, start: int = 0, line: int = 1, longest: int = LONGEST_LINE
) -> Iterator[tuple[int, int, object | Problem]]:
    """Yield the value of each line of a JSONL file, or a :class:`Problem` that says what is wrong with the line.

    The file may be gzipped or be the first file of a tar archive; this is told by its bytes, not by its name, and
    nothing is unpacked to disk. A line ends with LF, CRLF or CR, and blank lines are skipped. The last line needs no
    line end; but if it has none and is not JSON either, the file was cut off there, and is refused. UTF-16 is
    recognised by its BOM or its NUL bytes, UTF-32 by its BOM. Memory: a block of 64 KiB and a line.

    Args:
        path: the file.
        start: byte offset in the uncompressed file to begin at: 0, or an offset that was yielded before.
        line: the number of the line at ``start``.
        longest: a line of more bytes (in UTF-8) becomes a problem, and is not kept in memory.

    Yields:
        The line's number, the byte offset behind it, and its value or the :class:`Problem`. Nothing comes after a
        problem whose action is ``refused``.

    Raises:
        UserError: the file cannot be opened.
    """
    name = str(path)
    offset = start
    with open_bytes(path) as file:
        try:
            begin, end = member(file)
            encoding, bom = encoding_of(file.peek(BLOCK))
            if start:
                file.seek(begin + start)
            else:
                offset = len(file.read(bom))
            for raw, size in _lines(utf8_blocks(file, encoding, end), encoding, longest):
                offset += size
                value = _value(raw, name, line, longest)
                if value.__class__ is dict:  # as nearly all are
                    yield line, offset, value
                    line += 1
                    continue
                if raw is not None and isinstance(value, Problem) and _is_cut(raw, value):
                    value = broken_file(name, line, value.message)
                if value is not _BLANK:
                    yield line, offset, value
                    if isinstance(value, Problem) and value.action == "refused":
                        return
                line += 1
            if end is not None and next_member(file)[1]:
                message = "the archive holds another file, which is not read; unpack it"
                yield line, offset, Problem(name, None, "several-files", message, "refused")
        except BREAKS as error:
            yield line, offset, broken_file(name, line, error)


def parse_again(raw: bytes, encoding: str) -> Any:
    """The value of a line that :func:`raw_rows` could read, from its bytes; ``encoding`` is the file's."""
    return _unchecked(raw.decode(encoding, "surrogatepass").strip(" \t\r\n\ufeff"))[0]


def _is_cut(raw: bytes, problem: Problem) -> bool:
    """Whether a line that is not JSON is a truncated object: it has no line end, so it is the file's last line, and it
    opens more braces than it closes."""
    if raw.endswith((b"\n", b"\r")) or not raw.lstrip().startswith(b"{"):
        return False
    open_still = not raw.rstrip().endswith(b"}") or raw.count(b"{") > raw.count(b"}")
    return open_still and problem.kind in ("not-json", "not-utf8")


def _lines(blocks: Iterable[bytes], encoding: str, longest: int) -> Iterator[tuple[bytes | None, int]]:
    """Split UTF-8 blocks into lines.

    Yields:
        The line with its line end, or None where it is too long; and how many bytes of the file it takes.
    """
    pieces: list[bytes] = []  # the beginning of a line whose end has not been read yet
    held = 0  # bytes in the pieces
    dropped = 0  # bytes of the file that belong to the same line, but were not kept because it is too long
    for block in blocks:
        ended = b"\n" in block or b"\r" in block or (pieces and pieces[-1].endswith(b"\r"))
        pieces.append(block)
        held += len(block)
        if ended:
            lines = b"".join(pieces).splitlines(keepends=True)
            # A block that ends with CR may have been cut between CR and LF.
            pieces = [] if lines[-1].endswith(b"\n") else [lines.pop()]
            held = sum(map(len, pieces))
            for line in lines:
                yield (None if dropped else line), dropped + size_in_file(line, encoding)
                dropped = 0
        if held > longest:
            dropped += sum(size_in_file(piece, encoding) for piece in pieces)
            pieces = [pieces[-1][-1:]]
            held = 1
            dropped -= size_in_file(pieces[0], encoding)
    if pieces:
        line = b"".join(pieces)
        yield (None if dropped else line), dropped + size_in_file(line, encoding)


class _DuplicateKey(Exception):
    """An object has a key twice; ``args[0]`` is the key."""


_BLANK = object()  # the value of a line with nothing on it


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _DuplicateKey(repeated_key(pairs))
    return value


def repeated_key(pairs: Sequence[tuple[str, Any]]) -> str:
    """The first key that stands twice among an object's keys and values."""
    names = [key for key, _ in pairs]
    return next(key for key in names if names.count(key) > 1)


_strict = json.JSONDecoder(object_pairs_hook=_object).raw_decode
_unchecked = json.JSONDecoder(strict=False).raw_decode  # of a line that was read before
_lenient = json.JSONDecoder(object_pairs_hook=_object, strict=False).raw_decode  # accepts raw control characters


def _value(raw: bytes | None, name: str, line: int, longest: int) -> object | Problem:
    """The value of a line; :data:`_BLANK` if nothing is on it; a problem if it cannot be read.

    A good line is parsed once. Only a line that is not strict JSON is parsed again, to say what is wrong with it.
    """
    if raw is None or len(raw) > longest:
        message = f"the line is longer than {longest} bytes; is this a file with one JSON value a line?"
        return Problem(name, line, "line-too-long", message, "dropped")
    raw = raw.strip(b" \t\r\n")
    if not raw:
        return _BLANK
    try:
        text = raw.decode()
        value, end = _strict(text)
        if end == len(text):
            return value
    except UnicodeDecodeError as error:
        what = f"byte 0x{raw[error.start]:02x} at {error.start + 1} is not UTF-8; convert the file to UTF-8"
        return Problem(name, line, "not-utf8", what, "dropped")
    except (ValueError, RecursionError, _DuplicateKey):
        pass
    return _failed(text, name, line)


def _failed(text: str, name: str, line: int) -> object | Problem:
    """What is wrong with a line that is not strict JSON.

    A line whose only fault is raw control characters is read all the same, and its value returned;
    :func:`tdro.data.read.rows.row_from` removes them with a note.
    """
    text = text.removeprefix("\ufeff")  # a BOM inside the file: several files were joined
    action: Action = "dropped"
    try:
        value, end = _lenient(text)
        if end == len(text):
            return value
        kind, message = "not-json", f"not JSON (something follows the value, at character {end + 1})"
    except json.JSONDecodeError as error:
        kind, message = "not-json", f"not JSON ({error.msg}, at character {error.pos + 1})"
        if "\0" in text:
            message = "not JSON: NUL bytes, as a crash leaves them"
        if line == 1 and text in ("[", "{"):
            message = "one JSON value over many lines; expected one a line: `jq -c '.[]' FILE` makes them of a list"
            action = "refused"
    except _DuplicateKey as error:
        kind, message = "duplicate-key", f"key {shown_key(error.args[0])} stands twice in an object"
    except ValueError:
        kind, message = "huge-number", "a number with thousands of digits"
    except RecursionError:
        kind, message = "nested-too-deep", "lists or objects nested too deep"
    return Problem(name, line, kind, message, action)
