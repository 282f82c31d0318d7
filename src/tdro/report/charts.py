"""The charts, as SVG inside the page: functions from numbers to strings.

There are two kinds. A *row chart* (weights, intervals) has a small SVG for each row, which the page's grid lays out.
Its coordinates are percentages, so it stretches to any width while text and marks keep their size. A *line chart* has a
fixed viewBox; the page holds a wide and a narrow drawing of it and shows one. What is drawn differs in form (filled,
hollow, dashed) before it differs in colour, for readers who cannot tell the colours apart. Colours are CSS classes of
the page, so dark mode needs no second drawing. See docs/decisions.md, report-without-libraries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

MARKS = {
    "disc": '<circle class="mark solid" r="5"/>',
    "ring": '<circle class="mark hollow" r="4.2"/>',
    "diamond": '<path class="mark hollow" d="M0-5.6 5.6 0 0 5.6-5.6 0Z"/>',
    "arrow": '<path class="mark hollow" d="M-7-4.5 0 0-7 4.5Z"/>',
}
LABEL = 20  # longest name of a task in a drawing, in characters; its <title> has the whole name


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers within [low, high] to mark an axis with: at most about ``most``, and 1, 2 or 5 times 10^n apart.

    ``ticks(0, 1, 5)`` gives 0, 0.2, 0.4, 0.6, 0.8, 1.
    """
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low] if math.isfinite(low) else []
    step = 10 ** math.floor(math.log10(span / most))
    step *= next(factor for factor in (1, 2, 5, 10, 20) if span / (step * factor) <= most)
    return [round(at * step, 12) for at in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def spread_labels(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart so that they do not overlap.

    Labels that would overlap are put one after another around the mean of where they should be: an isotonic regression
    on ``wanted - i * gap``.

    Args:
        wanted: where each label should be.
        gap: least distance of two labels; less if they would not fit otherwise.
        low: least position.
        high: largest position.

    Returns:
        a position for each label, in the order of ``wanted``.
    """
    n = len(wanted)
    gap = min(gap, (high - low) / max(n - 1, 1))
    order = sorted(range(n), key=lambda at: wanted[at])
    blocks: list[list[float]] = []  # [sum, size]
    for rank, at in enumerate(order):
        blocks.append([wanted[at] - rank * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, size = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += size
    places = [0.0] * n
    flat = [total / size for total, size in blocks for _ in range(int(size))]
    for rank, at in enumerate(order):
        places[at] = min(max(flat[rank], low), high - (n - 1) * gap) + rank * gap
    return places


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """The mean of ``window`` steps around each step, along axis 0, in the shape of ``values``.

    A NaN is left out of the mean; where all values around a step are NaN, so is the result.
    """
    known = np.isfinite(values)
    totals = np.cumsum(np.pad(np.where(known, values, 0.0), [(1, 0)] + [(0, 0)] * (values.ndim - 1)), axis=0)
    counts = np.cumsum(np.pad(known.astype(float), [(1, 0)] + [(0, 0)] * (values.ndim - 1)), axis=0)
    at = np.arange(len(values))
    first, last = np.maximum(at - window // 2, 0), np.minimum(at + (window + 1) // 2, len(values))
    seen = counts[last] - counts[first]
    return np.where(seen > 0, (totals[last] - totals[first]) / np.maximum(seen, 1), np.nan)


def short_name(name: str, most: int = LABEL) -> str:
    """A name cut to ``most`` characters and escaped for HTML."""
    return escape(name if len(name) <= most else f"{name[: most - 1]}…")


def drawing(body: str, label: str, size: str, css: str) -> str:
    """An SVG with a title for those who cannot see it. ``size``: its attributes of size."""
    label = escape(label)
    return f'<svg class="{css}" {size} role="img" aria-label="{label}"><title>{label}</title>{body}</svg>'


# ---- row charts


def _mark(kind: str, at: float, y: float) -> str:
    return f'<svg x="{at:.2f}%" y="{y:g}" overflow="visible">{MARKS[kind]}</svg>'


def _place(value: float, domain: tuple[float, float]) -> float:
    """Where a value is in percent from the left: 3 % are free on both sides, and values beyond stop at the edge."""
    low, high = domain
    return min(max(3 + 94 * (value - low) / (high - low), 0.0), 100.0)


def weight_row(weight: float, by_size: float, uniform: float, top: float, kept: bool, label: str) -> str:
    """A bar for a task's weight, a dashed line at uniform, a ring (beyond ``top``: an arrow) at its share of rows."""
    middle = f"{100 * uniform / top:.2f}%"
    body = f'<line class="tick" x1="{middle}" x2="{middle}" y1="0" y2="100%"/>'
    css = "bar" if kept else "bar out"
    body = f'<rect class="{css}" x="0" y="6" height="12" width="{max(100 * weight / top, 0.2):.2f}%"/>' + body
    if math.isfinite(by_size):
        body += _mark("arrow", 100, 12) if by_size > top else _mark("ring", 100 * by_size / top, 12)
    return drawing(body, label, 'width="100%" height="24"', "row")


def interval_row(value: float, low: float, high: float, domain: tuple[float, float], mark: str, label: str) -> str:
    """A mark at ``value`` on a line from ``low`` to ``high``, and a line at zero. What is NaN is not drawn."""
    zero = f"{_place(0.0, domain):.2f}%"
    body = f'<line class="zero" x1="{zero}" x2="{zero}" y1="0" y2="100%"/>'
    if math.isfinite(low) and math.isfinite(high):
        left, right = _place(low, domain), _place(high, domain)
        body += f'<line class="reach" x1="{left:.2f}%" x2="{right:.2f}%" y1="12" y2="12"/>'
        body += "".join(f'<line class="reach" x1="{x:.2f}%" x2="{x:.2f}%" y1="9" y2="15"/>' for x in (left, right))
    if math.isfinite(value):
        body += _mark(mark, _place(value, domain), 12)
    return drawing(body, label, 'width="100%" height="24"', "row")


def axis_row(domain: tuple[float, float], labels: dict[float, str], pad: bool = True) -> str:
    """The numbers below a row chart. ``pad``: with the free 3 % of :func:`interval_row`, else over the whole width."""
    body = ""
    for value, text in labels.items():
        at = _place(value, domain) if pad else 100 * (value - domain[0]) / (domain[1] - domain[0])
        anchor = "start" if at < 2 else "end" if at > 98 else "middle"
        body += f'<line class="axis" x1="{at:.2f}%" x2="{at:.2f}%" y1="0" y2="5"/>'
        body += f'<text x="{at:.2f}%" y="18" text-anchor="{anchor}">{escape(text)}</text>'
    return f'<svg class="row" width="100%" height="22" aria-hidden="true">{body}</svg>'


def domain_of(values: Sequence[float]) -> tuple[float, float]:
    """The range that holds zero and all finite values, rounded outwards to whole ticks; never empty."""
    known = [value for value in values if math.isfinite(value)] + [0.0]
    low, high = min(known), max(known)
    marks = ticks(low, high, 6)
    if len(marks) < 2:
        return -0.01, 0.01
    step = marks[1] - marks[0]
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


# ---- line charts


def path(xs: Sequence[float], ys: Sequence[float]) -> str:
    """The ``d`` of a line through the points. A NaN leaves a gap; a point alone becomes a short dash, to be seen."""
    out, down = [], False
    for at, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if not math.isfinite(y):
            down = False
            continue
        out.append(f"{'L' if down else 'M'}{x:.1f} {y:.1f}")
        if not down and (at + 1 == len(ys) or not math.isfinite(ys[at + 1])):
            out.append("h2")
        down = True
    return "".join(out)


def _thin(n: int, most: int) -> np.ndarray:
    """At most ``most`` of the indices 0 to n - 1, evenly spread and with both ends."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def alpha_chart(
    step: np.ndarray, alpha: np.ndarray, names: Sequence[str], marked: Sequence[int], width: int, height: int
) -> str:
    """α of every task over the steps. The marked tasks have a colour and a name at the end of their line.

    Args:
        step: (T,) step numbers.
        alpha: (T, k) weights, NaN where unknown.
        names: k names.
        marked: indices of the marked tasks; the first takes the page's style ``s0``, the next ``s1`` and so on.
        width: of the drawing, in px, where text is 12 px high.
        height: of the drawing, in px.
    """
    left, top, bottom = 44, 10, 38
    values = width > 600  # room for the last value beside the name
    longest = max((min(len(names[g]), LABEL) for g in marked), default=4) + 7 * values
    right = max(6.9 * longest + 24, 90) if values else min(max(6.9 * longest + 22, 80), 130)
    uniform = 1 / len(names)
    high = 1.04 * max(float(np.nanmax(alpha, initial=0.0)), uniform)
    first, last = float(step[0]), float(step[-1])
    keep = _thin(len(step), width // 4)
    inner = width - left - right

    def x(value: float) -> float:
        return left + inner * (value - first) / max(last - first, 1e-9)

    def y(value: float) -> float:
        return top + (height - top - bottom) * (1 - value / high)

    body = ""
    for tick in ticks(0, high, 5):
        body += f'<line class="grid" x1="{left}" x2="{left + inner:.1f}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        body += f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{100 * tick:g} %</text>'
    for tick in ticks(first, last, max(int(inner // 70), 2)):
        body += f'<text x="{x(tick):.1f}" y="{height - 21}" text-anchor="middle">{tick:g}</text>'
    body += f'<text x="{left + inner / 2:.1f}" y="{height - 5}" text-anchor="middle">step</text>'
    xs = [x(float(step[t])) for t in keep]
    for g in [g for g in range(len(names)) if g not in marked] + list(reversed(list(marked))):
        css = f"line s{list(marked).index(g)}" if g in marked else "line other"
        d = path(xs, [y(float(alpha[t, g])) for t in keep])
        body += f'<path class="{css}" d="{d}"><title>{escape(names[g])}</title></path>'
    level = f"{y(uniform):.1f}"
    body += f'<line class="tick" x1="{left}" x2="{left + inner:.1f}" y1="{level}" y2="{level}"/>'
    ends = [(f"s{rank}", names[g], float(alpha[-1, g])) for rank, g in enumerate(marked)]
    ends = [end for end in ends if math.isfinite(end[2])] + [("tick", "uniform", uniform)]
    places = spread_labels([y(value) for _, _, value in ends], 15, top + 2, height - bottom)
    edge = left + inner
    for (css, name, value), place in zip(ends, places, strict=True):
        lead = f"M{edge + 1:.1f} {y(value):.1f}L{edge + 10:.1f} {place:.1f}h5"
        body += f'<path class="lead {css}" d="{lead}"/>'
        text = short_name(name, LABEL if values else int((right - 20) / 6.6))
        text += f' <tspan class="soft">{100 * value:.1f} %</tspan>' if values else ""
        body += f'<text x="{edge + 18:.1f}" y="{place + 4:.1f}">{text}<title>{escape(name)}</title></text>'
    label = f"Weights of {len(names)} tasks over steps {first:g} to {last:g}"
    return drawing(body, label, f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"', "lines")


def loss_panel(step: np.ndarray, proxy: np.ndarray, reference: np.ndarray, high: float, name: str) -> str:
    """A task's proxy loss (solid) and reference loss (dashed) over the steps, on a scale from 0 to ``high`` nats."""
    width, height, left, top, bottom = 160, 84, 26, 6, 16
    keep = _thin(len(step), 70)
    first, last = float(step[0]), float(step[-1])
    xs = [left + (width - left - 4) * (float(step[t]) - first) / max(last - first, 1e-9) for t in keep]
    body = ""
    for tick in ticks(0, high, 3):
        at = top + (height - top - bottom) * (1 - tick / high)
        body += f'<line class="grid" x1="{left}" x2="{width - 4}" y1="{at:.1f}" y2="{at:.1f}"/>'
        body += f'<text x="{left - 4}" y="{at + 4:.1f}" text-anchor="end">{tick:g}</text>'
    body += f'<text x="{left}" y="{height - 1}">{first:g}</text>'
    body += f'<text x="{width - 4}" y="{height - 1}" text-anchor="end">{last:g}</text>'
    for css, losses in (("reference", reference), ("proxy", proxy)):
        ys = [top + (height - top - bottom) * (1 - min(float(losses[t]), high) / high) for t in keep]
        body += f'<path class="line {css}" d="{path(xs, ys)}"/>'
    label = f"Proxy and reference loss of {name} over the steps"
    return drawing(body, label, f'viewBox="0 0 {width} {height}"', "panel")
