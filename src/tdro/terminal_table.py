"""A table for a terminal, as lines of text: every command that prints a table makes it here.

The columns are two spaces apart. A Chinese character or an emoji takes two columns of a terminal; ``tabulate`` knows
that, so the rest of the line stays aligned.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


def terminal_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[str] = ()) -> str:
    """A line for the head and one for each row, without spaces at the ends of lines.

    Args:
        head: the columns' titles.
        rows: a cell for each column, already text; a row may end early.
        left: titles of the columns that are aligned to the left. The first column always is, all others are aligned to
            the right, as numbers are.

    Example::

        >>> rows = [["nq", "1,000", "MIT"], ["fever", "90", ""]]
        >>> print(terminal_table(["task", "rows", "licence"], rows, left=["licence"]))
        task    rows  licence
        nq     1,000  MIT
        fever     90
    """
    from tabulate import tabulate

    sides = ["left" if at == 0 or title in left else "right" for at, title in enumerate(head)]
    # The head goes in as a row: tabulate would make a column at least two wider than its title.
    return tabulate([head, *rows], tablefmt="plain", colalign=sides, disable_numparse=True)
