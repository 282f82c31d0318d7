"""Open a file of text as people have it: gzipped, in a tar archive, in UTF-8, UTF-16 or UTF-32; read it in blocks.

What a file is, is told by its bytes and not by its name, and nothing is unpacked to disk. :mod:`tdro.data.read.jsonl`
splits the blocks into lines.
"""

from __future__ import annotations

import codecs
import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from tdro.data.read.problem import Problem
from tdro.errors import UserError

BLOCK = 1 << 16  # bytes read at once; it fits the processor's cache, and reads a fifth faster than 1 MiB
BREAKS = (EOFError, OSError, zlib.error)  # what reading a truncated or damaged gzip file raises
File = io.BufferedReader | gzip.GzipFile
_BOMS = {  # byte order marks; UTF-32's come first, because they begin as UTF-16's do
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: "utf-8",
}
_CONTINUATION = bytes(range(0x80, 0xC0))  # the second to last bytes of a character in UTF-8
_FOUR_BYTES = bytes(range(0xF0, 0x100))  # first byte of a four-byte character, which is a surrogate pair in UTF-16


def broken_file(file: str, line: int, error: object) -> Problem:
    """The problem that a file cannot be read any further than a line."""
    message = f"the file is damaged or breaks off here ({error}); get it again"
    return Problem(file, line, "broken-file", message, "refused")


def open_bytes(path: Path | str) -> File:
    """A file's bytes, unpacked if it is gzipped. Raises :class:`UserError` if it cannot be opened."""
    try:
        file = Path(path).open("rb")  # noqa: SIM115 (the caller closes it)
        if file.peek(2)[:2] != b"\x1f\x8b":
            return file
        file.close()
        return gzip.GzipFile(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UserError(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error})") from error


def member(file: File) -> tuple[int, int | None]:
    """The offsets at which the data begin and end: those of a tar archive's first file; else 0 and None, the end."""
    if file.peek(512)[257:262] != b"ustar":
        return 0, None
    _, size = next_member(file)
    if not size:
        raise EOFError("no file in the archive")
    return file.tell(), file.tell() + size


def first_member(path: Path) -> str:
    """The name of the first file in a tar archive; empty where there is none, or the archive cannot be read."""
    with open_bytes(path) as file:
        try:
            return next_member(file)[0] if file.peek(512)[257:262] == b"ustar" else ""
        except BREAKS:
            return ""


def next_member(file: File) -> tuple[str, int]:
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
    """The encoding of a file whose lines can be read again in any order, at the offsets that
    :func:`tdro.data.read.jsonl.raw_rows` gave.

    Raises:
        UserError: the file is compressed or an archive, in which nothing can be read from the middle.
    """
    with open_bytes(path) as file:
        if isinstance(file, gzip.GzipFile) or member(file)[1] is not None:
            raise UserError(f"{path}: is compressed or an archive, and must be read from any place; unpack it")
        return encoding_of(file.peek(4))[0]


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


def text_blocks(path: Path) -> Iterator[str]:
    """The decoded text of a file that :func:`tdro.data.read.jsonl.raw_rows` could read (gzipped, UTF-16, …), in blocks.

    Raises:
        UserError: the file cannot be opened.
        UnicodeError: it is not in the encoding in which it begins.
        EOFError, OSError, zlib.error: it is damaged or breaks off.
    """
    with open_bytes(path) as file:
        _, end = member(file)
        encoding, bom = encoding_of(file.peek(BLOCK))
        file.read(bom)
        decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass" if encoding.startswith("utf-16") else "strict")
        for block in utf8_blocks(file, encoding, end):
            yield decoder.decode(block)
        yield decoder.decode(b"", final=True)


def utf8_blocks(file: File, encoding: str, end: int | None) -> Iterator[bytes]:
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


def _bytes(file: File, end: int | None) -> Iterator[bytes]:
    """The bytes up to ``end``, by ``read1``, which returns what a damaged gzip file holds before the damage."""
    place = 0 if end is None else file.tell()
    while block := file.read1(BLOCK if end is None else min(BLOCK, end - place)):
        place += len(block)
        yield block
    if end is not None and place < end:
        raise EOFError("the archive ends before its file does")


def size_in_file(raw: bytes, encoding: str) -> int:
    """How many bytes of the file became this UTF-8. The sizes of the pieces of a line add up to the line's."""
    if encoding == "utf-8":
        return len(raw)
    characters = len(raw.translate(None, _CONTINUATION))
    if encoding.startswith("utf-32"):
        return 4 * characters
    return 2 * (characters + len(raw) - len(raw.translate(None, _FOUR_BYTES)))
