"""The mixture as numbers: every distinct text once, and each row as positions of its texts.

Training reads integers, not strings: a text is tokenized once however often it comes, equal texts are recognised by
equal numbers (so that a positive is never its own negative), and the rows of a step are gathered without a loop.
Rejected: tokenizing in the collator, which repeats the work in every epoch, every seed and every stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tdro.data.plan import StepRows, pick
from tdro.data.task import Mixture, Task
from tdro.errors import UserError

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Lists:
    """Lists of integers of different lengths: list i is ``values[starts[i]:starts[i + 1]]``."""

    values: Ints
    starts: Ints

    @property
    def lengths(self) -> Ints:
        """How long each list is."""
        return np.diff(self.starts)


@dataclass(frozen=True)
class IndexedTask:
    """One task's rows as positions in the texts.

    Attributes:
        name: the task's name.
        queries: text of each row's query, shape (rows,).
        positives: texts of each row's positives.
        negatives: texts of each row's negatives; those equal to one of its positives are left out.
    """

    name: str
    queries: Ints
    positives: Lists
    negatives: Lists

    def __len__(self) -> int:
        return len(self.queries)


@dataclass(frozen=True)
class StepTexts:
    """The texts of one step: ``query`` (B,), ``passages`` (B, 1 + N) with the positive first."""

    query: Ints
    passages: Ints


@dataclass(frozen=True)
class MixtureIndex:
    """Every distinct text of a mixture, and its tasks' rows.

    Attributes:
        queries: the distinct query texts, prompts included.
        passages: the distinct passages (with the prompt where the task is symmetric).
        tasks: the rows, by task.
    """

    queries: list[str]
    passages: list[str]
    tasks: list[IndexedTask]

    def gather(self, rows: StepRows, seed: int, negatives: int) -> StepTexts:
        """The texts of planned rows: one positive and ``negatives`` hard negatives each, picked by (seed, row, visit)."""
        query = np.empty(len(rows), dtype=np.int64)
        passages = np.empty((len(rows), 1 + negatives), dtype=np.int64)
        for task in np.unique(rows.task):
            here = np.flatnonzero(rows.task == task)
            part = StepRows(rows.task[here], rows.row[here], rows.visit[here])
            indexed = self.tasks[task]
            query[here] = indexed.queries[part.row]
            passages[here, :1] = _picked(indexed.positives, part, seed, 1, what=0)
            passages[here, 1:] = _picked(indexed.negatives, part, seed, negatives, what=1)
        return StepTexts(query, passages)

    def require_negatives(self, mixture: Mixture) -> None:
        """Raise :class:`UserError` naming the first task and row without a hard negative."""
        for task, indexed in zip(mixture.tasks, self.tasks, strict=True):
            lacking = np.flatnonzero(indexed.negatives.lengths == 0)
            if len(lacking):
                raise UserError(
                    f"task '{task.name}': {len(lacking)} of {len(indexed)} rows have no hard negative, the first is row "
                    f"'{task.rows[int(lacking[0])]['id']}'.\nLet them be mined: set negatives.mine to bm25 in the recipe."
                )


def _picked(lists: Lists, rows: StepRows, seed: int, wanted: int, what: int) -> Ints:
    places = pick(seed, rows, lists.lengths[rows.row], wanted, what)
    return lists.values[lists.starts[rows.row][:, None] + places]


def index_mixture(tasks: Sequence[Task], prompts: bool = True) -> MixtureIndex:
    """Number every distinct text of the tasks.

    Args:
        tasks: the training tasks; their order is the order of every array over tasks.
        prompts: put each task's prompt before its queries, and before its passages where the task is symmetric.

    Raises:
        UserError: a task without rows.
    """
    queries: dict[str, int] = {}
    passages: dict[str, int] = {}
    return MixtureIndex(
        tasks=[_index_task(task, queries, passages, prompts) for task in tasks],
        queries=list(queries),
        passages=list(passages),
    )


def _index_task(task: Task, queries: dict[str, int], passages: dict[str, int], prompts: bool) -> IndexedTask:
    if not len(task):
        raise UserError(f"task '{task.name}' has no rows: leave it out of the recipe, or look at its file")
    prompt = task.prompt if prompts else ""
    passage_prompt = prompt if task.symmetric else ""

    def number(lists: Sequence[Sequence[str]]) -> list[list[int]]:
        return [[passages.setdefault(passage_prompt + text, len(passages)) for text in texts] for texts in lists]

    query = [queries.setdefault(prompt + text, len(queries)) for text in task.rows["query"]]
    positives = number(task.rows["positives"])
    negatives = number(task.rows["negatives"])
    for own, wrong in zip(positives, negatives, strict=True):
        if not set(own).isdisjoint(wrong):
            wrong[:] = [text for text in wrong if text not in own]
    return IndexedTask(task.name, np.asarray(query, dtype=np.int64), _lists(positives), _lists(negatives))


def _lists(lists: list[list[int]]) -> Lists:
    starts = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
    return Lists(np.asarray([value for one in lists for value in one], dtype=np.int64), starts)
