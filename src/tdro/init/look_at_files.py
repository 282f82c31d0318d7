"""Somebody's files, looked at: each is built as a task, and its numbers are taken.

The build is the one that a run would do, so nothing is done twice; and sizes, negatives and problems are those of all
rows, not of the first thousand.
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
from tdro.recipe.places import ENDINGS

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
        UserError: a file that is not there, has fewer than two usable rows, is given twice, or whose columns cannot be
            told.
    """
    for file in files:
        _is_data(file)
    told = [columns_of(file, columns.get(file, {})) for file in files]  # all of them before the first is built
    looked: list[Looked] = []
    for file, name, found in zip(files, task_names(files), told, strict=True):
        built = built_task(Source.model_construct(source=file, columns=found.wanted or None), name)
        if built.rows < 2:
            raise UserError(f"{file}: has one usable row, and nothing can be learned from it; leave it out")
        if same := [one for one in looked if one.built.fingerprint == built.fingerprint]:
            raise UserError(f"{file}: has the rows of {same[0].source}; leave one of them out")
        card = describe(Mixture([Task(name, built.open())]), count, length_rows=_LENGTH_ROWS).tasks[0]
        looked.append(Looked(file, replace(found, unread=tuple(built.unread), lists=tuple(built.lists)), built, card))
    return looked


def _is_data(file: str) -> None:
    """Raise for folders that are something else than a task's rows."""
    path = Path(file).expanduser()
    if (path / "mixture.json").is_file():
        raise UserError(f"{file}: a mixture, whose tasks are known; in a recipe: data: {{mixture: {file}}}")
    if (path / "corpus.jsonl").is_file() and not (path / "qrels" / "train.tsv").is_file():
        raise UserError(f"{file}: a test set (there is no qrels/train.tsv); give it with --tests")


def task_names(files: Sequence[str]) -> list[str]:
    """A name for each file, unique whatever the case: its own without ending, in letters, digits, ``_`` and ``-``;
    where several files have one name, their folders' names stand before it."""
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
