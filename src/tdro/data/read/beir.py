"""The one reader of files in BEIR's layout, a line at a time: passages, queries, and who judged what relevant.

A folder holds::

    corpus.jsonl    {"_id": "p1", "title": "Cats", "text": "They purr."} a line; the title may be missing or null
    queries.jsonl   {"_id": "q1", "text": "what purrs"} a line
    qrels/test.tsv  query id, passage id and relevance, separated by tabs; one file a split, with a header or without

Training rows (:mod:`tdro.data.read.beir_rows`), test sets (:mod:`tdro.data.testsets.beir_data`) and deduplication
(:mod:`tdro.data.testsets.test_texts`) all read through here, so that they agree on what a file says. A line that cannot
be read comes as a :class:`tdro.data.read.problem.Problem`, and reading goes on behind it; :func:`strict` is for readers
that need every line, and raises instead.

An id is a text or a whole number, which counts as its text: ``{"_id": 10}`` is judged by ``10`` in the qrels. See
docs/decisions.md, beir-ids.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tdro.data.read.cells import text_of
from tdro.data.read.jsonl import raw_rows
from tdro.data.read.problem import Problem
from tdro.data.read.text_files import broken_file, open_text
from tdro.data.read.titled import titled
from tdro.errors import UserError

CORPUS, QUERIES = "corpus.jsonl", "queries.jsonl"
_COLUMNS = "query-id, corpus-id and score, parted by tabs"
_SCORE_NAMES = ("score", "relevance", "rel", "label")
_NO_TEXT = re.compile("[\ud800-\udfff]")  # half of a surrogate pair, or a byte that is no UTF-8


class Entry(NamedTuple):
    """A line of ``corpus.jsonl`` or ``queries.jsonl`` that has an id.

    Attributes:
        line: its number, from 1.
        start: where it begins in the file, in bytes (after decompression); blank lines may stand before the text.
        end: the byte behind it.
        id: as text.
        value: the line's whole object.
    """

    line: int
    start: int
    end: int
    id: str
    value: dict[str, Any]

    @property
    def title(self) -> Any:
        """The title as it stands there: a text where the file is sound, None where there is none."""
        return self.value.get("title")

    @property
    def text(self) -> Any:
        """The text as it stands there, under ``text`` or another usual name (``contents``); None where there is
        none."""
        return text_of(self.value)


class Judgement(NamedTuple):
    """A line of a qrels file: this passage is so relevant to this query."""

    line: int
    query: str
    passage: str
    score: int


_Line = TypeVar("_Line", Entry, Judgement)


def splits(folder: Path) -> list[str]:
    """The splits that a folder has judgements of, sorted: the names of ``qrels/*.tsv``."""
    return sorted(path.stem for path in folder.glob("qrels/*.tsv"))


def is_beir(folder: Path) -> bool:
    """Whether a folder is in BEIR's layout. Judgements must be there too: copies of mteb's repositories have a
    ``corpus.jsonl``, but judgements of another kind."""
    return (folder / CORPUS).is_file() and bool(splits(folder))


def qrels_file(folder: Path, split: str) -> Path:
    """Where the judgements of a split are."""
    return folder / "qrels" / f"{split}.tsv"


def entries(path: Path, wanted: Container[str] | None = None) -> Iterator[Entry | Problem]:
    """The lines of ``corpus.jsonl`` or ``queries.jsonl`` in their order, whether their texts are texts or not.

    Args:
        path: the file.
        wanted: only entries with these ids are given (and all problems); None for all entries.

    Raises:
        UserError: the file is not there, or cannot be opened.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    start = 0
    for line, end, value in raw_rows(path):
        if isinstance(value, Problem):
            yield value
        elif not isinstance(value, dict):
            message = f"expected an object with an '_id', found {type(value).__name__}"
            yield Problem(str(path), line, "not-an-object", message, "dropped")
        elif key := id_text(value.get("_id")):
            if wanted is None or key in wanted:
                yield Entry(line, start, end, key, value)
        else:
            yield Problem(str(path), line, "wrong-id", _wrong_id(value.get("_id")), "dropped")
        start = end


def judgements(path: Path) -> Iterator[Judgement | Problem]:
    """The lines of a qrels file in their order.

    A score may be written as a fraction where it is whole, for pandas makes ``1.0`` of 1.

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


def strict(path: Path, lines: Iterable[_Line | Problem], consequence: str = "") -> Iterator[_Line]:
    """The lines of :func:`entries` or :func:`judgements`, for a reader that cannot do without one of them.

    Args:
        path: the file that they are of.
        lines: one after the other.
        consequence: ends the error: what was not done because of it.

    Raises:
        UserError: a line is broken, or its text or title is not a text; named by file and line.
    """
    for each in lines:
        if isinstance(each, Problem):
            message = each.message
        elif isinstance(each, Entry) and not has_texts(each.value):
            message = _wrong_text(each)
        else:
            yield each
            continue
        where = f"{path}, line {each.line}" if each.line is not None else str(path)
        raise UserError(f"{where}: {message}{consequence and f'; {consequence}'}")


def has_texts(value: Mapping[str, Any]) -> bool:
    """Whether the text of a line is a text, and its title too, if it has one."""
    title = value.get("title")
    return isinstance(text_of(value), str) and (title is None or isinstance(title, str))


def passage_text(value: Mapping[str, Any]) -> str:
    """Title and text of a line that :func:`strict` let through, as one text."""
    return titled(value.get("title"), text_of(value))


def id_text(value: object) -> str:
    """The id as a text; empty where the value is no id."""
    if isinstance(value, str):
        return value if value.isascii() or not _NO_TEXT.search(value) else ""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _wrong_text(entry: Entry) -> str:
    name, value = ("title", entry.title) if isinstance(entry.text, str) else ("text", entry.text)
    return f"key {name!r} must be a string, it is {'missing' if value is None else type(value).__name__}"


def _wrong_id(value: object) -> str:
    shown = repr(value)
    hint = f'; write it as a text, such as "{value:.0f}"' if isinstance(value, float) and value.is_integer() else ""
    found = shown if len(shown) <= 40 else f"{shown[:37]}..."
    return f"key '_id' must be a non-empty text or a whole number, found {found}{hint}"


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
