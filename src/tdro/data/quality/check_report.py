"""What a check has found: the numbers of each task, how many problems there are of each kind, and the first of them.

How a report is printed is in :mod:`tdro.data.quality.check_table`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tdro.data.read.problem import Action, Problem

_SHOWN = 5  # problems of each kind that a report keeps


@dataclass
class TaskReport:
    """What was found in one task.

    Attributes:
        name: the task's name.
        read: rows in its files, including lines that are no row (not JSON).
        kept: rows that training will read, including the repaired ones.
        repaired: kept rows that are changed when they are read.
        dropped: rows that training will not read.
        duplicates: kept rows whose query, after normalisation, an earlier row has too.
        query_characters: the median length of the kept rows' queries.
        positive_characters: the median length of their first positives.
        query_languages: the share of the queries in each language, largest first; ``und`` if it is not known.
        positive_languages: the same of the first positives.
        language_rows: kept rows that these shares are from: all of them, or an evenly spread sample.
    """

    name: str
    read: int = 0
    kept: int = 0
    repaired: int = 0
    dropped: int = 0
    duplicates: int = 0
    query_characters: float = 0.0
    positive_characters: float = 0.0
    query_languages: dict[str, float] = field(default_factory=dict)
    positive_languages: dict[str, float] = field(default_factory=dict)
    language_rows: int = 0

    def count_row(self, problems: Sequence[Problem]) -> bool:
        """Count a row by what is done about its problems. Returns whether it is kept."""
        self.read += 1
        if not problems:
            self.kept += 1
            return True
        actions = {problem.action for problem in problems}
        lost = "dropped" in actions or "refused" in actions
        self.dropped += lost
        self.kept += not lost
        self.repaired += not lost and "repaired" in actions
        return not lost


@dataclass
class CheckReport:
    """What was found in all tasks.

    Attributes:
        tasks: a report of each task.
        kinds: for each kind of problem, how many had which action.
        shown: for each kind of problem, the first few.
        notes: which files and columns are not read, a line each.
    """

    tasks: list[TaskReport] = field(default_factory=list)
    kinds: dict[str, Counter[Action]] = field(default_factory=dict)
    shown: dict[str, list[Problem]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether no problem was found."""
        return not self.kinds

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it if it is one of the first of its kind."""
        self.kinds.setdefault(problem.kind, Counter())[problem.action] += 1
        shown = self.shown.setdefault(problem.kind, [])
        if len(shown) < _SHOWN:
            shown.append(problem)
