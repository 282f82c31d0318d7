"""Somebody's files, looked at: each is built as a task, and its numbers are taken.

The build is the one that a run would do, so nothing is done twice; and sizes, negatives and problems are those of all
rows, not of the first thousand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tdro.data.build import BuiltTask, built_task
from tdro.data.describe import TaskCard, describe
from tdro.data.task import Mixture, Task
from tdro.init.columns import Columns, columns_of
from tdro.planning.lengths import Counter
from tdro.recipe_data import Source

_LENGTH_ROWS = 1_000  # of a task


@dataclass(frozen=True)
class Looked:
    """A file as a task.

    Attributes:
        source: as the user gave it.
        columns: what its columns are.
        built: its rows, and what was wrong with them.
        card: its numbers; lengths in tokens of the base.
    """

    source: str
    columns: Columns
    built: BuiltTask
    card: TaskCard

    @property
    def name(self) -> str:
        """Of the task."""
        return self.card.name

    @property
    def task(self) -> Task:
        """The rows."""
        return Task(self.name, self.built.open(), fingerprint=self.built.fingerprint)


def look(files: Sequence[str], count: Counter, columns: Mapping[str, Mapping[str, str]]) -> list[Looked]:
    """Look at files, a task each.

    Args:
        files: what may stand as the source of a task.
        count: tokens of the base model.
        columns: what the user said of files' columns.

    Raises:
        UserError: a file that is not there, has no usable row, or columns that cannot be told.
    """
    told = [columns_of(file, columns.get(file, {})) for file in files]  # all of them before the first is built
    looked = []
    for file, name, found in zip(files, task_names(files), told, strict=True):
        built = built_task(Source.model_construct(source=file, columns=found.wanted or None), name)
        card = describe(Mixture([Task(name, built.open())]), count, length_rows=_LENGTH_ROWS).tasks[0]
        looked.append(Looked(file, found, built, card))
    return looked


def task_names(files: Sequence[str]) -> list[str]:
    """A name for each file, of its own name's letters, digits, ``_`` and ``-``; unique."""
    names: list[str] = []
    for file in files:
        bare = Path(file).name.partition(".")[0] if Path(file).suffix else Path(file).name
        name = plain = re.sub(r"[^\w-]+", "-", bare).strip("-")[:80] or "task"
        number = 2
        while name in names:
            name, number = f"{plain}-{number}", number + 1
        names.append(name)
    return names
