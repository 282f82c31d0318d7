"""The index of a mixture: every distinct text once, and each row as the numbers of its texts.

Training reads integers, not strings: a text is tokenized once however often it comes, equal texts are recognised by
equal numbers (so that a positive is never its own negative), and the rows of a step are gathered without a loop. The
integers may be in memory or mapped from disk (:mod:`tdro.data.tokens.index_files`); the texts stay in their files.
See docs/decisions.md, tokenized-once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tdro.data.plan.row_plans import StepRows, pick
from tdro.data.task import Mixture, Task
from tdro.data.tokens.stored_texts import StoredTexts, TextColumn, columns_of
from tdro.data.tokens.text_numbers import numbered
from tdro.errors import UserError

Ints = NDArray[np.int64]
_ROWS_AT_ONCE = 100_000  # in memory


@dataclass(frozen=True)
class RaggedArray:
    """Lists of numbers, of different lengths, in two arrays: list i is ``values[starts[i]:starts[i + 1]]``.

    ``[[5, 7], [], [6]]`` has the values ``[5, 7, 6]`` and the starts ``[0, 2, 2, 3]``.
    """

    values: NDArray[np.int32]
    starts: Ints

    @property
    def lengths(self) -> Ints:
        """How long each list is."""
        return np.diff(self.starts)

    def lengths_of(self, lists: Ints) -> Ints:
        """How long some of the lists are. The others are not looked at."""
        return self.starts[lists + 1] - self.starts[lists]


@dataclass(frozen=True)
class IndexedTask:
    """One task's rows, as the numbers of their texts.

    Attributes:
        name: the task's name.
        queries: the number of each row's query, (n_rows,).
        positives: the numbers of each row's positives, a list a row.
        negatives: the numbers of each row's negatives; one that is also a positive of the row is left out.
    """

    name: str
    queries: NDArray[np.int32]
    positives: RaggedArray
    negatives: RaggedArray

    def __len__(self) -> int:
        return len(self.queries)


@dataclass(frozen=True)
class StepTexts:
    """The texts of one step, as numbers.

    Attributes:
        query: the number of each row's query, (B,).
        passages: the number of each row's positive, and then of its N hard negatives, (B, 1 + N).
    """

    query: Ints
    passages: Ints


@dataclass(frozen=True)
class MixtureIndex:
    """Every distinct text of a mixture, and its tasks' rows.

    Example::

        index = index_mixture(mixture.tasks)
        plan = MixedPlan(mixture.sizes, batch=64, steps=1000, seed=1)
        texts = index.gather(plan.step(7), seed=1, negatives=2)
        texts.passages  # (64, 3): each row's positive and two hard negatives, as numbers in index.passages

    Attributes:
        queries: the distinct queries, each with its task's prompt.
        passages: the distinct passages, with the prompt if their task is symmetric.
        tasks: the rows of each task, in the mixture's order.
    """

    queries: StoredTexts
    passages: StoredTexts
    tasks: list[IndexedTask]

    def gather(self, rows: StepRows, seed: int, negatives: int) -> StepTexts:
        """The texts of a step's rows. A row with several positives or negatives gives others at each visit.

        Args:
            rows: the rows of a step, B of them.
            seed: the plan's seed.
            negatives: N, how many hard negatives each row gets.

        Raises:
            UserError: a row has no hard negative, and N is above 0.
        """
        query = np.empty(len(rows), dtype=np.int64)
        passages = np.empty((len(rows), 1 + negatives), dtype=np.int64)
        for task in np.unique(rows.task):
            here = np.flatnonzero(rows.task == task)
            part = StepRows(rows.task[here], rows.row[here], rows.visit[here])
            indexed = self.tasks[task]
            query[here] = indexed.queries[part.row]
            if negatives and (lacking := part.row[indexed.negatives.lengths_of(part.row) == 0]).size:
                raise UserError(
                    f"task '{indexed.name}', row {lacking[0]}: no hard negative, but {negatives} are asked for.\n"
                    "Mine them first, or set negatives to 0 where the loss can do without."
                )
            passages[here, :1] = _picked(indexed.positives, part, seed, 1, column=0)
            passages[here, 1:] = _picked(indexed.negatives, part, seed, negatives, column=1)
        return StepTexts(query, passages)

    def require_negatives(self, mixture: Mixture) -> None:
        """Raise :class:`UserError` naming the first task and row without a hard negative."""
        for task, indexed in zip(mixture.tasks, self.tasks, strict=True):
            lacking = np.flatnonzero(indexed.negatives.lengths == 0)
            if len(lacking):
                raise no_negatives(task, lacking)


def no_negatives(task: Task, lacking: Ints) -> UserError:
    """The error for a task some of whose rows have no hard negative.

    Args:
        task: the task.
        lacking: the places of those rows, at least one.
    """
    return UserError(
        f"task '{task.name}': {len(lacking)} of {len(task)} rows have no hard negative, the first is "
        f"'{task.rows[int(lacking[0])]['id']}'.\nSet negatives.mine to bm25, or take such rows out."
    )


def _picked(lists: RaggedArray, rows: StepRows, seed: int, wanted: int, column: int) -> Ints:
    """The numbers of the passages that each row gets, (B, wanted)."""
    places = pick(seed, rows, lists.lengths_of(rows.row), wanted, column)
    return lists.values[lists.starts[rows.row][:, None] + places]


def index_mixture(tasks: Sequence[Task], prompts: bool = True) -> MixtureIndex:
    """Give every distinct text of the tasks a number, and write the rows as such numbers.

    Args:
        tasks: the training tasks; their order is the order of every array over tasks.
        prompts: put each task's prompt before its queries, and before its passages where the task is symmetric.

    Raises:
        UserError: a task without rows.
    """
    queries, passages = text_columns(tasks, prompts)
    query_texts, passage_texts = numbered(queries, "queries"), numbered(passages, "passages")
    indexed = []
    for place, task in enumerate(tasks):
        own_columns = (2 * place, 2 * place + 1)
        positives, negatives = (
            RaggedArray(passage_texts.numbers[column], passages[column].starts()) for column in own_columns
        )
        indexed.append(IndexedTask(task.name, query_texts.numbers[place], positives, _without(negatives, positives)))
    return MixtureIndex(
        StoredTexts(queries, query_texts.firsts, query_texts.digest),
        StoredTexts(passages, passage_texts.firsts, passage_texts.digest),
        indexed,
    )


def text_columns(tasks: Sequence[Task], prompts: bool) -> tuple[list[TextColumn], list[TextColumn]]:
    """All tasks' queries; and all tasks' passages, each task's positives before its negatives."""
    for task in tasks:
        if not len(task):
            raise UserError(f"task '{task.name}' has no rows: leave it out of the recipe, or look at its file")
    of_task = [columns_of(task, prompts) for task in tasks]
    return [queries for queries, _, _ in of_task], [texts for _, *passages in of_task for texts in passages]


def _without(negatives: RaggedArray, positives: RaggedArray) -> RaggedArray:
    """The negatives that are not also a positive of their row."""
    rows, kept = len(negatives.lengths), np.empty(len(negatives.values), dtype=bool)
    for start in range(0, rows, _ROWS_AT_ONCE):
        part = slice(start, min(start + _ROWS_AT_ONCE, rows))
        here = slice(negatives.starts[part.start], negatives.starts[part.stop])
        kept[here] = ~np.isin(_with_row(negatives, part), _with_row(positives, part))
    kept_before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(kept)])
    return RaggedArray(negatives.values[kept], kept_before[negatives.starts])


def _with_row(lists: RaggedArray, rows: slice) -> Ints:
    """The values of some rows. Each number tells its row too, so that numbers of two rows are never equal."""
    row = np.repeat(np.arange(rows.start, rows.stop), np.diff(lists.starts[rows.start : rows.stop + 1]))
    return (row << 32) + lists.values[lists.starts[rows.start] : lists.starts[rows.stop]]
