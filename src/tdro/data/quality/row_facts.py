"""What a check keeps of every row, to compare it with its task in the end: lengths, scripts, languages, queries."""

from __future__ import annotations

from array import array

import numpy as np

from tdro.data.quality.languages import READ, Languages, languages_of
from tdro.data.quality.scripts import script_of
from tdro.data.read.rows import Row
from tdro.data.same_text import normalise

_LETTERS = 4  # fewer say nothing about a row's script: "OK", "Wi-Fi"
_AT_ONCE = 1_000  # texts whose language is told


class Side:
    """What is kept of every row's query, or of its first positive: 8 bytes."""

    def __init__(self) -> None:
        self.lengths, self.scripts = array("I"), array("H")
        self.told, self.sure = array("B"), array("B")  # of languages, as Languages has them
        self.waiting: list[str] = []  # beginnings of texts whose language is not told yet

    def add(self, text: str, script: int) -> None:
        """The next row's text."""
        self.lengths.append(len(text))
        self.scripts.append(script)
        self.waiting.append(text[:READ])
        if len(self.waiting) == _AT_ONCE:
            self.tell_languages()

    def tell_languages(self) -> None:
        """Of the texts that wait for it."""
        found = languages_of(self.waiting)
        self.told.frombytes(found.told.tobytes())
        self.sure.frombytes(found.sure.tobytes())
        self.waiting.clear()

    @property
    def languages(self) -> Languages:
        """Of all rows' texts."""
        return Languages(np.array(self.told), np.array(self.sure))


class TaskFacts:
    """What is kept of every row of a task: 36 bytes."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.scripts = [""]  # a script's number is its place here
        self.file, self.line, self.query_hash = array("I"), array("Q"), array("q")
        self.sides = {"query": Side(), "positive": Side()}

    def add(self, row: Row, file: str, line: int) -> None:
        """The next row."""
        if not self.files or self.files[-1] != file:
            self.files.append(file)
        self.file.append(len(self.files) - 1)
        self.line.append(line)
        self.query_hash.append(hash(normalise(row.query)))
        for side, text in zip(self.sides.values(), (row.query, row.positives[0]), strict=True):
            side.add(text, self._number(script_of(text, _LETTERS)))

    def tell_languages(self) -> None:
        """Of the last rows, which are too few to have been done yet."""
        for side in self.sides.values():
            side.tell_languages()

    def _number(self, script: str) -> int:
        if script not in self.scripts:
            self.scripts.append(script)
        return self.scripts.index(script)

    def place(self, row: int) -> tuple[str, int]:
        """File and line of a row."""
        return self.files[self.file[row]], self.line[row]
