"""What a check keeps of every row of a task, to find after the last row those that do not fit the others.

That is 28 bytes a row (where it stands, a hash of its query, and the length and script of its query and its first
positive), and the texts of a sample, whose languages are identified in the end.
"""

from __future__ import annotations

import functools
from array import array
from bisect import bisect
from collections.abc import Sequence

import numpy as np

from tdro.data.quality.even_sample import EvenSample
from tdro.data.quality.languages import BEGINNING, LANGUAGE_ROWS, Languages, languages_of
from tdro.data.quality.scripts import scripts_of
from tdro.data.read.rows import Row
from tdro.data.same_text import normalise_all

_LETTERS = 4  # a text with fewer letters ("OK", "Wi-Fi") says nothing about its script


class TextFacts:
    """What is kept of one text of every row: of all queries, or of all first positives.

    Attributes:
        lengths: characters of each text.
        scripts: the number of each text's script; see :class:`TaskFacts`.
        sample: the beginnings of the texts whose languages are identified.
    """

    def __init__(self) -> None:
        self.lengths, self.scripts = array("I"), array("H")
        self.sample = EvenSample(LANGUAGE_ROWS, BEGINNING)

    @functools.cached_property
    def languages(self) -> Languages:
        """The languages of the sample's texts. Ask for it after the last row only."""
        return languages_of(self.sample.texts)


class TaskFacts:
    """What is kept of every row of a task.

    Attributes:
        files: the task's files, in the order in which they were read.
        first_rows: the number of each file's first row.
        line: each row's line in its file.
        query_hash: a hash of each row's query, equal where the normalised queries are.
        script_names: the scripts found; a script's number is its place here, 0 stands for none.
        texts: the facts of the ``query`` and of the first ``positive``.
    """

    def __init__(self) -> None:
        self.files: list[str] = []
        self.first_rows: list[int] = []
        self.line, self.query_hash = array("Q"), array("q")
        self.script_names = [""]
        self.texts = {"query": TextFacts(), "positive": TextFacts()}

    def __len__(self) -> int:
        return len(self.line)

    def add(self, rows: Sequence[tuple[int, Row]], file: str) -> None:
        """Take the next rows of a file, each with its line. A few dozen at once take half of the time."""
        if not rows:
            return
        if not self.files or file != self.files[-1]:
            self.files.append(file)
            self.first_rows.append(len(self.line))
        queries = [row.query for _, row in rows]
        self.line.extend([line for line, _ in rows])
        self.query_hash.extend(map(hash, normalise_all(queries)))
        self._look_at("query", queries)
        self._look_at("positive", [row.positives[0] for _, row in rows])

    def _look_at(self, what: str, texts: list[str]) -> None:
        facts = self.texts[what]
        facts.lengths.extend(map(len, texts))
        facts.sample.add(texts)
        scripts = scripts_of(texts, _LETTERS)
        self.script_names += [script for script in dict.fromkeys(scripts) if script not in self.script_names]
        numbers = {script: number for number, script in enumerate(self.script_names)}
        facts.scripts.extend(map(numbers.__getitem__, scripts))

    def place(self, row: int) -> tuple[str, int]:
        """File and line of a row, by its number from 0."""
        return self.files[bisect(self.first_rows, row) - 1], self.line[row]

    def median_length(self, what: str) -> float:
        """The median length of the queries or the first positives, in characters."""
        return float(np.median(np.array(self.texts[what].lengths)))
