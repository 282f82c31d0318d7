"""Builds each file as a task, as a run would, and counts its rows, tokens and problems.

The run finds what was built here in the cache, so nothing is done twice. And the numbers in the recipe are of all rows,
not of the first thousand.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tdro.data.mixtures.build import built_task
from tdro.data.mixtures.built import BuiltTask
from tdro.data.quality.data_card import TaskCard, describe
from tdro.data.task import Mixture, Task
from tdro.errors import UserError
from tdro.init.columns import Columns, columns_of
from tdro.planning.lengths import Counter
from tdro.recipe.data_sections import Source
from tdro.recipe.source_kinds import ENDINGS

_LENGTH_ROWS = 1_000  # rows of a task whose tokens are counted


@dataclass(frozen=True)
class FileTask:
    """A file as a task.

    Attributes:
        source: the file, folder or hub id as the user wrote it.
        columns: what its columns are.
        built: its rows, and what was wrong with them.
        card: its numbers, with lengths in tokens of the base.
    """

    source: str
    columns: Columns
    built: BuiltTask
    card: TaskCard

    @property
    def name(self) -> str:
        """The task's name."""
        return self.card.name

    def to_task(self) -> Task:
        """The task with its rows."""
        return Task(self.name, self.built.open(), fingerprint=self.built.fingerprint)


def files_as_tasks(files: Sequence[str], count: Counter, columns: Mapping[str, Mapping[str, str]]) -> list[FileTask]:
    """Build a task of each file.

    Args:
        files: files, folders and hub ids: whatever can be the source of a task.
        count: counts the tokens of texts, with the tokenizer of the base.
        columns: what the user said of the columns of a file, by file.

    Raises:
        UserError: a file is not there, has fewer than two usable rows, is given twice, or it is not clear which of its
            columns are which.
    """
    for file in files:
        _check_is_task(file)
    # The columns of all files are found before the first is built, which takes longer.
    columns_of_files = [columns_of(file, columns.get(file, {})) for file in files]
    tasks: list[FileTask] = []
    for file, name, found in zip(files, task_names(files), columns_of_files, strict=True):
        built = built_task(Source.model_construct(source=file, columns=found.wanted or None), name)
        if built.rows < 2:
            raise UserError(f"{file}: has one usable row, and nothing can be learned from it; leave it out")
        if same := [task for task in tasks if task.built.fingerprint == built.fingerprint]:
            raise UserError(f"{file}: has the rows of {same[0].source}; leave one of them out")
        card = describe(Mixture([Task(name, built.open())]), count, length_rows=_LENGTH_ROWS).tasks[0]
        tasks.append(FileTask(file, replace(found, unread=tuple(built.unread), lists=tuple(built.lists)), built, card))
    return tasks


def _check_is_task(file: str) -> None:
    """Raise for a folder that holds something else than the rows of a task: a mixture or a test set."""
    path = Path(file).expanduser()
    if (path / "mixture.json").is_file():
        raise UserError(f"{file}: a mixture, whose tasks are known; in a recipe: data: {{mixture: {file}}}")
    if (path / "corpus.jsonl").is_file() and not (path / "qrels" / "train.tsv").is_file():
        raise UserError(f"{file}: a test set (there is no qrels/train.tsv); give it with --tests")


def task_names(files: Sequence[str]) -> list[str]:
    """A name for each file's task: the file's own, without its ending, in letters, digits, ``_`` and ``-``.

    If several files have one name, the names of their folders are put before it, and then numbers behind it. No two
    names differ in case only.
    """
    bare = [_plain(_without_ending(Path(file).name)) for file in files]
    names: list[str] = []
    for file, own in zip(files, bare, strict=True):
        folder = Path(file).parent.name
        name = plain = _plain(f"{folder}-{own}") if folder and _folded(bare).count(own.casefold()) > 1 else own
        number = 2
        while name.casefold() in _folded(names):
            name, number = f"{plain}-{number}", number + 1
        names.append(name)
    return names


def _folded(names: Sequence[str]) -> list[str]:
    return [name.casefold() for name in names]


def _without_ending(name: str) -> str:
    endings = [ending for ending in ENDINGS if name.lower().endswith(ending)]
    return name[: -max(map(len, endings))] if endings else name


def _plain(text: str) -> str:
    return re.sub(r"[^\w-]+", "-", unicodedata.normalize("NFC", text))[:60].strip("-") or "task"
