"""Read a JSON file that is not JSONL: a list of objects, objects over several lines, or ``{"data": [...]}``.

The file is read in blocks, and each object is parsed as soon as all of it is there. So memory holds a block and an
object, and each row's line is known. See docs/decisions.md, json-in-blocks.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from tdro.data.read.column_names import shown_key
from tdro.data.read.jsonl import LONGEST_LINE, repeated_key
from tdro.data.read.problem import Problem
from tdro.data.read.text_files import broken_file, text_blocks
from tdro.errors import UserError

_HEAD = 1 << 16  # characters at the beginning by which the file's form is told
_TEXT = r'"(?:[^"\\]|\\.)*"'
_SCALAR = rf"(?:{_TEXT}|-?[\d.eE+-]+|true|false|null)"
_WRAPPED = re.compile(rf"\s*\{{\s*(?:{_TEXT}\s*:\s*{_SCALAR}\s*,\s*)*(?P<name>{_TEXT})\s*:\s*\[\s*(?=\{{)")
_WRAPPERS = ("data", "rows", "examples", "records", "items", "instances", "train")
_CHATS = ("messages", "conversations", "conversation", "dialog", "turns")  # may be the only key of a JSONL row
_AFTER = re.compile(rf"\s*(?:,\s*{_TEXT}\s*:\s*{_SCALAR}\s*)*\}}\s*")  # what may follow the list: , "version": "1.0"}
_NEXT_KEY = re.compile(rf"\s*,\s*(?P<name>{_TEXT})\s*:")
_BY_COLUMNS = re.compile(rf'\s*\{{\s*{_TEXT}\s*:\s*\{{\s*"0"\s*:')  # as pandas' to_json writes: {"query": {"0": "…"
_NO_SPACE = re.compile(r"\S")

Form = Literal["lines", "values", "wrapped", "columns"]


def form_of(path: Path) -> Form:
    """How a JSON file holds its rows, told by its first 64 Ki characters.

    Returns:
        ``lines``, one row a line (JSONL); ``values``, a list of rows, or rows over several lines; ``wrapped``, a list
        under a key of one object; ``columns``, an object a column. A file that cannot be read is ``lines``, whose
        reader says what is wrong with it.
    """
    text = _head(path).lstrip()
    if re.match(r"\[\s*(\{|$)", text):
        return "values"
    if not text.startswith("{"):
        return "lines"
    if _BY_COLUMNS.match(text):
        return "columns"
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(text)
    except (ValueError, RecursionError):  # the first object is longer than the head, or broken
        value, end = None, 0
    if _is_wrapped(text, value, end):
        return "wrapped"
    over_lines = "\n" in text[:end] if end else re.match(r"\{\s*\n", text) is not None
    return "values" if over_lines else "lines"


def _head(path: Path) -> str:
    head = ""
    try:
        for block in text_blocks(path):
            head += block
            if len(head) >= _HEAD:
                break
    except (EOFError, OSError, UserError, ValueError, zlib.error):
        pass
    return head


def _is_wrapped(text: str, value: Any, end: int) -> bool:
    """Whether the file is one object that has the rows in a list. ``value`` is the object, and ``end`` where it ends;
    None and 0 if it is longer than the text."""
    found = _WRAPPED.match(text)
    if found is None:
        return False
    name = json.loads(found["name"])
    if not end:
        return name in _WRAPPERS
    alone = len(value) == 1 and len(value[name]) > 1 and name not in _CHATS
    return not text[end:].strip() and (alone or name in _WRAPPERS)


def json_rows(path: Path, form: Form, start: int = 0) -> Iterator[tuple[int, int, object]]:
    """Yield the line of a row, how many rows came so far, and the row or a :class:`Problem`.

    The first ``start`` rows are skipped. Nothing comes after a problem whose action is ``refused``.
    """
    name, text, number = str(path), _Text(path), 0
    if form == "columns":
        message = "holds columns, not rows; in pandas: to_json(FILE, orient='records', lines=True)"
        yield 1, 1, Problem(name, 1, "not-rows", message, "refused")
        return
    try:
        for value in _wrapped(text) if form == "wrapped" else _values(text):
            number += 1
            if number > start:
                message = f"key {shown_key(text.twice)} stands twice in an object"
                problem = Problem(name, text.line, "duplicate-key", message, "dropped")
                yield text.line, number, value if text.twice is None else problem
    except (EOFError, OSError, ValueError, RecursionError, zlib.error) as error:
        yield text.line, number + 1, _failed(error, text, name)


def _failed(error: Exception, text: _Text, name: str) -> Problem:
    if isinstance(error, _WrongFormError):
        return Problem(name, text.line, "not-rows", str(error), "refused")
    if isinstance(error, UnicodeDecodeError):
        message = f"here or in a later line, the file is not UTF-8 ({error.reason}); convert it to UTF-8"
        return Problem(name, text.line, "not-utf8", message, "refused")
    if isinstance(error, json.JSONDecodeError) and not text.ended:
        message = f"not JSON ({error.msg}); what is behind it cannot be read"
        return Problem(name, text.line, "not-json", message, "refused")
    return broken_file(name, text.line, error.msg if isinstance(error, json.JSONDecodeError) else error)


class _WrongFormError(ValueError):
    """The file goes on in another form than it began."""


class _Text:
    """A file's text, of which only the part that is being parsed is in memory.

    Attributes:
        left: this part.
        place: up to where in ``left`` the text has been read.
        line: the line of the file at ``place``.
        ended: whether ``left`` reaches to the end of the file.
        end: where in ``left`` the value ends that :meth:`value` parsed last.
        twice: a key that is there twice in an object of this value; None if there is none.
    """

    def __init__(self, path: Path) -> None:
        self._blocks = text_blocks(path)
        self._decode = json.JSONDecoder(strict=False, object_pairs_hook=self._object).raw_decode
        self.left, self.place, self.line, self.ended, self.end = "", 0, 1, False, 0
        self.twice: str | None = None

    def more(self, characters: int = 1) -> bool:
        """Read at least so many characters more from the file; False if it has ended."""
        found = [self.left[self.place :]]
        while characters > 0 and not self.ended:
            block = next(self._blocks, "")
            self.ended = not block
            characters -= len(block)
            found.append(block)
        self.left, self.place = "".join(found), 0
        return len(self.left) > len(found[0])

    def skip(self, end: int) -> None:
        """Move ``place`` on to an index in ``left``, and count the lines."""
        self.line += self.left.count("\n", self.place, end)
        self.place = end

    def next(self) -> str:
        """Skip spaces, and return the character behind them without skipping it; empty at the end of the file."""
        while True:
            found = _NO_SPACE.search(self.left, self.place)
            self.skip(found.start() if found else len(self.left))
            if found:
                return found[0]
            if not self.more():
                return ""

    def value(self) -> object:
        """Parse the JSON value that begins at ``place``. ``place`` stays there; ``skip(end)`` goes behind the value."""
        while True:
            self.twice = None
            try:
                value, self.end = self._decode(self.left, self.place)
            except json.JSONDecodeError:
                size = len(self.left) - self.place
                if size > LONGEST_LINE or not self.more(size):
                    raise
            else:
                return value

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            self.twice = repeated_key(pairs)
        return value


def _values(text: _Text) -> Iterator[object]:
    """The objects of a file, in a list or one after the other. While one is being used, ``place`` is its beginning."""
    while character := text.next():
        if character == "[":
            text.skip(text.place + 1)
            yield from _list(text)
        else:
            yield text.value()
            text.skip(text.end)


def _list(text: _Text) -> Iterator[object]:
    """The values of a list, from behind its opening bracket to its end."""
    while character := text.next():
        if character in ",]":
            text.skip(text.place + 1)
            if character == "]":
                return
        else:
            yield text.value()
            text.skip(text.end)
    raise EOFError("the list has no end")


def _wrapped(text: _Text) -> Iterator[object]:
    """The objects of the one list in the file's one object, whose other values may only be scalars."""
    text.more(_HEAD)
    begins = _WRAPPED.match(text.left)
    if begins is None:
        raise _WrongFormError("no list of rows")
    text.skip(begins.end())
    yield from _list(text)
    while (after := _AFTER.match(text.left, text.place)) is None:
        if len(text.left) - text.place > _HEAD or not text.more():
            key = _NEXT_KEY.match(text.left, text.place)
            if key is None:
                raise EOFError("the object has no end")
            raise _WrongFormError(f"holds rows under several keys, one of them {key['name']}; make a file of each")
    text.skip(after.end())
    if text.next():
        raise _WrongFormError("something follows the object that has the rows; make a file of each")
