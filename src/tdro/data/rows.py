"""One raw value becomes a row, or says why not: recognised by its keys, cleaned, every change named.

Three families of files are known by their keys (tdro's own, the released Tevatron schema, the columns that
sentence-transformers' data sets have); other names are given as ``columns``. What can be mended without guessing is
mended (a control character, an empty negative); a row without a query or a positive is dropped; what only looks wrong
is kept. Whatever is done to a row, a :class:`Problem` says so. Rejected: pydantic, whose errors say what a model
wanted and not what becomes of the row.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from tdro.data.same_text import normalise
from tdro.data.sound import MOJIBAKE, NO_TEXT, different, sound
from tdro.data.titled import titled

LONGEST_TEXT = 100_000  # characters; more than any model reads, and no passage

Action = Literal["dropped", "repaired", "kept", "refused"]


@dataclass(frozen=True)
class Problem:
    """Something wrong, and what is done about it.

    Attributes:
        file: the path, or the source's name, as the user gave it.
        line: from 1; None where it is about the whole file.
        kind: a slug such as ``not-json``.
        message: for people, one line.
        action: ``dropped``, the row is left out; ``repaired``, it is read with the change that :data:`REPAIRS` tells;
            ``kept``, it is read as it is; ``refused``, nothing more of the file is read.
    """

    file: str
    line: int | None
    kind: str
    message: str
    action: Action


class Row(NamedTuple):  # not a frozen dataclass, which takes three times as long to make
    """A query, the passages that answer it (at least one), and hard negatives (possibly none)."""

    id: str
    query: str
    positives: list[str]
    negatives: list[str]


# The first name that a row has counts; for passages with its numbers, too: negative, negative_1, negative_2.
_NAMES = {
    "id": ("id", "query_id", "_id", "qid"),
    "query": ("query", "anchor", "question", "sentence1"),
    "positives": ("positives", "positive_passages", "positive", "positive_ctxs", "pos"),
    "negatives": (
        "negatives",
        "negative_passages",
        "negative",
        "hard_negatives",
        "hard_negative_ctxs",
        "negative_ctxs",
        "neg",
    ),
}
_ANSWERS = ("answer", "answers", "passage", "document", "response", "sentence2")  # positives, where no label says more
LABELS = ("label", "labels", "score", "scores", "similarity")

_MESSAGES = {
    "null": "null",
    "wrong-type": "not a text",
    "empty-text": "empty",
    "control-character": "control characters",
    "surrogate": "half of a surrogate pair, which is no text",
    "whitespace": "whitespace around the text",
    "overlong": "longer than {longest} characters",
    "wrong-encoding": "looks like UTF-8 that was read in another encoding ('Ã©'), or has lost characters (U+FFFD)",
    "duplicate-text": "the same text twice",
    "positive-is-query": "equal to the query",
    "positive-is-negative": "equal to a positive",
    "not-finite": "NaN or an infinite number, which JSON has not",
}
REPAIRS = {  # what "repaired" means
    "null": "left out",
    "wrong-type": "left out",
    "empty-text": "left out",
    "control-character": "removed",
    "surrogate": "removed",
    "whitespace": "removed",
    "overlong": "cut",
    "duplicate-text": "kept once",
    "positive-is-query": "left out",
    "positive-is-negative": "left out",
    "not-finite": "read as null",
}


def row_from(
    raw: object, file: str, line: int, columns: Mapping[str, str] | None = None, longest: int = LONGEST_TEXT
) -> tuple[Row | None, list[Problem]]:
    """The row of a raw value, and all that was wrong with it. Without a row, every problem's action is ``dropped``.

    A passage may be a text or an object of ``text`` and ``title`` (then it is ``"title text"``); a column of passages
    may hold one or a list. Texts are the same if :func:`tdro.data.same_text.normalise` says so.

    Args:
        raw: as JSON gives it: an object of one of the known schemas.
        file: for the problems.
        line: for the problems, and the row's id where it has none.
        columns: the file's names of ``id``, ``query``, ``positives`` and ``negatives``, where they are others than
            the known ones; a name also stands for itself with a number behind it (``bad`` for ``bad_1``).
        longest: characters of a text above which it is cut.
    """
    if not isinstance(raw, dict):
        hint = "; `jq -c '.[]' FILE` makes lines of it" if isinstance(raw, list) else ""
        return None, [Problem(file, line, "not-an-object", f"expected an object, found {_type(raw)}{hint}", "dropped")]
    wanted = tuple(columns.items()) if columns else ()
    layout = (layout_of if len(raw) <= 50 else layout_of.__wrapped__)(tuple(raw), wanted)
    if isinstance(layout, str):
        return None, [Problem(file, line, "unknown-columns", layout, "dropped")]
    cleaner = _Cleaner(longest)
    for key, value in raw.items():
        if value.__class__ is float and not math.isfinite(value):
            cleaner.note("not-finite", f"key {shown_key(key)}")
            raw = {**raw, key: None}
    query, positives, negatives = raw[layout.query], _passages(raw, layout.positives), _passages(raw, layout.negatives)
    if not sound([query, *positives, *negatives], longest):
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


@dataclass(frozen=True)
class Layout:
    """Which keys of a row hold what."""

    id: str
    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]


@lru_cache(maxsize=64)
def layout_of(keys: tuple[str, ...], columns: tuple[tuple[str, str], ...]) -> Layout | str:
    """The layout of rows with these keys, or what is missing."""
    given = dict(columns)
    found: dict[str, tuple[str, ...]] = {}
    for what, known in _NAMES.items():
        names = (given[what],) if what in given else known
        numbered = what in ("positives", "negatives")
        found[what] = next((got for name in names if (got := _columns(name, keys, numbered))), ())
        if not found[what] and what == "positives" and what not in given:
            found[what] = next(((name,) for name in _ANSWERS if name in keys), ())
            label = next((name for name in LABELS if name in keys), None)
            if found[what] and label:
                return (
                    f"{found[what][0]!r} is a positive for some values of {label!r} only; "
                    "keep those rows, and name the columns"
                )
        if not found[what] and what in ("query", "positives"):
            near = difflib.get_close_matches(names[0], keys, 1)
            hint = f"did you mean it by {shown_key(near[0])}?" if near else f"found {_listed(keys)}; name the columns"
            return f"no key {names[0]!r}; {hint}"
    return Layout((found["id"] or ("id",))[0], found["query"][0], found["positives"], found["negatives"])


def _columns(name: str, keys: Sequence[str], numbered: bool) -> tuple[str, ...]:
    """The key of this name and, in their order, the ones with a number behind it."""
    own = [name] if name in keys else []
    if not numbered:
        return tuple(own)
    matches = [match for key in keys if (match := re.fullmatch(rf"{re.escape(name)}_?(\d{{1,4}})", key, re.ASCII))]
    return (*own, *(match[0] for match in sorted(matches, key=lambda match: int(match[1]))))


class _Cleaner:
    """Cleans the texts of one row and keeps notes: what kind of problem, where, how often."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.notes: dict[str, dict[str, int]] = {}

    def note(self, kind: str, place: str) -> None:
        places = self.notes.setdefault(kind, {})
        places[place] = places.get(place, 0) + 1

    def text(self, value: object, place: str) -> str:
        """The cleaned text; empty, and noted, where there is none."""
        if not isinstance(value, str):
            self.note("null" if value is None else "wrong-type", place)
            return ""
        if found := NO_TEXT.findall(value):
            surrogate = any("\ud800" <= character <= "\udfff" for character in found)
            self.note("surrogate" if surrogate else "control-character", place)
            value = NO_TEXT.sub("", value)
        bare = value.strip()
        if not bare:
            self.note("empty-text", place)
            return ""
        if len(bare) != len(value):
            self.note("whitespace", place)
        if len(bare) > self.longest:
            self.note("overlong", place)
            bare = bare[: self.longest].rstrip()
        if not bare.isascii() and MOJIBAKE.search(bare):
            self.note("wrong-encoding", place)
        return bare

    def texts(self, passages: Sequence[object], place: str) -> list[str]:
        """The cleaned texts of passages that :func:`_passages` gave."""
        texts = []
        for passage in passages:
            if isinstance(passage, dict):
                self.note("wrong-type", f"{place}'s title")
                passage = passage.get("text")
            if text := self.text(passage, place):
                texts.append(text)
        return texts

    def identity(self, value: object, line: int) -> str:
        """The row's id as a text, or the line's number."""
        if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 128:
            return str(value)
        if value is None:
            return str(line)
        return self.text(value, "the id") or str(line)

    def problems(self, file: str, line: int, dropped: bool = False) -> list[Problem]:
        """A problem a kind, in the order in which they were found."""
        found = []
        for kind, places in self.notes.items():
            where = ", ".join(place if n == 1 else f"{n} {place}s" for place, n in places.items())
            message = f"{where}: {_MESSAGES[kind].format(longest=self.longest)}"
            action: Action = "dropped" if dropped else "kept" if kind == "wrong-encoding" else "repaired"
            found.append(Problem(file, line, kind, message, action))
        return found


