"""Reads the rows of a task's file in a mixture folder, strictly: the first wrong row is an error with file and line.

A mixture folder is meant to be right: tdro or a careful person wrote it. So nothing is dropped or repaired, as it is in
a recipe's sources (:mod:`tdro.data.read.rows`); a wrong row ends the reading before any model is loaded.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tdro.data.read.column_names import is_negative, shown_key
from tdro.data.read.jsonl import raw_rows
from tdro.data.read.judgements import UnreadColumns
from tdro.data.read.problem import Problem
from tdro.data.read.rows import Row
from tdro.data.read.sources import Part
from tdro.data.task import COLUMNS
from tdro.errors import UserError

_SURROGATE = re.compile("[\ud800-\udfff]")


class StrictReader:
    """Reads a task's file as :class:`tdro.data.read.reader.Reader` reads a source's, for a build.

    ``id`` may be missing (then it is the line's number) and so may ``negatives`` (then there are none); other keys are
    not read.

    Args:
        path: the JSONL file.

    Attributes:
        unread: the keys that are not read, with samples of what they hold.
        lists: always empty; a text such as ``"['a', 'b']"`` is not read as a list here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unread = UnreadColumns()
        self.lists: list[str] = []
        self._rows = 0
        self._has_negatives = False

    def part(self) -> Part:
        """The file as the only part of a source."""
        return Part(str(self.path), functools.partial(raw_rows, self.path), self.path.stat().st_size, "B")

    def open(self, part: Part) -> None:
        """Does nothing. A reader of sources would work out here which column is which; these have fixed names."""

    def rows(self, raws: Sequence[object], lines: Sequence[int]) -> list[tuple[Row, list[Problem]]]:
        """The row of each line's value, with an empty list of problems.

        Raises:
            UserError: a line is not JSON, or has no texts under the keys of :data:`tdro.data.task.COLUMNS`.
        """
        return [(self._row(raw, line), []) for raw, line in zip(raws, lines, strict=True)]

    def _row(self, raw: object, line: int) -> Row:
        if isinstance(raw, Problem):
            where = str(self.path) if raw.line is None else f"{self.path}, line {line}"
            raise UserError(f"{where}: {raw.message}")
        row = _row(raw, f"{self.path}, line {line}", line)
        self._rows += 1
        self._has_negatives = self._has_negatives or bool(row.negatives)
        if isinstance(raw, dict) and (others := [key for key in raw if key not in COLUMNS]):
            self.unread.add(raw, others)
        return row

    def end(self) -> None:
        """Check what can only be known after the last row.

        Raises:
            UserError: there was no row, or a key that is not read judges the rows (``"label": 0``, say). Rows whose
                positives are no answers would then be trained on as if they were.
        """
        if judges := self.unread.judges(self._has_negatives):
            raise UserError(
                f"{self.path}: key {shown_key(judges)} judges the rows; keep those whose positives are answers, "
                "without it"
            )
        if not self._rows:
            raise UserError(f"{self.path}: no rows")


def _row(row: object, where: str, line: int) -> Row:
    """Check a line's value and make a row of it. ``where`` (file and line) begins the errors."""
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected a JSON object, found {type(row).__name__}")
    for name in ("query", "positives"):
        if name not in row:
            near = difflib.get_close_matches(name, row, 1)
            raise UserError(f"{where}: no key {name!r}" + (f"; did you mean it by {near[0]!r}?" if near else ""))
    for name in ("positives", "negatives"):
        if not isinstance(row.get(name, []), list):
            found = type(row[name]).__name__
            raise UserError(f"{where}: key {name!r} must be a list of strings, found {found}")
    if "negatives" not in row and (others := [key for key in row if is_negative(key)]):
        raise UserError(f"{where}: no key 'negatives'; did you mean it by {shown_key(others[0])}?")
    if not row["positives"]:
        raise UserError(f"{where}: 'positives' is empty; a row needs at least one")
    return Row(
        _text(row.get("id", str(line)), "key 'id'", where, empty=True),
        _text(row["query"], "key 'query'", where),
        [_text(text, "a text in 'positives'", where) for text in row["positives"]],
        [_text(text, "a text in 'negatives'", where) for text in row.get("negatives", [])],
    )


def _text(value: Any, what: str, where: str, empty: bool = False) -> str:
    """Check that a value is a usable text. ``what`` names it in errors; ``empty``: whether it may be empty."""
    if not isinstance(value, str):
        raise UserError(f"{where}: {what} must be a string, found {type(value).__name__}")
    if not empty and not value.strip():
        raise UserError(f"{where}: {what} is empty")
    if not value.isascii() and _SURROGATE.search(value):
        raise UserError(
            f"{where}: {what} has half of a surrogate pair (\\ud800 to \\udfff), which is not text; remove it"
        )
    return value
