"""Pieces of the pictures: text, lines, bars, and a drawing with its own background, for light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from tdro.files import write_atomic

WIDTH = 480  # of every picture, so that text of 13 can be read on a phone
_STYLE = """
:root { --paper: #fffefb; --ink: #1d1c1a; --soft: #5d5a55; --rule: #d9d5cc; --bar: #0072b2; --other: #d55e00; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15171a; --ink: #e9e6df; --soft: #a8a59e; --rule: #45484d; --bar: #56b4e9; --other: #f08a3c; }
}
.paper { fill: var(--paper); } text { fill: var(--ink); } .soft { fill: var(--soft); } .title { font-weight: 600; }
.rule { stroke: var(--rule); } .bar { fill: var(--bar); } .other { fill: var(--other); }
.faint { fill: var(--rule); } .line { fill: none; stroke: var(--rule); stroke-width: 1.5; }
.strong { stroke: var(--bar); stroke-width: 2; } .against { stroke: var(--other); stroke-width: 2; }
"""


def text(x: float, y: float, words: str, css: str = "", anchor: str = "start") -> str:
    """A line of text whose baseline is at ``y``."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(words)}</text>'


def bar(x: float, y: float, width: float, height: float, css: str = "bar") -> str:
    """A rectangle."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{css}"/>'


def line(points: Sequence[tuple[float, float]], css: str = "line") -> str:
    """A line through points."""
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{path}" class="{css}"/>'


def dot(x: float, y: float, css: str = "bar") -> str:
    """A filled circle."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" class="{css}"/>'


def save(name: str, label: str, height: float, body: str, folder: Path) -> None:
    """Write a drawing to ``<name>.svg``; ``label`` says what it shows to those who cannot see it."""
    write_atomic(
        folder / f"{name}.svg",
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(label)}" font-family="system-ui, sans-serif" '
        f'font-size="13"><title>{escape(label)}</title><style>{_STYLE}</style>'
        f'<rect width="{WIDTH}" height="{height:.0f}" class="paper"/>\n{body}</svg>\n',
    )
