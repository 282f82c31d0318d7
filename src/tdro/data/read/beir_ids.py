"""Ids and judgements of files in BEIR's layout: one rule for test sets, training rows and deduplication.

An id is a text, or a whole number, which is read as its text: ``{"_id": 10}`` is judged by ``10`` in the qrels. A
number with a point is none: nobody can tell whether 10.0 is ``10`` or ``10.0``. Rejected: Python's ``str`` of whatever
there is, which makes ids of lists and of true.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tdro.data.read.jsonl import broken_file, open_text
from tdro.data.read.rows import Problem
from tdro.errors import UserError

_COLUMNS = "query-id, corpus-id and score, parted by tabs"
_SCORE_NAMES = ("score", "relevance", "rel", "label")
_NO_TEXT = re.compile("[\ud800-\udfff]")  # half of a surrogate pair, or a byte that is no UTF-8


class Judgement(NamedTuple):
    """A line of a qrels file: this passage is so relevant to this query."""

    line: int
    query: str
    passage: str
    score: int


def id_text(value: object) -> str:
    """The id as a text; empty where the value is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and not _NO_TEXT.search(value) else ""


def wrong_id(value: object) -> str:
    """What is wrong with a value that is no id."""
    shown = repr(value)
    hint = f'; write it as a text, such as "{value:.0f}"' if isinstance(value, float) and value.is_integer() else ""
    found = shown if len(shown) <= 40 else f"{shown[:37]}..."
    return f"key '_id' must be a non-empty text or a whole number, found {found}{hint}"


def judgements(path: Path) -> Iterator[Judgement | Problem]:
    """The lines of a qrels file in their order; what cannot be read is a problem that names its line.

    A header may be there or not. A score may be written as a fraction where it is whole: pandas makes ``1.0`` of 1.

    Raises:
        UserError: the file is not there, or cannot be opened.
    """
    try:
        file = open_text(path, newline=None)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    number = 0
    with file:
        try:
            for number, line in enumerate(file, 1):
                cells = line.rstrip("\n").split("\t")
                if line.strip() and not (number == 1 and _is_header(cells)):
                    yield _judgement(cells, str(path), number)
        except (EOFError, OSError, zlib.error, UnicodeError) as error:
            yield broken_file(str(path), number + 1, error)


def _is_header(cells: list[str]) -> bool:
    return cells[0] == "query-id" or (len(cells) == 3 and cells[2].strip().lower() in _SCORE_NAMES)


def _judgement(cells: list[str], file: str, line: int) -> Judgement | Problem:
    if _NO_TEXT.search("".join(cells)):
        return Problem(file, line, "not-utf8", "not UTF-8 text; convert the file to UTF-8", "dropped")
    if len(cells) != 3:
        message = f"expected 3 columns ({_COLUMNS}), found {len(cells)}"
        return Problem(file, line, "wrong-judgement", message, "dropped")
    score = _whole_number(cells[2])
    if score is None:
        message = f"the score must be a whole number, found {cells[2].strip()[:80]!r}"
        return Problem(file, line, "wrong-judgement", message, "dropped")
    return Judgement(line, cells[0], cells[1], score)


def _whole_number(text: str) -> int | None:
    match = re.fullmatch(r"\s*([+-]?\d{1,10})(\.0*)?\s*", text, re.ASCII)
    return int(match[1]) if match and abs(int(match[1])) < 1 << 31 else None