def _passages(raw: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """What stands in all columns that hold passages; a null instead of a column's value is none."""
    passages: list[Any] = []
    for name in names:
        value = raw[name]
        if isinstance(value, (list, tuple)):
            passages += [_titled(item) if isinstance(item, dict) else item for item in value]
        elif value is not None:
            passages.append(_titled(value) if isinstance(value, dict) else value)
    return passages


def _titled(passage: Mapping[str, Any]) -> object:
    """An object's ``"title text"``, or the one that it has; the object itself where its title is no text."""
    title, text = passage.get("title"), passage.get("text")
    if title is None or title == "":
        return text
    if not isinstance(title, str):
        return passage
    return titled(title, text) if isinstance(text, str) else text or title


def _distinct(query: str, positives: list[str], negatives: list[str], cleaner: _Cleaner) -> tuple[list[str], list[str]]:
    """Positives that are not the query, negatives that are no positives, and no text twice."""
    if different([query, *positives, *negatives]):
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


def _type(value: object) -> str:
    """A JSON value's type in JSON's words."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def shown_key(key: object) -> str:
    """A key from a file as it may stand in a message: ASCII, on one line, not too long."""
    text = str(key)
    return ascii(text if len(text) <= 40 else f"{text[:37]}...")


def _listed(keys: Sequence[str]) -> str:
    shown = ", ".join(map(shown_key, keys[:8]))
    return (shown + ", ..." if len(keys) > 8 else shown) or "none"
