"""The map of which task helps which, as SVG: a square of numbers, coloured by how much and by which sign.

Rows are trained on, columns are helped. With a target the columns are its parts, and the map is no square. Numbers are
per cent of the held-out loss. What helps and what hurts differ by their sign before they differ by colour. Colours are
CSS classes of the page with little opacity, so the numbers stay readable on them in light and dark mode. The strongest
colour of a square is that of the largest number beside the diagonal: a task mostly helps itself, by much more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from tdro.report.charts import drawing, short_name

_STRONGEST = 0.55  # opacity
_NAME = 18  # characters of a task's name
_GIVEN, _RECEIVED = "gives others", "gets from others"
_TO_TARGET, _FROM_ALL = "gives the target", "gets on average"
_NUMBERS = 40  # so many tasks have room for numbers; of more, each cell's <title> has it


@dataclass(frozen=True)
class Helped:
    """The columns of a map with a target: the names of its parts, and (columns,) how much each counts."""

    names: Sequence[str]
    shares: NDArray[np.float64]


def heat_map(
    names: Sequence[str], matrix: NDArray[np.float64], weights: NDArray[np.float64], target: Helped | None = None
) -> str:
    """The map, with two margins: what each task gives the others and its weight, and what it gets from the others.

    Args:
        names: k tasks, in the order in which they are drawn.
        matrix: (k, columns) gains as shares of the loss.
        weights: (k,) the learned weights.
        target: what the columns are; None: the tasks. With a target the margins are of all tasks and of the whole
            target, for nothing in it is a task's own.
    """
    helped, tasks = (names if target is None else target.names), len(names)
    columns, numbers = len(helped), max(len(names), len(helped)) <= _NUMBERS
    wide, high = (44 if columns <= 20 else 38, 24) if numbers else (12, 12)
    margins = (tasks > 1 or target is not None) and numbers
    giving, getting = (_GIVEN, _RECEIVED) if target is None else (_TO_TARGET, _FROM_ALL)
    left = 7 * max(min(max(map(len, names)), _NAME), len(getting) * margins) + 12
    top, gap = 6 * max(min(max(map(len, helped)), _NAME), len(giving) * margins) + 16, 10
    strongest = _strongest(matrix, target is None)
    given, received = (
        (_of_others(matrix), _of_others(matrix.T)) if target is None else (matrix @ target.shares, matrix.mean(axis=0))
    )

    def x(at: int) -> float:
        return left + at * wide + gap * (at >= columns)

    def y(at: int) -> float:
        return top + at * high + gap * (at >= tasks)

    def cell(row: int, column: int, value: float, says: str, own: bool = False) -> str:
        share = min(abs(value) / strongest, 1.0) ** 0.5 * _STRONGEST
        css = ("helps" if value > 0 else "hurts") + (" own" if own else "")
        place = f'x="{x(column):g}" y="{y(row):g}" width="{wide - 1}" height="{high - 1}"'
        body = f'<rect class="{css}" {place} fill-opacity="{share:.2f}"/>'
        if numbers:
            body += (
                f'<text x="{x(column) + wide / 2:g}" y="{y(row) + 16:g}" text-anchor="middle">{signed(value)}</text>'
            )
        return f"<g>{body}<title>{escape(says)}: {signed(value)} %</title></g>"

    body = ""
    for at, name in enumerate(names):
        body += f'<text x="{left - 6}" y="{y(at) + high / 2 + 4:g}" text-anchor="end">{_titled(name)}</text>'
    for at, name in enumerate(helped):
        body += _leaning(x(at) + wide / 2, top - 6, _titled(name))
    for row, giver in enumerate(names):
        for column, other in enumerate(helped):
            own = target is None and row == column
            says = f"{giver} helps itself" if own else f"{giver} helps {other}"
            body += cell(row, column, float(matrix[row, column]), says, own)
    if margins:
        body += _leaning(x(columns) + wide / 2, top - 6, giving)
        body += _leaning(x(columns + 1) + wide / 2, top - 6, "weight")
        body += f'<text x="{left - 6}" y="{y(tasks) + 16:g}" text-anchor="end">{getting}</text>'
        for at, name in enumerate(names):
            body += cell(at, columns, float(given[at]), f"{name} helps {giving.removeprefix('gives ')}")
            place = f'x="{x(columns + 1) + wide / 2:g}" y="{y(at) + 16:g}" text-anchor="middle"'
            body += f"<text {place}>{100 * weights[at]:.1f}</text>"
        for at, name in enumerate(helped):
            others = "the others help" if target is None else "the tasks help"
            body += cell(tasks, at, float(received[at]), f"{others} {name}")
    left_for_labels = 5 * min(max(map(len, helped)), _NAME)
    width, height = x(columns + 1) + wide + left_for_labels, y(tasks) + high + 4
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    what = f"Which of {tasks} tasks helps which" + (f" of {columns} parts of the target" if target else "")
    return drawing(body, what, size, "map")


def signed(value: float) -> str:
    """A share as per cent with its sign: ``+1.2``, ``−0.3``, ``0``."""
    text = f"{100 * value:+.1f}"
    return "0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def _strongest(matrix: NDArray[np.float64], square: bool) -> float:
    """The largest number, in a square the largest beside the diagonal."""
    beside = matrix[~np.eye(len(matrix), dtype=bool)] if square else matrix
    return float(np.abs(beside).max(initial=0.0)) or float(np.abs(matrix).max(initial=0.0)) or 1.0


def _titled(name: str) -> str:
    return f"{short_name(name, _NAME)}<title>{escape(name)}</title>"


def _of_others(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each row without the diagonal."""
    return (matrix.sum(axis=1) - np.diag(matrix)) / max(len(matrix) - 1, 1)


def _leaning(x: float, y: float, text: str) -> str:
    return f'<text transform="translate({x:g} {y:g}) rotate(-50)">{text}</text>'
