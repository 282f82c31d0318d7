"""Read a JSONL file, one value at a time; a broken line becomes a problem, and the lines around it are still read.

Files come from anywhere: gzipped, cut off in the middle, in UTF-16 from a spreadsheet, with NUL bytes after a crash,
with the line ends of three systems. The bytes are read in blocks and split into lines before a line is decoded. So
memory stays constant, a bad byte costs only its own line, and each line has a byte offset from which an interrupted
build goes on. See docs/decisions.md, jsonl-by-bytes.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from tdro.data.read.rows import Action, Problem, shown_key
from tdro.errors import UserError

LONGEST_LINE = 32 << 20  # bytes; no training row is so long, but a file without line ends is
_BLOCK = 1 << 16  # bytes read at once; it fits the processor's cache, and reads a fifth faster than 1 MiB
_File = io.BufferedReader | gzip.GzipFile
_BREAKS = (EOFError, OSError, zlib.error)  # what reading a truncated or damaged gzip file raises
_BOMS = {  # byte order marks; UTF-32's come first, because they begin as UTF-16's do
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: "utf-8",
}
_CONTINUATION = bytes(range(0x80, 0xC0))  # the second to last bytes of a character in UTF-8
_FOUR_BYTES = bytes(range(0xF0, 0x100))  # first byte of a four-byte character, which is a surrogate pair in UTF-16


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
    with _open(path) as file:
        try:
            begin, end = _member(file)
            encoding, bom = encoding_of(file.peek(_BLOCK))
            if start:
                file.seek(begin + start)
            else:
                offset = len(file.read(bom))
            for raw, size in _lines(_blocks(file, encoding, end), encoding, longest):
                offset += size
                value = _value(raw, name, line, longest)
                if raw is not None and isinstance(value, Problem) and _is_cut(raw, value):
                    value = broken_file(name, line, value.message)
                if value is not _BLANK:
                    yield line, offset, value
                    if isinstance(value, Problem) and value.action == "refused":
                        return
                line += 1
            if end is not None and _next_member(file)[1]:
                message = "the archive holds another file, which is not read; unpack it"
                yield line, offset, Problem(name, None, "several-files", message, "refused")
        except _BREAKS as error:
            yield line, offset, broken_file(name, line, error)


def broken_file(file: str, line: int, error: object) -> Problem:
    """The problem that a file cannot be read any further than a line."""
    message = f"the file is damaged or breaks off here ({error}); get it again"
    return Problem(file, line, "broken-file", message, "refused")


def _open(path: Path | str) -> _File:
    try:
        file = Path(path).open("rb")  # noqa: SIM115 (raw_rows closes it)
        if file.peek(2)[:2] != b"\x1f\x8b":
            return file
        file.close()
        return gzip.GzipFile(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UserError(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error})") from error


def _member(file: _File) -> tuple[int, int | None]:
    """The offsets at which the data begin and end: those of a tar archive's first file; else 0 and None, the end."""
    if file.peek(512)[257:262] != b"ustar":
        return 0, None
    _, size = _next_member(file)
    if not size:
        raise EOFError("no file in the archive")
    return file.tell(), file.tell() + size


def first_member(path: Path) -> str:
    """The name of the first file in a tar archive; empty where there is none, or the archive cannot be read."""
    with _open(path) as file:
        try:
            return _next_member(file)[0] if file.peek(512)[257:262] == b"ustar" else ""
        except _BREAKS:
            return ""


