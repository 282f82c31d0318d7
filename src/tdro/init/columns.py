"""Decides which columns of a file are the query, the positives and the negatives, or asks.

All commands have the same rule (:mod:`tdro.data.read.layout`). Columns named ``query`` or ``positive`` need no word in
the recipe. Names that mean the same to everybody ("Question Text", "headline") are written into the recipe, where the
user sees them. For all others the command asks: a wrong guess would train a model on rubbish, and nobody would notice.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from tdro.data.read.column_names import family, is_judgement, listed, shown_key
from tdro.data.read.layout import Layout, Unclear
from tdro.data.read.reader import Reader, common_layout, first_rows, keys_of, notes
from tdro.data.read.sources import open_source, refusal
from tdro.errors import UserError
from tdro.recipe.rules import COLUMNS


@dataclass(frozen=True)
class Columns:
    """What a file's columns are.

    Attributes:
        wanted: what the recipe must say of them; empty if their names are known.
        read: the columns of the query, of the positives, and of the negatives (possibly none).
        unread: the other columns.
        lists: those of the columns in ``read`` whose cells are lists written as text, such as ``["a", "b"]``.
        guessed: whether ``wanted`` was guessed from the meaning of the names, not said by the user.
    """

    wanted: dict[str, str]
    read: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
    unread: tuple[str, ...]
    guessed: bool
    lists: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """A line that says which column is which."""
        parts = zip(("query", "positives", "negatives"), self.read, strict=True)
        roles = [f"{role}: {listed(names, 5)}" for role, names in parts]
        return "; ".join([*roles, *notes(self.unread, self.lists)])


def columns_of(source: str, given: Mapping[str, str]) -> Columns:
    """The columns of a source, found from its first rows.

    Args:
        source: a file, a folder or a hub id.
        given: what the user said of the columns, such as ``{"query": "question"}``.

    Raises:
        UserError: there are no rows; it is not clear which columns are the query and the positives; or the files of a
            folder have different columns.
    """
    for what in given:
        if what not in COLUMNS:
            raise UserError(f"--columns {source}: {what!r} is no column of a row; known: {', '.join(COLUMNS)}")
    opened = open_source(source).parts()
    parts = [(part, rows) for part in opened if (rows := first_rows(part))]
    if not parts:
        raise UserError(refusal(opened) or f"{source}: no rows in it; see `tdro data check {shlex.quote(source)}`")
    (first, rows), *others = parts
    keys = keys_of(rows)
    for name in given.values():
        if name and not family(name, keys):
            raise UserError(f"--columns {source}: no column {shown_key(name)}; it has {listed(keys)}")
    reader = Reader(given)
    unclear = reader.open(first)
    if unclear is not None or reader.layout is None:
        raise _question(source, keys, unclear)
    layout = reader.layout
    wanted = dict(given) | (layout.columns if layout.guessed else {})
    for part, some in others:
        other = common_layout(some, wanted)
        if not isinstance(other, Layout) or other.guessed or reader.open(part) is not None:
            raise UserError(
                f"{source}: {part.file} has other columns ({listed(keys_of(some))}) than {first.file} "
                f"({listed(keys)}).\nA folder is one task; give the files one by one, a task each"
            )
    return Columns(wanted, ((layout.query,), layout.positives, layout.negatives), layout.unread, wanted != dict(given))


def _question(source: str, keys: tuple[str, ...], unclear: Unclear | None) -> UserError:
    """The question to the user which column is which, with the answer that is most likely right."""
    if unclear is None or not unclear.answer:
        return UserError(f"{source}: {unclear.problem if unclear else 'its columns cannot be told'}")
    label = next((key for key in keys if is_judgement(key)), None)
    only = f" (of pairs with a {shown_key(label)}, keep those that are an answer)" if label else ""
    only = "" if "label" in unclear.answer else only
    said = " ".join(f"{what}={shlex.quote(name)}" for what, name in unclear.answer.items())
    return UserError(
        f"{source}: {unclear.problem}{only}.\n"
        f"Say which, for instance: --columns {shlex.quote(source)} {said} "
        "(in a recipe, the key `columns` of the source)"
    )
