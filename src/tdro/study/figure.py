"""The figure of a study as SVG inside the page: a mark for each variant, its interval, and a line for each series.

Lines differ in their marks before they differ in colour. Positions along the horizontal axis are the numbers
themselves, on a logarithmic axis where the largest is 8 times the smallest and more; values that are no numbers (names
of measures, say) stand at equal distances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from tdro.evaluation.compare.readable_numbers import nested
from tdro.report.charts import MARKS, domain_of, drawing, path, short_name, spread_labels, ticks
from tdro.study.schema import Study

WIDTH, HEIGHT = 860, 380
_LEFT, _TOP, _BOTTOM = 60, 16, 54
_MARKS = ("disc", "ring", "diamond")
_LOGARITHMIC = 8.0  # ratio of the largest to the smallest value from which the axis is logarithmic

Findings = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Point:
    """What is drawn of a variant: its value and the ends of its interval; NaN where there is none."""

    label: str
    x: float
    y: float
    low: float
    high: float


def figure(study: Study, found: Findings) -> str:
    """The figure as SVG; empty if there is nothing to draw.

    Args:
        study: says what is drawn: gains in points of nDCG@10 with their intervals over queries and seeds; rank
            correlations; or the mean M over tasks with the range of the tasks.
        found: from :func:`tdro.study.findings.findings_of`; for forecasts, which are drawn against the gains, also
            after :func:`tdro.study.calibration.with_forecasts`.
    """
    forecasts = study.says == "forecast"
    if forecasts:
        found = [{**one, "place": one["forecast"]} for one in found if one["forecast"] is not None]
    lines = dict.fromkeys(one["line"] for one in found)
    points = {line: _points(study, [one for one in found if one["line"] == line], found) for line in lines}
    drawn = [point for line in points.values() for point in line]
    if not drawn:
        return ""
    values = [value for point in drawn for value in (point.y, point.low, point.high) if math.isfinite(value)]
    low, high = domain_of(values)
    logarithmic = not forecasts and _is_logarithmic(found)
    xs = [math.log(point.x) if logarithmic else point.x for point in drawn]
    left, right = min(xs), max(xs)
    longest = max((min(len(line), 24) for line in points), default=0)
    inner = WIDTH - _LEFT - (40 + 7 * longest if longest else 30)

    def x(value: float) -> float:
        value = math.log(value) if logarithmic else value
        return _LEFT + 20 + (inner - 40) * ((value - left) / (right - left) if right > left else 0.5)

    def y(value: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)

    body = _axes(study, found, low, high, inner, x, y)
    if forecasts and max(left, low) < min(right, high):  # the diagonal: what came out is what was forecast
        ends = max(left, low), min(right, high)
        body += f'<path class="line other" d="{path([x(end) for end in ends], [y(end) for end in ends])}"/>'
    for number, line in enumerate(points.values()):
        body += _line(number, line, x, y, joined=not forecasts)
    if longest:
        body += _names(points, x, y, _LEFT + inner)
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return drawing(body, f"{_vertical(study)} of each variant", size, "lines")


def _points(study: Study, line: Findings, found: Findings) -> list[Point]:
    points = []
    for one in line:
        place = _place(one, found)
        value, low, high = _value(study, one)
        if math.isfinite(value):
            points.append(Point(str(one["name"]), place, value, low, high))
    return sorted(points, key=lambda point: point.x)


def _place(one: Mapping[str, Any], found: Findings) -> float:
    """The variant's number, or its rank among all names if not all of them have numbers."""
    if _is_numeric(found):
        return float(one["place"])
    return float(_categories(found).index(one["name"]))


def _is_numeric(found: Findings) -> bool:
    return all(one["place"] is not None for one in found)


def _categories(found: Findings) -> list[str]:
    return list(dict.fromkeys(str(one["name"]) for one in found))


def _is_logarithmic(found: Findings) -> bool:
    places = [one["place"] for one in found]
    return _is_numeric(found) and min(places) > 0 and max(places) / min(places) >= _LOGARITHMIC


