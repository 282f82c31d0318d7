"""The map of which task helps which, as SVG: a square of numbers, coloured by how much and by which sign.

Rows are trained on, columns are helped. Numbers are per cent of the held-out loss. What helps and what hurts differ by
their sign before they differ by colour. Colours are CSS classes of the page with little opacity, so the numbers stay
readable on them in light and dark mode. The strongest colour is that of the largest number beside the diagonal: a task
mostly helps itself, by much more.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from tdro.report.charts import drawing, short_name

_STRONGEST = 0.55  # opacity
_NAME = 18  # characters of a task's name
_GIVEN, _RECEIVED = "gives others", "gets from others"
_NUMBERS = 40  # so many tasks have room for numbers; of more, each cell's <title> has it


def heat_map(names: Sequence[str], matrix: NDArray[np.float64], weights: NDArray[np.float64]) -> str:
    """The map, with two margins: what each task gives the others and its weight, and what it gets from the others.

    Args:
        names: k tasks, in the order in which they are drawn.
        matrix: (k, k) gains as shares of the loss.
        weights: (k,) the learned weights.
    """
    tasks, numbers = len(names), len(names) <= _NUMBERS
    wide, high = (44 if tasks <= 20 else 38, 24) if numbers else (12, 12)
    margins = tasks > 1 and numbers
    longest = min(max(map(len, names)), _NAME)
    left = 7 * max(longest, len(_RECEIVED) * margins) + 12
    top, gap = 6 * max(longest, len(_GIVEN) * margins) + 16, 10
    beside = matrix[~np.eye(tasks, dtype=bool)]
    strongest = float(np.abs(beside).max(initial=0.0)) or float(np.abs(matrix).max(initial=0.0)) or 1.0
    given, received = (_of_others(each) for each in (matrix, matrix.T))

    def x(at: int) -> float:
        return left + at * wide + gap * (at >= tasks)

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
        text = f"{short_name(name, _NAME)}<title>{escape(name)}</title>"
        body += f'<text x="{left - 6}" y="{y(at) + high / 2 + 4:g}" text-anchor="end">{text}</text>'
        body += _leaning(x(at) + wide / 2, top - 6, text)
    for row, giver in enumerate(names):
        for column, helped in enumerate(names):
            says = f"{giver} helps {helped}" if row != column else f"{giver} helps itself"
            body += cell(row, column, float(matrix[row, column]), says, row == column)
    if margins:
        body += _leaning(x(tasks) + wide / 2, top - 6, _GIVEN)
        body += _leaning(x(tasks + 1) + wide / 2, top - 6, "weight")
        body += f'<text x="{left - 6}" y="{y(tasks) + 16:g}" text-anchor="end">{_RECEIVED}</text>'
        for at, name in enumerate(names):
            body += cell(at, tasks, float(given[at]), f"{name} helps the others")
            body += cell(tasks, at, float(received[at]), f"the others help {name}")
            place = f'x="{x(tasks + 1) + wide / 2:g}" y="{y(at) + 16:g}" text-anchor="middle"'
            body += f"<text {place}>{100 * weights[at]:.1f}</text>"
    left_for_labels = 5 * min(max(map(len, names)), _NAME)
    width, height = x(tasks + 1) + wide + left_for_labels, y(tasks) + high + 4
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    return drawing(body, f"Which of {tasks} tasks helps which", size, "map")


def signed(value: float) -> str:
    """A share as per cent with its sign: ``+1.2``, ``−0.3``, ``0``."""
    text = f"{100 * value:+.1f}"
    return "0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def _of_others(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each row without the diagonal."""
    return (matrix.sum(axis=1) - np.diag(matrix)) / max(len(matrix) - 1, 1)


def _leaning(x: float, y: float, text: str) -> str:
    return f'<text transform="translate({x:g} {y:g}) rotate(-50)">{text}</text>'
