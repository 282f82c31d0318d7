"""Decide which columns of a row hold the query, the positives, the negatives and the id, by the columns' names.

For example, of the columns ``id``, ``question``, ``answer`` and ``page``, the query is ``question``, the positive is
``answer``, and ``page`` is not read. If the names can be understood in one way only, that is the layout. If there are
several ways (``answer`` beside ``reply``), :class:`Unclear` says what to ask the user. What the user wrote in
``columns`` always counts; an empty name there (``negatives: ''``) means that no column holds this.

Every command uses this rule, so that all of them read the same columns.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from tdro.data.read.column_names import (
    ANSWERS,
    IDS,
    LABELS,
    LONG,
    QUERIES,
    WELL_KNOWN,
    denies,
    family,
    in_groups,
    is_negative,
    is_positive,
    listed,
    plain_name,
    shown_key,
    without_number,
)

_ORDER = ("id", "query", "positives", "negatives", "label")
Certain = Literal["named", "given", "answers"]


@dataclass(frozen=True)
class Layout:
    """Which keys of a row hold what.

    Attributes:
        id: the key of the id; rows need not have it.
        query: the key of the query.
        positives: the keys of the positives, at least one.
        negatives: the keys of the negatives, possibly none.
        label: the key of a judgement, which is 1 where the positives are right; empty if there is none.
        unread: all other keys.
        columns: what the user would write in ``columns`` to name this query and these positives.
        by: why the positives are taken for positives: ``named``, by a name such as ``positive``; ``given``, the user
            said so; ``answers``, by a name such as ``answer``, which may be right for some rows only.
        guessed: whether one of the names is not well known, so that the choice should be reported.
    """

    id: str
    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    label: str
    unread: tuple[str, ...]
    columns: dict[str, str]
    by: Certain
    guessed: bool


@dataclass(frozen=True)
class Unclear:
    """Why it cannot be decided which column holds what, and what to ask the user.

    Attributes:
        problem: one sentence that says what is not clear.
        known: what is decided already, such as ``{"query": "question"}``.
        candidates: what is not decided, with the columns that it may be: ``{"positives": ("answer", "reply")}``.
        answer: an example of what the user could write in ``columns``, which is probably right; empty if there is none.
    """

    problem: str
    known: dict[str, str] = field(default_factory=dict)
    candidates: dict[str, tuple[str, ...]] = field(default_factory=dict)
    answer: dict[str, str] = field(default_factory=dict)

    def with_answer(self, likely: dict[str, str]) -> Unclear:
        """The same with an example answer, sorted as id, query, positives, negatives, label."""
        return replace(self, answer={what: likely[what] for what in _ORDER if what in likely})

    @property
    def question(self) -> str:
        """The problem, and an example of what to write into a recipe."""
        if not self.answer:
            return self.problem
        answer = ", ".join(f"{what}: {name!r}" for what, name in self.answer.items() if len(name) < 200)
        return f"{self.problem}; say which in the recipe, for instance columns: {{{answer}}}"


def layout_of(keys: Sequence[str], columns: Mapping[str, str] | None = None) -> Layout | Unclear:
    """The layout of rows with these keys, or what to ask.

    Args:
        keys: the keys of one row, or those of all rows.
        columns: what the user said, such as ``{"query": "question", "negatives": "bad"}``. The keys are ``id``,
            ``query``, ``positives``, ``negatives`` and ``label``. A name of positives or negatives also stands for
            numbered ones: ``bad`` for ``bad_1`` and ``bad_2``.
    """
    wanted = tuple(columns.items()) if columns else ()
    return (_layout if len(keys) <= 50 else _layout.__wrapped__)(tuple(keys), wanted)


@lru_cache(maxsize=64)
def _layout(keys: tuple[str, ...], columns: tuple[tuple[str, str], ...]) -> Layout | Unclear:
    told = dict(columns)
    given = {what: _of(name, what, keys) for what, name in columns}
    free = [key for key in keys if not any(key in names for names in given.values())]
    negatives = given["negatives"] if "negatives" in given else _negatives(free)
    free = [key for key in free if key not in negatives]
    by: Certain = "given" if "positives" in given else "named"
    positives = given["positives"] if by == "given" else _in_order([key for key in free if is_positive(key)])
    query = given["query"] if "query" in given else _query([key for key in free if key not in positives])
    if not positives and by == "named":
        by, positives = "answers", _answers(free, query)
    if unclear := _unclear(keys, told, {"query": query, "positives": positives}, by):
        return unclear
    names = {
        "query": query[0],
        "positives": positives[0] if by == "answers" else without_number(positives[0]),
    }
    names |= {"positives": told["positives"]} if by == "given" else {}
    identity = given["id"] if "id" in given else _identity(free)
    label = (told["label"],) if told.get("label") else ()
    read = {*identity, *query, *positives, *negatives, *label}
    unread = tuple(key for key in keys if key not in read)
    asked = [key for key in unread if plain_name(key) in LABELS]
    if by == "answers" and asked and "label" not in given:
        return judged(positives[0], asked[0], told | names)
    own = [key for key in (*query, *positives) if key not in told.values() and not is_positive(key)]
    guessed = any(plain_name(key) not in WELL_KNOWN for key in own)
    return Layout((*identity, "id")[0], query[0], positives, negatives, (*label, "")[0], unread, names, by, guessed)


def judged(positives: str, label: str, known: Mapping[str, str], values: Sequence[str] = ()) -> Unclear:
    """What to ask the user about a column that judges the pairs.

    Args:
        positives: the column of the positives.
        label: the column that judges them.
        known: what is decided already, as in :class:`Unclear`.
        values: the different judgements that were seen.
    """
    named = label
    seen = f" (it is {' or '.join(sorted(values))})" if 0 < len(values) < 8 else ""
    if {*values} <= {"0", "1"} and not denies(label):
        remedy = f"with label: {shown_key(label)} the rows with 1 or true are read, with label: '' all rows"
    else:
        remedy, label = "keep the rows whose positives are answers; with label: '' all rows are read", ""
    problem = f"{shown_key(positives)} is a positive for some values of {shown_key(named)} only{seen}; {remedy}"
    return Unclear(problem).with_answer({**known, "label": label})


def _of(name: str, what: str, keys: Sequence[str]) -> tuple[str, ...]:
    """The keys that a name in the user's ``columns`` stands for; none if there is no such key.

    ``what`` says whose name it is: ``query``, ``positives``, … Of positives and negatives there may be several keys.
    """
    if what in ("positives", "negatives"):
        return family(name, keys) if name else ()
    return (name,) if name and name in keys else ()


def _identity(keys: Sequence[str]) -> tuple[str, ...]:
    """The key of the id: the first of the usual names that is there, in any spelling; empty if none is."""
    found = [name for name in IDS if name in keys] or [key for key in keys if plain_name(key) in map(plain_name, IDS)]
    return tuple(found[:1])


def _negatives(keys: Sequence[str]) -> tuple[str, ...]:
    """All keys of negatives; numbered ones are in the order of their numbers.

    DPR's files have random negatives (``negative_ctxs``) beside hard ones (``hard_negative_ctxs``). If both are there,
    only the hard ones are read.
    """
    found = [key for key in keys if is_negative(key)]
    if any(plain_name(key) == "hardnegativectxs" for key in found):
        found = [key for key in found if plain_name(key) != "negativectxs"]
    return _in_order(found)


def _in_order(keys: Sequence[str]) -> tuple[str, ...]:
    """Keys in the order in which they stand, but numbered ones by their numbers: ``neg_2`` before ``neg_10``."""
    return tuple(dict.fromkeys(member for key in keys for member in family(without_number(key), keys) or (key,)))


def _query(keys: Sequence[str]) -> tuple[str, ...]:
    """The keys that may be the query; several if their names are equally good."""
    found = in_groups(keys, QUERIES)
    if any(plain_name(key) == "query" for key in found):  # then "prompt" is an instruction, as in FlagEmbedding's files
        found = [key for key in found if plain_name(key) != "prompt"]
    return tuple(found)


def _answers(keys: Sequence[str], query: Sequence[str]) -> tuple[str, ...]:
    """The keys that may be the positives if none is named ``positive``: ``answer``, ``document``, …

    Beside an ``answer`` a ``passage`` or ``context`` may be what is to be found, so it is a candidate too.
    """
    left = [key for key in keys if key not in query]
    found = in_groups(left, ANSWERS)
    if found and plain_name(found[0]) in ANSWERS[0]:
        found += [key for key in left if plain_name(key) in LONG and key not in found]
    if not found and [plain_name(key) for key in query] == ["messages"]:
        return tuple(query)  # the same conversation holds the question and its answer
    return tuple(found)


def _unclear(
    keys: Sequence[str], columns: dict[str, str], found: Mapping[str, tuple[str, ...]], by: Certain
) -> Unclear | None:
    """What to ask if there is no query or no positive, or if several columns may be it; None if all is clear.

    Args:
        keys: all keys of the row.
        columns: what the user said.
        found: the keys that may be the ``query`` and the ``positives``.
        by: as in :class:`Layout`.
    """
    families = {what: list(dict.fromkeys(map(without_number, names))) for what, names in found.items()}
    several = {
        "query": len(found["query"]) > 1,
        "positives": by != "given" and len(found["positives"] if by == "answers" else families["positives"]) > 1,
    }
    known = {what: names[0] for what, names in found.items() if names and not several[what]}
    known |= {what: name for what, name in columns.items() if name and (what not in found or found[what])}
    for what, names in found.items():
        if several[what]:
            problem = f"the column of the {what} may be {' or '.join(map(shown_key, names[:4]))}; it has {listed(keys)}"
            return Unclear(problem, known, {what: names})
    for what, names in found.items():
        if not names:
            name = columns.get(what) or what
            near = difflib.get_close_matches(name, [key for key in keys if key not in known.values()], 1)
            hint = f"did you mean it by {shown_key(near[0])}? " if near else ""
            return Unclear(f"no key {name!r}; {hint}found {listed(keys, 8)}", known)
    return None