def _value(study: Study, one: Mapping[str, Any]) -> tuple[float, float, float]:
    if study.says == "agreement":
        tau = nested(one, "weights", "kendall")
        return (math.nan if tau is None else tau), math.nan, math.nan
    if study.says == "measure":
        means = [task["mean"] for task in (nested(one, "weights", "measure") or {}).values()]
        if len(means) == 1:
            (task,) = one["weights"]["measure"].values()
            return means[0], means[0] - task["spread"], means[0] + task["spread"]
        return (sum(means) / len(means), min(means), max(means)) if means else (math.nan,) * 3
    gain = nested(one, "scores", "gain")
    if gain is None:
        same = nested(one, "scores", "mean")
        return (0.0 if same is not None else math.nan), math.nan, math.nan
    bounds = gain["with_seeds"] or gain
    ends = [math.nan if bounds[key] is None else 100 * bounds[key] for key in ("low", "high")]
    return 100 * gain["difference"], ends[0], ends[1]


def _vertical(study: Study) -> str:
    return {
        "gain": "gain, points of nDCG@10",
        "agreement": "rank correlation with the recipe’s own weights",
        "measure": "mean M",
        "forecast": "gain, points of nDCG@10",
    }[study.says]


def _axes(study: Study, found: Findings, low: float, high: float, inner: float, x: Any, y: Any) -> str:
    body = ""
    for tick in ticks(low, high, 6):
        css = "zero" if tick == 0 else "grid"
        body += f'<line class="{css}" x1="{_LEFT}" x2="{_LEFT + inner:.1f}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        body += f'<text x="{_LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
    if _is_numeric(found):
        marks = {one["place"]: f"{one['place']:.3g}" for one in found}
    else:
        marks = {float(at): short_name(name, 18) for at, name in enumerate(_categories(found))}
    last = -math.inf
    for place, text in sorted(marks.items()):
        if x(place) - last > 7 * len(text) + 4:
            last = x(place)
            body += f'<text x="{last:.1f}" y="{HEIGHT - 32}" text-anchor="middle">{text}</text>'
    keys = list(dict.fromkeys(one["axis"] for one in found))
    title = study.axis or (keys[0] if len(keys) == 1 else "")
    body += f'<text x="{_LEFT + inner / 2:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(title)}</text>'
    middle = _TOP + (HEIGHT - _TOP - _BOTTOM) / 2
    body += f'<text transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle">{_vertical(study)}</text>'
    return body


def _line(number: int, points: Sequence[Point], x: Any, y: Any, joined: bool = True) -> str:
    # Lines stand side by side, so that no interval hides another.
    shift = 5 * ((number + 1) // 2) * (-1) ** number if joined else 0
    css, mark = f"s{number % 8}", MARKS[_MARKS[number % len(_MARKS)]]
    xs, ys = [x(point.x) + shift for point in points], [y(point.y) for point in points]
    body = f'<path class="line {css}" d="{path(xs, ys)}"/>' if len(points) > 1 and joined else ""
    for at, point in enumerate(points):
        title = f"<title>{escape(point.label)}: {point.y:.2f}</title>"
        if math.isfinite(point.low) and math.isfinite(point.high):
            top, end = y(point.high), y(point.low)
            body += f'<path class="line {css}" d="M{xs[at]:.1f} {top:.1f}V{end:.1f}">{title}</path>'
            for edge in (top, end):
                body += f'<path class="line {css}" d="M{xs[at] - 4:.1f} {edge:.1f}h8"/>'
        body += f'<g class="{css}" transform="translate({xs[at]:.1f} {ys[at]:.1f})">{mark}{title}</g>'
    return body


def _names(points: Mapping[str, Sequence[Point]], x: Any, y: Any, edge: float) -> str:
    """The lines' names beside their last points."""
    ends = [(number, name, line[-1]) for number, (name, line) in enumerate(points.items()) if line]
    places = spread_labels([y(point.y) for _, _, point in ends], 15, _TOP, HEIGHT - _BOTTOM)
    body = ""
    for (number, name, point), place in zip(ends, places, strict=True):
        lead = f"M{x(point.x) + 10:.1f} {y(point.y):.1f}L{edge + 6:.1f} {place:.1f}h5"
        body += f'<path class="lead s{number % 8}" d="{lead}"/>'
        body += f'<text x="{edge + 16:.1f}" y="{place + 4:.1f}">{short_name(name, 24)}</text>'
    return body
