"""The chart of the scores on a development set over the steps of trainings, as SVG: a line for each mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tdro.report.charts import LABEL, drawing, path, short_name, spread_labels, ticks

COLOURS = 8  # styles s0 to s7 of the page; further lines are grey


@dataclass(frozen=True)
class ScoreLine:
    """A line of the chart: its name, and its scores in [0, 1] after each of some steps."""

    name: str
    steps: Sequence[int]
    scores: Sequence[float]


def score_chart(lines: Sequence[ScoreLine], width: int, height: int, label: str) -> str:
    """nDCG@10 in per cent over the steps; each line has its name at its end.

    Args:
        lines: at least one; each has at least one step.
        width: of the drawing, in px, where text is 12 px high.
        height: of the drawing, in px.
        label: what those who cannot see it are told.
    """
    left, top, bottom = 44, 10, 38
    right = 6.9 * min(max(len(line.name) for line in lines), LABEL) + 70
    inner = width - left - right
    scores = [score for line in lines for score in line.scores]
    space = max((max(scores) - min(scores)) * 0.08, 0.002)
    low, high = max(min(scores) - space, 0.0), min(max(scores) + space, 1.0)
    last = max(line.steps[-1] for line in lines)

    def x(step: float) -> float:
        return left + inner * step / last

    def y(score: float) -> float:
        return top + (height - top - bottom) * (1 - (score - low) / (high - low))

    body = ""
    for tick in ticks(low, high, 5):
        body += f'<line class="grid" x1="{left}" x2="{left + inner:.1f}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        body += f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{100 * tick:g}</text>'
    for tick in ticks(0, last, max(int(inner // 70), 2)):
        body += f'<text x="{x(tick):.1f}" y="{height - 21}" text-anchor="middle">{tick:g}</text>'
    body += f'<text x="{left + inner / 2:.1f}" y="{height - 5}" text-anchor="middle">step</text>'
    styles = [f"s{number}" if number < COLOURS else "other" for number in range(len(lines))]
    for css, line in zip(styles, lines, strict=True):
        d = path([x(step) for step in line.steps], [y(score) for score in line.scores])
        body += f'<path class="line {css}" d="{d}"><title>{escape(line.name)}</title></path>'
    places = spread_labels([y(line.scores[-1]) for line in lines], 15, top + 2, height - bottom)
    for css, line, place in zip(styles, lines, places, strict=True):
        end = x(line.steps[-1])
        body += f'<path class="lead {css}" d="M{end + 1:.1f} {y(line.scores[-1]):.1f}L{end + 10:.1f} {place:.1f}h5"/>'
        text = f'{short_name(line.name)} <tspan class="soft">{100 * line.scores[-1]:.1f}</tspan>'
        body += f'<text x="{end + 18:.1f}" y="{place + 4:.1f}">{text}<title>{escape(line.name)}</title></text>'
    return drawing(body, label, f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"', "lines")
