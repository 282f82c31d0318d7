"""Turn one raw value into a clean row, or say why it is none; every change is reported.

:mod:`tdro.data.read.layout` decides which columns are read, and :mod:`tdro.data.read.cells` what a cell means. What can
be repaired without guessing is repaired (a control character, an empty negative). A row without a query or a positive
is dropped. What only looks wrong is kept. Whatever is done to a row, a :class:`Problem` says so. See docs/decisions.md,
rows-with-problems.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tdro.data.read.cells import (
    NO_LISTS,
    ListColumns,
    is_nothing,
    looks_like_list,
    passages_in,
    question_in,
    unpacked,
    yes_or_no,
)
from tdro.data.read.clean_texts import MOJIBAKE, NO_TEXT, are_clean, surely_differ
from tdro.data.read.column_names import shown_key
from tdro.data.read.layout import Layout, Unclear, layout_of
from tdro.data.read.problem import MESSAGES, Action, Problem
from tdro.data.same_text import normalise

LONGEST_TEXT = 100_000  # characters; more than any model reads, and more than a passage has

_LONGEST_PLAIN_ID = 100  # characters; a longer id is looked at more closely
_LARGE_ID = 1 << 64


class Row(NamedTuple):  # a frozen dataclass takes three times as long to make
    """A training row: a query, the passages that answer it (at least one), and hard negatives (possibly none)."""

    id: str
    query: str
    positives: list[str]
    negatives: list[str]


def row_from(
    raw: object,
    file: str,
    line: int,
    columns: Mapping[str, str] | None = None,
    longest: int = LONGEST_TEXT,
) -> tuple[Row | None, list[Problem]]:
    """The row of one raw value, and everything that was wrong with it.

    A column of passages may hold one passage or a list. A passage may be a text, chat messages, or an object with
    ``text`` and perhaps ``title``, which becomes ``"title text"``. Two texts are the same if they are equal after
    :func:`tdro.data.same_text.normalise`.

    Args:
        raw: the value as JSON gives it, an object in one of the known layouts.
        file: named in the problems.
        line: named in the problems; it is also the row's id if the row has none.
        columns: what the user said, as :func:`tdro.data.read.layout.layout_of` takes it.
        longest: a text of more characters is cut.

    Returns:
        The row, or None; and the problems. If there is no row, all of them have the action ``dropped``.
    """
    if not isinstance(raw, dict):
        hint = "; `jq -c '.[]' FILE` makes lines of it" if isinstance(raw, list) else ""
        return None, [Problem(file, line, "not-an-object", f"expected an object, found {_type(raw)}{hint}", "dropped")]
    return row_by(layout_of(tuple(raw), columns), raw, file, line, longest)


def row_by(
    layout: Layout | Unclear,
    raw: dict[str, Any],
    file: str,
    line: int,
    longest: int = LONGEST_TEXT,
    lists: ListColumns = NO_LISTS,
) -> tuple[Row | None, list[Problem]]:
    """:func:`row_from` for an object whose layout is known; ``lists`` says which cells are lists written as text."""
    if isinstance(layout, Unclear):
        return None, [Problem(file, line, "unknown-columns", layout.problem, "dropped")]
    if layout.label and not (yes := yes_or_no(raw.get(layout.label))):
        said = ("judged-no", "says no") if yes is False else ("no-judgement", "says neither yes nor no")
        return None, [Problem(file, line, said[0], f"{shown_key(layout.label)} {said[1]}", "dropped")]
    cleaner = _Cleaner(longest)
    for key, value in raw.items():
        if value.__class__ is float and not math.isfinite(value):
            cleaner.note("not-finite", f"key {shown_key(key)}")
            raw = {**raw, key: None}
    query, positives, negatives = _texts(raw, layout, lists, cleaner)
    if not are_clean([[query, *positives, *negatives]], longest):
        query = cleaner.text(query, "the query")
        positives = cleaner.texts(positives, "positive")
        negatives = cleaner.texts(negatives, "negative")
        positives, negatives = _distinct(query, positives, negatives, cleaner)
    if query and positives:
        identity = cleaner.identity(raw.get(layout.id), line)
        problems = cleaner.problems(file, line) if cleaner.notes else []
        return Row(identity, query, positives, negatives), problems
    problems = cleaner.problems(file, line, dropped=True)
    if query:
        problems.append(Problem(file, line, "no-positive", "no positive, or none that is left", "dropped"))
    return None, problems


def plain_rows(raws: Sequence[Mapping[str, Any]], layout: Layout, lines: Sequence[int]) -> list[Row] | None:
    """The rows of some values whose cells are clean texts and lists of clean texts, as nearly all are; else None.

    This is a short cut. Where it gives rows, :func:`row_by` would give the same rows one by one, and no problem.

    Args:
        raws: the values, all with the layout's columns and none written as the text of a list.
        layout: of these columns; it has no label.
        lines: the line of each value.
    """
    if layout.unread and any(float in map(type, raw.values()) for raw in raws):  # one may be NaN
        return None
    queries = [raw[layout.query] for raw in raws]
    positives = [_plain_passages(raw, layout.positives) for raw in raws]
    negatives = [_plain_passages(raw, layout.negatives) for raw in raws]
    ids = [_plain_id(raw.get(layout.id), line) for raw, line in zip(raws, lines, strict=True)]
    if None in ids or None in negatives or not all(positives):
        return None
    rows: list[Row] = [*map(Row._make, zip(ids, queries, positives, negatives, strict=True))]
    texts = [[row.query, *row.positives, *row.negatives] for row in rows]
    return rows if are_clean(texts, LONGEST_TEXT) else None


def _plain_passages(raw: Mapping[str, Any], keys: Sequence[str]) -> list[Any] | None:
    """The passages in cells that are texts, lists or null; None if one is something else. What the lists hold is not
    looked at."""
    if len(keys) == 1:
        only = raw[keys[0]]
        if only.__class__ is str:
            return [only]
        if only.__class__ is list:
            return only
    found: list[Any] = []
    for key in keys:
        value = raw[key]
        if value.__class__ is list:
            found += value
        elif value.__class__ is str:
            found.append(value)
        elif value is not None:
            return None
    return found


def _texts(
    raw: Mapping[str, Any], layout: Layout, lists: ListColumns, cleaner: _Cleaner
) -> tuple[Any, list[Any], list[Any]]:
    """Query, positives and negatives as they stand in the row; what has no meaning is left out and noted."""

    def cell(key: str, place: str) -> object:
        value = raw[key]
        if isinstance(value, str) and (lists.table or key in lists.columns):
            return unpacked(value, key in lists.columns, place, cleaner.note)
        return value

    def passages(keys: Sequence[str], place: str, wanted: bool) -> list[Any]:
        return [text for key in keys for text in passages_in(cell(key, place), place, cleaner.note, wanted)]

    query = cell(layout.query, "the query") if layout.query in lists.columns else raw[layout.query]
    if layout.query in lists.columns and isinstance(query, list) and len(query) == 1:
        query = query[0]
    return (
        question_in(query, cleaner.note),
        passages(layout.positives, "positive", True),
        passages(layout.negatives, "negative", False),
    )


def _plain_id(key: object, line: int) -> str | None:
    """The id that :meth:`_Cleaner.identity` gives, without looking at it closely; None where that needs to be done."""
    if key is None:
        return str(line)
    if not isinstance(key, str):
        return str(key) if key.__class__ is int and -_LARGE_ID < key < _LARGE_ID else None
    if not key.isascii() or not key.isprintable() or len(key) > _LONGEST_PLAIN_ID:
        return None
    return key if key[:1].isalnum() and key[-1] != " " and not is_nothing(key) else None


class _Cleaner:
    """Cleans the texts of one row, and counts what was wrong: kind of problem to place to how often."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.notes: dict[str, dict[str, int]] = {}

    def note(self, kind: str, place: str) -> None:
        places = self.notes.setdefault(kind, {})
        places[place] = places.get(place, 0) + 1

    def text(self, value: object, place: str) -> str:
        """The cleaned text; empty, with a note, if the value is not a text or has nothing in it."""
        if not isinstance(value, str):
            self.note("null" if value is None else "wrong-type", place)
            return ""
        if found := NO_TEXT.findall(value):
            surrogate = any("\ud800" <= character <= "\udfff" for character in found)
            self.note("surrogate" if surrogate else "control-character", place)
            value = NO_TEXT.sub("", value)
        bare = value.strip()
        if not bare or is_nothing(bare):
            self.note("null-word" if bare else "empty-text", place)
            return ""
        if len(bare) != len(value):
            self.note("whitespace", place)
        if len(bare) > self.longest:
            self.note("overlong", place)
            bare = bare[: self.longest].rstrip()
        if not bare.isascii() and MOJIBAKE.search(bare):
            self.note("wrong-encoding", place)
        if bare[0] in "[({" and looks_like_list(bare):
            self.note("list-like", place)
        return bare

    def texts(self, passages: Sequence[object], place: str) -> list[str]:
        """The cleaned texts of passages, without the empty ones."""
        return [text for passage in passages if (text := self.text(passage, place))]

    def identity(self, value: object, line: int) -> str:
        """The row's id as a text; the line's number if it has none."""
        if value is None:
            return str(line)
        if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 128:
            return str(value)
        if isinstance(value, str) and is_nothing(value.strip()):
            return str(line)
        return self.text(value, "the id") or str(line)

    def problems(self, file: str, line: int, dropped: bool = False) -> list[Problem]:
        """One problem for each kind, in the order in which they were found."""
        found = []
        for kind, places in self.notes.items():
            where = ", ".join(place if n == 1 else _several(n, place) for place, n in places.items())
            message = f"{where}: {MESSAGES[kind].format(longest=self.longest)}"
            action: Action = "dropped" if dropped else "kept" if kind in ("wrong-encoding", "list-like") else "repaired"
            found.append(Problem(file, line, kind, message, action))
        return found


def _distinct(query: str, positives: list[str], negatives: list[str], cleaner: _Cleaner) -> tuple[list[str], list[str]]:
    """Take out the positives that equal the query, the negatives that equal a positive, and texts that come twice."""
    if surely_differ([query, *positives, *negatives]):
        return positives, negatives
    asked = normalise(query)
    answers: dict[str, str] = {}
    for text in positives:
        key = normalise(text)
        if key == asked or key in answers:
            cleaner.note("positive-is-query" if key == asked else "duplicate-text", "positive")
        else:
            answers[key] = text
    others: dict[str, str] = {}
    for text in negatives:
        key = normalise(text)
        if key in answers or key in others:
            cleaner.note("positive-is-negative" if key in answers else "duplicate-text", "negative")
        else:
            others[key] = text
    return list(answers.values()), list(others.values())


def _several(number: int, place: str) -> str:
    """A place in the plural: ``2 negatives`` for 2 and ``negative``, ``2 negatives (…)`` for ``negative (…)``."""
    what, bracket, more = place.partition(" (")
    return f"{number} {what}s{bracket}{more}"


def _type(value: object) -> str:
    """What a JSON value is, in words for people: ``a list``."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
