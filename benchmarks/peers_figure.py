"""Draws docs/peers.svg from results/peers.json and results/gain.json, and prints the same as a table.

python benchmarks/peers_figure.py
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from html import escape
from pathlib import Path

from tdro.files import read_json, write_atomic
from tdro.report.charts import spread_labels, ticks

HERE = Path(__file__).parent
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 430, 64, 190, 28, 52
LOWEST = -3.0  # what lies below is drawn at the lower edge, with its number
BUDGETS = (6, 12, 24, 48)
WAYS = {  # a mixture's name in peers.json: what kind of way it is, and its title
    "proportional^0.5": ("free", "rows^0.5"),
    "top-70": ("tdro", "top-70"),
    "reweight^0.5": ("tdro", "reweight^0.5"),
    "top-70^0.5": ("tdro", "top-70^0.5"),
    "gain": ("gain", "gain"),
    "excess": ("excess", "excess, as in DoReMi"),
    "excess-top-70": ("excess", "top-70 by excess"),
    **{f"olmix-{budget}": ("olmix", "swarm, olmix") for budget in BUDGETS},
    **{f"best-{budget}": ("best", "swarm, its best") for budget in BUDGETS},
    **{f"regmix-{budget}": ("regmix", "swarm, RegMix") for budget in BUDGETS},
}
SWARM = ("olmix", "best", "regmix")
COLOURS = {
    **{"free": "#6b7280", "tdro": "#0b6e4f", "gain": "#0b6e4f", "excess": "#7c3aed"},
    **{"olmix": "#c2410c", "best": "#a16207", "regmix": "#1d4ed8"},
}


@dataclass(frozen=True)
class Point:
    """A way to find a mixture: its kind, what it cost in trainings, and its gain in nDCG@10 x 100."""

    name: str
    kind: str
    cost: float
    gain: float
    low: float | None
    high: float | None
    seeds: int


def points() -> list[Point]:
    """All ways that were measured, the cheap ones first."""
    found, seconds = read_json(HERE / "results" / "peers.json")["comparison"], read_json(HERE / "results" / "gain.json")
    a_training = (seconds["tdro_stages"]["reference"] + seconds["tdro_stages"]["reference-2"]) / 2
    tdro = seconds["tdro"] / a_training
    costs = {"free": 0.0, "tdro": tdro, "excess": tdro, "gain": seconds["gain"] / a_training}
    result = []
    for name, (kind, title) in WAYS.items():
        if name in found:
            cost = float(name.rpartition("-")[2]) if kind in SWARM else costs[kind]
            gain, low, high = [*found[name]["gain, low, high"], None, None][:3]
            result.append(Point(title, kind, cost, gain, low, high, len(found[name]["seeds"])))
    return sorted(result, key=lambda point: (point.cost, point.name))


def drawing(all_points: list[Point]) -> str:
    """The figure. Costs are on a logarithmic axis that has a zero: log(1 + trainings)."""
    values = [value for point in all_points for value in (point.gain, point.low, point.high) if value is not None]
    low, high = max(LOWEST, math.floor(min(0.0, *values))), math.ceil(max(values) * 2) / 2

    def x(cost: float) -> float:
        return LEFT + 18 + (WIDTH - LEFT - RIGHT - 36) * math.log1p(cost) / math.log1p(48)

    def y(gain: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - max(low, gain)) / (high - low)

    body = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    for tick in ticks(low, high, 8):
        stroke = "#111" if tick == 0 else "#e5e7eb"
        body.append(f'<path d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}" stroke="{stroke}"/>')
        body.append(_text(LEFT - 8, y(tick) + 4, f"{tick:+g}" if tick else "uniform", "end", "#374151"))
    for tick in (0, 3, 6, 12, 24, 48):
        body.append(_text(x(tick), HEIGHT - BOTTOM + 20, f"{tick}", "middle", "#374151"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    body.append(_text(middle, HEIGHT - 10, "trainings spent on finding the mixture (CPU time)", "middle", "#111"))
    body.append(_text(8, 14, "nDCG@10 × 100 above uniform", "start", "#111"))
    labels = []
    cut: Counter[float] = (
        Counter()
    )  # how many points lie below the edge at a cost: their numbers stand one above another
    for kind in dict.fromkeys(point.kind for point in all_points):
        own, colour = [point for point in all_points if point.kind == kind], COLOURS[kind]
        if kind in SWARM and len(own) > 1:
            line = " ".join(f"{x(point.cost):.1f},{y(point.gain):.1f}" for point in own)
            body.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for point in own:
            at, title = f'cx="{x(point.cost):.1f}" cy="{y(point.gain):.1f}"', escape(f"{point.name}: {point.gain:+.1f}")
            if point.low is not None and point.high is not None:
                body.append(
                    f'<path d="M{x(point.cost):.1f} {y(point.low):.1f}V{y(point.high):.1f}" stroke="{colour}" '
                    'stroke-opacity="0.3" stroke-width="3"/>'
                )
            body.append(f'<circle {at} r="5" fill="{colour}"><title>{title}</title></circle>')
            if point.gain < low:
                above = 6 + 15 * cut[point.cost]
                body.append(_text(x(point.cost) + 9, y(point.gain) - above, f"{point.gain:+.1f}", "start", colour))
                cut[point.cost] += 1
        labels += [(point, colour) for point in (own[-1:] if kind in SWARM else own)]
    placed = spread_labels([y(point.gain) for point, _ in labels], 17, TOP, HEIGHT - BOTTOM)
    for (point, colour), where in zip(labels, placed, strict=True):
        start = WIDTH - RIGHT + 12
        line = f"M{x(point.cost) + 6:.1f} {y(point.gain):.1f}L{start - 4} {where:.1f}"
        body.append(f'<path d="{line}" stroke="{colour}" stroke-opacity="0.35" fill="none" stroke-dasharray="2 3"/>')
        body.append(_text(start, where + 4, f"{point.name} {point.gain:+.1f}", "start", colour))
    label = "Gain over uniform against trainings spent"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}" '
        'font-family="system-ui, sans-serif" font-size="13">\n' + "\n".join(body) + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, anchor: str, colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def main() -> None:
    """Print the table and draw the figure."""
    all_points = points()
    print("| way | trainings | gain over uniform | seeds |\n|---|---|---|---|")
    for point in all_points:
        interval = f" [{point.low:+.1f}, {point.high:+.1f}]" if point.low is not None else ""
        print(f"| {point.name} | {point.cost:.0f} | {point.gain:+.1f}{interval} | {point.seeds} |")
    write_atomic(HERE.parent / "docs" / "peers.svg", drawing(all_points))


if __name__ == "__main__":
    main()
