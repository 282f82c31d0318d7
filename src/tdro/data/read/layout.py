"""Which columns of a row hold the query, the positives, the negatives and the id; or why that cannot be told.

The one rule, for every command. Where names have one meaning it is taken, where they have two, :class:`Unclear` says
what to ask. What the user said in ``columns`` always counts; an empty name there means that no column is.
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
    bare,
    denies,
    family,
    in_groups,
    is_negative,
    is_positive,
    listed,
    shown_key,
    stem,
)

_ORDER = ("id", "query", "positives", "negatives", "label")
Certain = Literal["named", "given", "answers"]


@dataclass(frozen=True)
class Layout:
    """Which keys of a row hold what.

    Attributes:
        id: possibly no key of the row.
        query: the key.
        positives: keys, at least one.
        negatives: keys, possibly none.
        label: the key of a judgement, 1 where the positives are answers; empty for none.
        unread: the keys that are none of these.
        columns: what says in ``columns`` that these are the query and the positives.
        by: how it is known that the positives are positives: they are ``named`` so, the user said so (``given``), or
            they are ``answers``, which they may be for some rows only.
        guessed: whether a name is none of the well-known ones.
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
    """Why the columns cannot be told.

    Attributes:
        problem: for people.
        known: the columns that can be told.
        candidates: the keys that another may be.
        answer: columns that the user could say, as likely as not right.
    """

    problem: str
    known: dict[str, str] = field(default_factory=dict)
    candidates: dict[str, tuple[str, ...]] = field(default_factory=dict)
    answer: dict[str, str] = field(default_factory=dict)

    def with_answer(self, likely: dict[str, str]) -> Unclear:
        """The same, with an answer, in the order in which people read columns."""
        return replace(self, answer={what: likely[what] for what in _ORDER if what in likely})

    @property
    def question(self) -> str:
        """The problem, and what may be written into a recipe."""
        if not self.answer:
            return self.problem
        answer = ", ".join(f"{what}: {name!r}" for what, name in self.answer.items() if len(name) < 200)
        return f"{self.problem}; say which in the recipe, for instance columns: {{{answer}}}"


def layout_of(keys: Sequence[str], columns: Mapping[str, str] | None = None) -> Layout | Unclear:
    """The layout of rows with these keys.

    Args:
        keys: of a row, or of all rows.
        columns: what the user said: names of ``id``, ``query``, ``positives``, ``negatives`` and ``label``. A name of
            passages also stands for itself with a number behind it (``bad`` for ``bad_1``).
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
        "positives": positives[0] if by == "answers" else stem(positives[0]),
    }
    names |= {"positives": told["positives"]} if by == "given" else {}
    identity = given["id"] if "id" in given else _identity(free)
    label = (told["label"],) if told.get("label") else ()
    read = {*identity, *query, *positives, *negatives, *label}
    unread = tuple(key for key in keys if key not in read)
    asked = [key for key in unread if bare(key) in LABELS]
    if by == "answers" and asked and "label" not in given:
        return judged(positives[0], asked[0], told | names)
    own = [key for key in (*query, *positives) if key not in told.values() and not is_positive(key)]
    guessed = any(bare(key) not in WELL_KNOWN for key in own)
    return Layout((*identity, "id")[0], query[0], positives, negatives, (*label, "")[0], unread, names, by, guessed)


def judged(positives: str, label: str, known: Mapping[str, str], values: Sequence[str] = ()) -> Unclear:
    """What to ask about a column that judges the pairs.

    Args:
        positives: the column that is judged.
        label: the column of judgements.
        known: the columns that can be told.
        values: the judgements, as far as they are known.
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
    """The keys that a given name stands for."""
    if what in ("positives", "negatives"):
        return family(name, keys) if name else ()
    return (name,) if name and name in keys else ()


def _identity(keys: Sequence[str]) -> tuple[str, ...]:
    """The first of the names that an id has, as it stands there or in another spelling."""
    found = [name for name in IDS if name in keys] or [key for key in keys if bare(key) in map(bare, IDS)]
    return tuple(found[:1])


def _negatives(keys: Sequence[str]) -> tuple[str, ...]:
    """All keys of negatives, numbered ones in their order. DPR's random ones do not count beside its hard ones."""
    found = [key for key in keys if is_negative(key)]
    if any(bare(key) == "hardnegativectxs" for key in found):
        found = [key for key in found if bare(key) != "negativectxs"]
    return _in_order(found)


def _in_order(keys: Sequence[str]) -> tuple[str, ...]:
    """Keys as they come, numbered ones by their numbers."""
    return tuple(dict.fromkeys(member for key in keys for member in family(stem(key), keys) or (key,)))


def _query(keys: Sequence[str]) -> tuple[str, ...]:
    found = in_groups(keys, QUERIES)
    if any(bare(key) == "query" for key in found):  # beside a query, a prompt is an instruction (FlagEmbedding)
        found = [key for key in found if bare(key) != "prompt"]
    return tuple(found)


def _answers(keys: Sequence[str], query: Sequence[str]) -> tuple[str, ...]:
    """The columns that may be the positives where none is called so."""
    left = [key for key in keys if key not in query]
    found = in_groups(left, ANSWERS)
    if found and bare(found[0]) in ANSWERS[0]:
        found += [key for key in left if bare(key) in LONG and key not in found]
    if not found and [bare(key) for key in query] == ["messages"]:
        return tuple(query)  # a question and its answer
    return tuple(found)


def _unclear(
    keys: Sequence[str], columns: dict[str, str], found: Mapping[str, tuple[str, ...]], by: Certain
) -> Unclear | None:
    """What to ask if the query or the positives are not there, or may be several columns."""
    families = {what: list(dict.fromkeys(map(stem, names))) for what, names in found.items()}
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
