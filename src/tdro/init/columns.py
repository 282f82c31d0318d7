"""Which columns of a file are the query, the positives and the negatives, where their names do not say it exactly.

Names that :mod:`tdro.data.rows` knows need nothing. Names that mean the same to everybody ("Question Text", "response")
are mapped, and the recipe says so. Everything else is asked for: a wrong guess would train a model on rubbish, and
nobody would see it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tdro.data.rows import LABELS, Layout, layout_of, shown_key
from tdro.data.sources import open_source
from tdro.errors import UserError
from tdro.recipe_checks import COLUMNS
from tdro.recipe_data import Source

_LOOKED = 100  # values of a file whose columns are looked at
# Without case and separators. A name of a later group counts where there is none of an earlier one.
_QUERIES = (
    {"question", "query", "prompt", "anchor", "questiontext", "querytext", "searchquery", "userquery", "q"},
    {"title", "headline", "input", "term", "subject"},
)
_POSITIVES = (
    {"positive", "positives", "positivepassage", "answer", "answertext", "response", "reply", "completion", "a"},
    {"passage", "document", "context", "text", "content", "body", "output", "definition", "description"},
)


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


def columns_of(source: str, given: Mapping[str, str]) -> Columns:
    """The columns of a source, by its first rows.

    Args:
        source: a file, a folder or a hub id.
        given: what the user said of them.

    Raises:
        UserError: there are no rows, or it cannot be told which columns are the query and the positives.
    """
    for what in given:
        if what not in COLUMNS:
            raise UserError(f"--columns {source}: {what!r} is no column of a row; known: {', '.join(COLUMNS)}")
    parts = open_source(Source.model_construct(source=source)).parts()
    values = [value for _, _, value in itertools.islice(parts[0].read(0, 1), _LOOKED)]
    rows = [value for value in values if isinstance(value, dict)]
    keys = tuple(dict.fromkeys(str(key) for row in rows for key in row))
    if not keys:
        raise UserError(f"{source}: no rows in it; see `tdro data check {source}`")
    for column in given.values():
        if column not in keys:
            raise UserError(f"--columns {source}: no column {shown_key(column)}; it has {_listed(keys)}")
    wanted = dict(given)
    layout = layout_of(keys, tuple(wanted.items()))
    if isinstance(layout, str):
        _refuse_labels(source, keys, wanted, layout)
        wanted = _guess(source, rows, keys, given)
        layout = layout_of(keys, tuple(wanted.items()))
        if isinstance(layout, str):
            raise UserError(f"{source}: {layout}")
    read = ((layout.query,), layout.positives, layout.negatives)
    known = {layout.id, *itertools.chain(*read)}
    return Columns(wanted, read, tuple(key for key in keys if key not in known), wanted != dict(given))


def _refuse_labels(source: str, keys: Sequence[str], wanted: Mapping[str, str], message: str) -> None:
    """Raise for pairs with a label, of which only some are a query and its answer."""
    others = tuple(key for key in keys if key not in LABELS)
    if isinstance(layout_of(others, tuple(wanted.items())), Layout):
        raise UserError(f"{source}: {message}")


def _guess(
    source: str, rows: Sequence[Mapping[str, object]], keys: Sequence[str], given: Mapping[str, str]
) -> dict[str, str]:
    free = [key for key in keys if key not in given.values()]
    query = [given["query"]] if "query" in given else _named(free, _QUERIES)
    positive = [given["positives"]] if "positives" in given else _named(free, _POSITIVES)
    if len(query) == 1 and len(positive) == 1 and query != positive:
        return {**given, "query": query[0], "positives": positive[0]}
    missing = "query" if len(query) != 1 else "positives"
    several = query if missing == "query" else positive
    problem = f"may be {' or '.join(map(shown_key, several))}" if several else "has no name that is known"
    example = _example(rows, free, given)
    if example is None:
        raise UserError(f"{source}: a row needs a query and a passage that answers it; it has {_listed(keys)}")
    said = " ".join(f"{what}={_shell(column)}" for what, column in example.items())
    raise UserError(
        f"{source}: the column of the {missing} {problem}; it has {_listed(keys)}.\n"
        f"Say which, for instance: --columns {_shell(source)} {said} (in a recipe, the key `columns` of the source)"
    )


def _named(keys: Sequence[str], groups: Sequence[set[str]]) -> list[str]:
    """The keys of the first group that any is in."""
    for group in groups:
        if found := [key for key in keys if re.sub(r"[\W_]", "", key.casefold()) in group]:
            return found
    return []


def _example(
    rows: Sequence[Mapping[str, object]], keys: Sequence[str], given: Mapping[str, str]
) -> dict[str, str] | None:
    """What the user could say: the shortest texts are the queries, the longest the positives."""
    lengths = {}
    for key in keys:
        texts = [value for row in rows if isinstance(value := row.get(key), str)]
        if 2 * len(texts) >= len(rows):
            lengths[key] = sum(map(len, texts)) / len(texts)
    by_length = sorted(lengths, key=lambda key: lengths[key])
    example = dict(given)
    for what, place in (("positives", -1), ("query", 0)):
        if what not in example:
            if not by_length:
                return None
            example[what] = by_length.pop(place)
    return {what: example[what] for what in COLUMNS if what in example}


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(map(shown_key, keys[:12])) + (", ..." if len(keys) > 12 else "")


def _shell(text: str) -> str:
    return text if re.fullmatch(r"[\w./-]+", text) else "'" + text.replace("'", "'\\''") + "'"
