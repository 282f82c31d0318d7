"""Which columns of a file are the query, the positives and the negatives, where their names do not say it exactly.

Names that :mod:`tdro.data.rows` knows need nothing. Names that mean the same to everybody ("Question Text", "response")
are mapped, and the recipe says so. Everything else is asked for: a wrong guess would train a model on rubbish, and
nobody would see it.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tdro.data.rows import LABELS, layout_of, shown_key
from tdro.data.sources import Part, open_source, refusal
from tdro.errors import UserError
from tdro.recipe_checks import COLUMNS
from tdro.recipe_data import Source

_LOOKED = 100  # values of a file whose columns are looked at
# Without case and separators. A name of a later group counts where there is none of an earlier one.
_QUERIES = (
    {"question", "query", "prompt", "anchor", "questiontext", "querytext", "searchquery", "userquery", "q"},
    {"title", "headline", "input", "term", "subject", "sentence1"},
)
_POSITIVES = (
    {"positive", "positives", "positivepassage", "relevantpassages", "relevantpassage", "answer", "answertext"}
    | {"response", "reply", "completion", "a"},
    {"passage", "document", "context", "text", "content", "body", "output", "definition", "description"}
    | {"sentence2"},
)
# Beside one of these a column of passages may be what is searched for, and the answer a few words out of it.
_SHORT = {"answer", "answers"}
_LONG = {"passage", "passages", "document", "documents", "context", "contexts", "text", "content", "body"}

Rows = Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class Columns:
    """What a file's columns are.

    Attributes:
        wanted: what the recipe must say; empty where the names are known.
        read: the columns of the query, the positives and the negatives (possibly none).
        unread: the others.
        guessed: whether ``wanted`` was told by the names' meaning, not by the user.
    """

    wanted: dict[str, str]
    read: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
    unread: tuple[str, ...]
    guessed: bool

    @property
    def summary(self) -> str:
        """Which is which, in a line."""
        parts = list(zip(("query", "positives", "negatives"), self.read, strict=True))
        if self.unread:
            parts.append(("not read", self.unread))
        return "; ".join(f"{what}: {_listed(names, 5)}" for what, names in parts)


def columns_of(source: str, given: Mapping[str, str]) -> Columns:
    """The columns of a source, by its first rows.

    Args:
        source: a file, a folder or a hub id.
        given: what the user said of them.

    Raises:
        UserError: there are no rows, it cannot be told which columns are the query and the positives, or a folder's
            files have different ones.
    """
    for what in given:
        if what not in COLUMNS:
            raise UserError(f"--columns {source}: {what!r} is no column of a row; known: {', '.join(COLUMNS)}")
    parts = open_source(Source.model_construct(source=source)).parts()
    place, rows = next(((place, rows) for place, part in enumerate(parts) if (rows := _first(part, _LOOKED))), (0, []))
    keys = _keys(rows)
    if not keys:
        raise UserError(refusal(parts) or f"{source}: no rows in it; see `tdro data check {shlex.quote(source)}`")
    for column in given.values():
        if column not in keys:
            raise UserError(f"--columns {source}: no column {shown_key(column)}; it has {_listed(keys)}")
    wanted = _wanted(source, rows, keys, dict(given))
    layout = layout_of(keys, tuple(wanted.items()))
    if isinstance(layout, str):
        raise UserError(f"{source}: {layout}")
    for part in parts[place + 1 :]:
        others = _keys(_first(part, 1))
        if others and isinstance(layout_of(others, tuple(wanted.items())), str):
            raise UserError(
                f"{source}: {part.file} has other columns ({_listed(others)}) than {parts[place].file} "
                f"({_listed(keys)}).\nA folder is one task; give the files one by one, a task each"
            )
    read = ((layout.query,), layout.positives, layout.negatives)
    known = {layout.id, *itertools.chain(*read)}
    return Columns(wanted, read, tuple(key for key in keys if key not in known), wanted != dict(given))


def _first(part: Part, count: int) -> Rows:
    values = itertools.islice(part.read(0, 1), count)
    return [value for _, _, value in values if isinstance(value, dict)]


def _keys(rows: Rows) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(key) for row in rows for key in row))


def _wanted(source: str, rows: Rows, keys: Sequence[str], given: dict[str, str]) -> dict[str, str]:
    """What the recipe must say: what was given, and what the names mean if they are no known ones."""
    if "query" in given and "positives" in given:
        return given
    free = [key for key in keys if key not in given.values()]
    layout = layout_of(tuple(keys), tuple(given.items()))
    if isinstance(layout, str):
        wanted = known = _guess(source, rows, keys, given)
    else:
        wanted, known = given, {"query": layout.query, "positives": layout.positives[0]}
    others = [key for key in free if _bare(key) in _LONG and key not in known.values()]
    if "positives" not in given and _bare(known["positives"]) in _SHORT and others:
        found = {"positives": [known["positives"], *others]}
        raise _question(source, rows, keys, given | {"query": known["query"]}, found)
    return wanted


def _guess(source: str, rows: Rows, keys: Sequence[str], given: dict[str, str]) -> dict[str, str]:
    free = [key for key in keys if key not in given.values()]
    found = {
        what: [given[what]] if what in given else _named(free, groups)
        for what, groups in (("query", _QUERIES), ("positives", _POSITIVES))
    }
    known = given | {what: names[0] for what, names in found.items() if len(names) == 1}
    if "query" not in known or "positives" not in known:
        raise _question(source, rows, keys, known, found)
    if label := next((key for key in free if _bare(key) in LABELS), None):
        raise UserError(
            f"{source}: {shown_key(known['positives'])} may be a positive for some values of {shown_key(label)} only.\n"
            f"Keep those rows, and name the columns: {_said(source, known)}"
        )
    return known


def _question(
    source: str, rows: Rows, keys: Sequence[str], known: Mapping[str, str], found: Mapping[str, Sequence[str]]
) -> UserError:
    """Which column is it? With an answer that is likely right."""
    missing = next((what for what in ("query", "positives") if what not in known), "positives")
    several = found.get(missing, ())
    problem = f"may be {' or '.join(map(shown_key, several))}" if len(several) > 1 else "has no name that is known"
    example = _example(rows, keys, known, several)
    if example is None:
        return UserError(f"{source}: a row needs a query and a passage that answers it; it has {_listed(keys)}")
    label = next((key for key in keys if _bare(key) in LABELS), None)
    only = f" (of pairs with a {shown_key(label)}, keep those that are an answer)" if label else ""
    return UserError(
        f"{source}: the column of the {missing} {problem}; it has {_listed(keys)}{only}.\n"
        f"Say which, for instance: {_said(source, example)} (in a recipe, the key `columns` of the source)"
    )


def _named(keys: Sequence[str], groups: Sequence[set[str]]) -> list[str]:
    """The keys of the first group that any is in."""
    for group in groups:
        if found := [key for key in keys if _bare(key) in group]:
            return found
    return []


def _bare(key: str) -> str:
    return re.sub(r"[\W_]", "", key.casefold())


def _example(
    rows: Rows, keys: Sequence[str], known: Mapping[str, str], candidates: Sequence[str]
) -> dict[str, str] | None:
    """What the user could say: the shortest texts are the queries, the longest (of the candidates) the positives."""
    lengths = {}
    for key in keys:
        sizes = [size for row in rows if (size := _length(row.get(key)))]
        if 2 * len(sizes) >= len(rows):
            lengths[key] = sum(sizes) / len(sizes)
    example = dict(known)
    for what, best in (("positives", max), ("query", min)):
        if what not in example:
            left = [key for key in lengths if key not in example.values()]
            left = [key for key in left if key in candidates] or left
            if not left:
                return None
            example[what] = best(left, key=lengths.__getitem__)
    return {what: example[what] for what in COLUMNS if what in example}


def _length(value: object) -> int:
    """Of a text, or of the first in a list; 0 for anything else."""
    if isinstance(value, list) and value:
        value = value[0]
    return len(value) if isinstance(value, str) else 0


def _said(source: str, columns: Mapping[str, str]) -> str:
    said = (f"{what}={shlex.quote(name)}" for what, name in columns.items())
    return f"--columns {shlex.quote(source)} {' '.join(said)}"


def _listed(keys: Sequence[str], most: int = 12) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(map(shown_key, keys[:most])) + more or "none"
