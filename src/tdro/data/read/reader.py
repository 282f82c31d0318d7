"""Turn the raw values of a source into rows; which column holds what is decided by each file's first 500 rows.

The commands check, build and init all read through here, so that they agree on what a file says. Two things cannot be
seen in a single row, and are decided by the first rows and by the whole source: which columns hold lists that were
written as text, and whether a column that is not read judges the pairs. See docs/decisions.md, columns-by-first-rows.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tdro.data.read.cells import ListColumns, is_missing, is_passage_list, looks_like_list, yes_or_no
from tdro.data.read.column_names import is_count, listed, shown_key
from tdro.data.read.judgements import UnreadColumns
from tdro.data.read.layout import Layout, Unclear, layout_of
from tdro.data.read.problem import Problem
from tdro.data.read.rows import Row, plain_rows, row_by, row_from
from tdro.data.read.sources import Part
from tdro.recipe.source_kinds import TABLES

Rows = Sequence[Mapping[str, Any]]
_LAYOUTS = 1_000  # how many layouts are remembered, of rows with different keys
LOOKED = 500  # how many values at a file's beginning decide which column holds what
_AT_ONCE = 64  # values that are read at once; with more, their texts leave the processor's cache
_PIECES = 8  # into so many the values are parted of which some need cleaning
_STRICT = ("named", "given", "answers")  # from the layouts least to those most likely to need a judgement


class Reader:
    """Reads the parts (files) of a source one after the other: ``open`` a part, give every value of it to ``rows``,
    a few dozen at once (:func:`at_once`), and call ``end`` after the last part.

    Args:
        columns: what the user said, as :func:`tdro.data.read.layout.layout_of` takes it.
        seen: what an interrupted build had seen in the columns that are not read: its ``unread.seen``.

    Attributes:
        unread: the columns that were not read so far.
        lists: the columns whose cells were read as lists that had been written as text.
        layout: the layout of the last part that was opened; None before.
    """

    def __init__(self, columns: Mapping[str, str] | None, seen: Mapping[str, list[str]] | None = None) -> None:
        self.columns = dict(columns or {})
        self.unread = UnreadColumns(seen)
        self.lists: list[str] = []
        self.layout: Layout | None = None
        self._file = ""
        self._wanted = self.columns
        self._layouts: dict[tuple[str, ...], Layout | Unclear] = {}
        self._lists = ListColumns()
        self._judged: Layout | None = None  # of all layouts, the one whose positives are least certain

    def open(self, part: Part) -> Unclear | None:
        """Look at the first rows of the part that is read next.

        Returns:
            What to ask the user, if it is not clear which column holds what; else None.
        """
        rows = first_rows(part)
        layout = common_layout(rows, self.columns)
        if isinstance(layout, Unclear):
            return layout
        table = _is_table(part.file)
        self._file, self.layout, self._wanted, self._lists = part.file, layout, self.columns, ListColumns(table=table)
        self._layouts = {}
        if layout is None:
            return None
        if missing := _missing(self.columns, layout, keys_of(rows)):
            return missing
        self._wanted = self.columns | layout.columns
        passages = (layout.query, *layout.positives, *layout.negatives)
        listed_ones = [key for key in passages if _are_lists(rows, key, table and key != layout.query)]
        self._lists = ListColumns(frozenset(listed_ones), table)
        self.lists += [key for key in listed_ones if key not in self.lists]
        self._judge(layout)
        unread = UnreadColumns()
        for row in rows:
            unread.add(row, layout.unread)
        return unread.judgement(layout, self.columns) or _neither_yes_nor_no(rows, layout)

    def rows(self, raws: Sequence[object], lines: Sequence[int]) -> list[tuple[Row | None, list[Problem]]]:
        """What :meth:`row` gives for each value. It takes a third of the time if most values need no cleaning."""
        if (plain := self._plain_rows(raws, lines)) is not None:
            return [(row, []) for row in plain]
        if len(raws) == 1:
            return [self.row(raws[0], lines[0])]
        few = -(-len(raws) // _PIECES)  # most of these pieces are plain, although not all values are
        starts = range(0, len(raws), few)
        return [found for at in starts for found in self.rows(raws[at : at + few], lines[at : at + few])]

    def _plain_rows(self, raws: Sequence[Any], lines: Sequence[int]) -> list[Row] | None:
        """The rows of values with the same keys that need no cleaning; None if they have not, or if one may need it."""
        if self._lists.table or self._lists.columns or {*map(type, raws)} != {dict}:
            return None
        if len({*map(tuple, raws)}) > 1:
            return None
        layout = self._layout_of(tuple(raws[0]))
        if isinstance(layout, Unclear) or layout.label:
            return None
        rows = plain_rows(raws, layout, lines)
        if rows is not None and layout.unread:
            for raw in raws:
                self.unread.add(raw, layout.unread)
        return rows

    def row(self, raw: object, line: int) -> tuple[Row | None, list[Problem]]:
        """The row of a value of the part, as :func:`tdro.data.read.rows.row_from` gives it.

        A :class:`Problem`, which stands for a line without a value, gives no row and is the only problem.
        """
        if isinstance(raw, Problem):
            return None, [raw]
        if not isinstance(raw, dict):
            return row_from(raw, self._file, line)
        layout = self._layout_of(tuple(raw))
        if isinstance(layout, Layout) and layout.unread:
            self.unread.add(raw, layout.unread)
        return row_by(layout, raw, self._file, line, lists=self._lists)

    def end(self) -> Unclear | None:
        """What to ask the user after all rows: what a column means that judges the pairs; None if there is none."""
        return self.unread.judgement(self._judged, self.columns) if self._judged else None

    def _layout_of(self, keys: tuple[str, ...]) -> Layout | Unclear:
        return self._layouts.get(keys) or self._layout_by(keys)

    def _layout_by(self, keys: tuple[str, ...]) -> Layout | Unclear:
        """The layout of a row with these keys: that of the part, or its own if it has other names for both sides.

        A row may have the part's query, but lack its positives. Then a column ``answer``, if it has one, is not taken
        for the positives: in the other rows, it is a column beside them.
        """
        layout = layout_of(keys, self._wanted)
        if isinstance(layout, Unclear):
            own = layout_of(keys, self.columns)
            if isinstance(own, Layout) and (own.by == "named" or self.layout is None or self.layout.query not in keys):
                layout = own
                self._judge(own)
        elif self.layout is None:
            self._judge(layout)
        if len(self._layouts) < _LAYOUTS:
            self._layouts[keys] = layout
        return layout

    def _judge(self, layout: Layout) -> None:
        if self._judged is None or _STRICT.index(layout.by) > _STRICT.index(self._judged.by):
            self._judged = layout


def at_once(limit: int | None, done: int) -> int:
    """How many values :meth:`Reader.rows` is given next, if ``limit`` rows are wanted (None: all) and some are done."""
    return _AT_ONCE if limit is None else min(_AT_ONCE, limit - done)


def notes(unread: Sequence[str], lists: Sequence[str]) -> list[str]:
    """Notes for people: which columns were read as lists, and which were not read."""
    lines = [f"read as lists, which their cells are the texts of: {listed(lists)}"] if lists else []
    return [*lines, f"not read: {listed(unread, None)}"] if unread else lines


def first_rows(part: Part) -> Rows:
    """The rows among the first 500 values of a part."""
    return [value for _, _, value in itertools.islice(part.read(0, 1), LOOKED) if isinstance(value, dict)]


def keys_of(rows: Rows) -> tuple[str, ...]:
    """All keys of some rows, in the order in which they come."""
    return tuple(dict.fromkeys(str(key) for row in rows for key in row))


def common_layout(rows: Rows, columns: Mapping[str, str]) -> Layout | Unclear | None:
    """One layout for all rows: that of all their keys together or, if these are unclear, that of most rows.

    If there is none, the question comes with an example answer, in which the shortest texts are the queries, and the
    longest the positives. Without rows, it is None.
    """
    if not rows:
        return None
    layout = layout_of(keys_of(rows), columns)
    if isinstance(layout, Layout):
        return layout
    layouts = [(layout_of(keys, columns), count) for keys, count in Counter(map(tuple, rows)).most_common()]
    readable = [(one, count) for one, count in layouts if isinstance(one, Layout)]
    if 2 * sum(count for _, count in readable) > len(rows):
        return readable[0][0]
    if layout.answer:
        return layout
    if not (likely := _likely(rows, layout)):
        return Unclear(f"a row needs a query and a passage that answers it; it has {listed(keys_of(rows))}")
    return layout.with_answer(likely)


def _missing(columns: Mapping[str, str], layout: Layout, keys: Sequence[str]) -> Unclear | None:
    """What to say if a column that the user named is not there."""
    there = {"id": layout.id in keys, "negatives": bool(layout.negatives), "label": layout.label in keys}
    for what, name in columns.items():
        if name not in ("", what) and not there.get(what, True):
            return Unclear(f"no column {shown_key(name)}, which is to be the {what}; it has {listed(keys)}")
    return None


def _neither_yes_nor_no(rows: Rows, layout: Layout) -> Unclear | None:
    """What to say if the label has other values than yes and no in the first rows."""
    for row in rows if layout.label else ():
        if not is_missing(value := row.get(layout.label)) and yes_or_no(value) is None:
            return Unclear(
                f"the label {shown_key(layout.label)} is {shown_key(value)}, and not 1 or 0, true or false; keep the "
                "rows whose positives are answers, and say label: ''"
            )
    return None


def _is_table(file: str) -> bool:
    return file.lower().removesuffix(".gz").endswith(tuple(TABLES))


def _are_lists(rows: Rows, key: str, table: bool) -> bool:
    """Whether a column's cells are lists (or passage objects) that were written as text; empty cells do not count.

    At least one cell must be a whole list. The others must at least begin as one, for a spreadsheet may have cut them;
    but in a table, where lists can only be written as text, one whole list is enough.
    """
    values = [value for row in rows if not is_missing(value := row.get(key))]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values) or not any(map(is_passage_list, texts)):
        return False
    return table or all(looks_like_list(text) or is_passage_list(text) for text in texts)


def _likely(rows: Rows, unclear: Unclear) -> dict[str, str]:
    """An example of what the user could write in ``columns``; empty if too few columns hold texts."""
    lengths = {}
    for key in keys_of(rows):
        sizes = [size for row in rows if (size := _length(row.get(key)))]
        if 2 * len(sizes) >= len(rows):
            lengths[key] = sum(sizes) / len(sizes)
    lengths = {key: length for key, length in lengths.items() if not is_count(key)} or lengths
    answer = {what: name for what, name in unclear.known.items() if name}
    for what, best in (("positives", max), ("query", min)):
        if what not in answer:
            left = [key for key in lengths if key not in answer.values()]
            left = [key for key in left if key in unclear.candidates.get(what, ())] or left
            if not left:
                return {}
            answer[what] = best(left, key=lengths.__getitem__)
    return answer


def _length(value: object) -> int:
    """The length of a text, or of the first text in a list; 0 for anything else."""
    if isinstance(value, list) and value:
        value = value[0]
    return len(value) if isinstance(value, str) and not value.isdecimal() else 0