def _next_member(file: _File) -> tuple[str, int]:
    """Seek to the content of a tar archive's next file that is not empty.

    Returns:
        Its name and its size in bytes; an empty name and 0 where no file is left.
    """
    file.seek(-(-file.tell() // 512) * 512)
    while len(header := file.read(512)) == 512 and any(header):
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise EOFError(f"not a tar archive: {error}") from error
        hidden = member.name.rpartition("/")[2].startswith(".")  # macOS adds a ._NAME before each file
        if member.isreg() and member.size and not hidden:
            return member.name, member.size
        file.seek(file.tell() + -(-member.size // 512) * 512)
    return "", 0


def seekable_encoding(path: Path) -> str:
    """The encoding of a file whose lines can be read again, in any order, at the offsets that :func:`raw_rows` gave.

    Raises:
        UserError: the file is compressed or an archive, in which nothing can be read from the middle.
    """
    with _open(path) as file:
        if isinstance(file, gzip.GzipFile) or _member(file)[1] is not None:
            raise UserError(f"{path}: is compressed or an archive, and must be read from any place; unpack it")
        return encoding_of(file.peek(4))[0]


def parse_again(raw: bytes, encoding: str) -> Any:
    """The value of a line that :func:`raw_rows` could read, from its bytes; ``encoding`` is the file's."""
    return _unchecked(raw.decode(encoding, "surrogatepass").strip(" \t\r\n\ufeff"))[0]


def text_blocks(path: Path) -> Iterator[str]:
    """The decoded text of a file that :func:`raw_rows` could read (gzipped, UTF-16, …), in blocks.

    Raises:
        UserError: the file cannot be opened.
        UnicodeError: it is not in the encoding in which it begins.
        EOFError, OSError, zlib.error: it is damaged or breaks off.
    """
    with _open(path) as file:
        _, end = _member(file)
        encoding, bom = encoding_of(file.peek(_BLOCK))
        file.read(bom)
        decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass" if encoding.startswith("utf-16") else "strict")
        for block in _blocks(file, encoding, end):
            yield decoder.decode(block)
        yield decoder.decode(b"", final=True)


def _is_cut(raw: bytes, problem: Problem) -> bool:
    """Whether a line that is not JSON is a truncated object: it has no line end, so it is the file's last line, and it
    opens more braces than it closes."""
    if raw.endswith((b"\n", b"\r")) or not raw.lstrip().startswith(b"{"):
        return False
    open_still = not raw.rstrip().endswith(b"}") or raw.count(b"{") > raw.count(b"}")
    return open_still and problem.kind in ("not-json", "not-utf8")


def open_text(path: Path, newline: str | None = "") -> TextIO:
    """A text file, gzipped or not, in UTF-8, UTF-16, or UTF-32 with a BOM.

    A byte that is not UTF-8 becomes half of a surrogate pair, so that its line can be named. ``newline`` is that of
    :func:`open`.

    Raises:
        OSError: it cannot be opened.
    """
    raw: Any = path.open("rb")
    file = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == b"\x1f\x8b" else raw
    encoding, bom = encoding_of(file.peek(4))
    file.read(bom)
    errors = "surrogateescape" if encoding == "utf-8" else "replace"
    return io.TextIOWrapper(file, encoding=encoding, errors=errors, newline=newline)


def encoding_of(head: bytes) -> tuple[str, int]:
    """The encoding of a file that begins with these bytes, and the length of its BOM."""
    for bom, encoding in _BOMS.items():
        if head.startswith(bom):
            return encoding, len(bom)
    # A JSONL file begins with two ASCII characters, such as {" . In UTF-16, every other byte of these is 0.
    nulls = [byte == 0 for byte in head[:4]]
    if nulls == [False, True, False, True]:
        return "utf-16-le", 0
    return ("utf-16-be", 0) if nulls == [True, False, True, False] else ("utf-8", 0)


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
                yield (None if dropped else line), dropped + _size(line, encoding)
                dropped = 0
        if held > longest:
            dropped += sum(_size(piece, encoding) for piece in pieces)
            pieces = [pieces[-1][-1:]]
            held = 1
            dropped -= _size(pieces[0], encoding)
    if pieces:
        line = b"".join(pieces)
        yield (None if dropped else line), dropped + _size(line, encoding)


def _blocks(file: _File, encoding: str, end: int | None) -> Iterator[bytes]:
    """The rest of the file up to the offset ``end``, converted to UTF-8."""
    blocks = _bytes(file, end)
    if encoding == "utf-8":
        yield from blocks
        return
    # Both ways of handling errors keep the number of bytes, so that offsets stay right.
    errors = "surrogatepass" if encoding.startswith("utf-16") else "replace"
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    for block in blocks:
        if text := decoder.decode(block):
            yield text.encode("utf-8", "surrogatepass")
    if decoder.getstate()[0]:  # the file ends in the middle of a character
        yield "\ufffd".encode()


def _bytes(file: _File, end: int | None) -> Iterator[bytes]:
    """The bytes up to ``end``, by ``read1``, which returns what a damaged gzip file holds before the damage."""
    place = 0 if end is None else file.tell()
    while block := file.read1(_BLOCK if end is None else min(_BLOCK, end - place)):
        place += len(block)
        yield block
    if end is not None and place < end:
        raise EOFError("the archive ends before its file does")


def _size(raw: bytes, encoding: str) -> int:
    """How many bytes of the file became this UTF-8. The sizes of the pieces of a line add up to the line's."""
    if encoding == "utf-8":
        return len(raw)
    characters = len(raw.translate(None, _CONTINUATION))
    if encoding.startswith("utf-32"):
        return 4 * characters
    return 2 * (characters + len(raw) - len(raw.translate(None, _FOUR_BYTES)))


class _DuplicateKey(Exception):
    """An object has a key twice; ``args[0]`` is the key."""


_BLANK = object()  # the value of a line with nothing on it


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [key for key, _ in pairs]
        raise _DuplicateKey(next(key for key in names if names.count(key) > 1))
    return value


_strict = json.JSONDecoder(object_pairs_hook=_object).raw_decode
_unchecked = json.JSONDecoder(strict=False).raw_decode  # of a line that was read before
_lenient = json.JSONDecoder(object_pairs_hook=_object, strict=False).raw_decode  # accepts raw control characters


def _value(raw: bytes | None, name: str, line: int, longest: int) -> object | Problem:
    """A line's value, :data:`_BLANK`, or a problem. A good line is parsed once; only a bad one is looked at again."""
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
