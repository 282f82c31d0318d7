"""The mixture as numbers: every distinct text once, and each row as positions of its texts.

Training reads integers, not strings: a text is tokenized once however often it comes, equal texts are recognised by
equal numbers (so that a positive is never its own negative), and the rows of a step are gathered without a loop.
Rejected: tokenizing in the collator, which repeats the work in every epoch, every seed and every stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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
        """The texts of planned rows: one positive and ``negatives`` hard negatives each, picked by (seed, row, visit).

        Raises:
            UserError: a row without a hard negative where some are asked for.
        """
        query = np.empty(len(rows), dtype=np.int64)
        passages = np.empty((len(rows), 1 + negatives), dtype=np.int64)
        for task in np.unique(rows.task):
            here = np.flatnonzero(rows.task == task)
            part = StepRows(rows.task[here], rows.row[here], rows.visit[here])
            indexed = self.tasks[task]
            query[here] = indexed.queries[part.row]
            if negatives and (lacking := part.row[indexed.negatives.lengths[part.row] == 0]).size:
                raise UserError(
                    f"task '{indexed.name}', row {lacking[0]}: no hard negative, but {negatives} are asked for.\n"
                    "Mine them first, or set negatives to 0 where the loss can do without."
                )
            passages[here, :1] = _picked(indexed.positives, part, seed, 1, what=0)
            passages[here, 1:] = _picked(indexed.negatives, part, seed, negatives, what=1)
        return StepTexts(query, passages)

    def require_negatives(self, mixture: Mixture) -> None:
        """Raise :class:`UserError` naming the first task and row without a hard negative."""
        for task, indexed in zip(mixture.tasks, self.tasks, strict=True):
            lacking = np.flatnonzero(indexed.negatives.lengths == 0)
            if len(lacking):
                raise UserError(
                    f"task '{task.name}': {len(lacking)} of {len(indexed)} rows have no hard negative, the first is "
                    f"'{task.rows[int(lacking[0])]['id']}'.\nSet negatives.mine to bm25, or take such rows out."
                )


def _picked(lists: Lists, rows: StepRows, seed: int, wanted: int, what: int) -> Ints:
    places = pick(seed, rows, lists.lengths[rows.row], wanted, what)
    return lists.values[lists.starts[rows.row][:, None] + places]


def index_mixture(tasks: Sequence[Task], prompts: bool = True) -> MixtureIndex:
    """Number every distinct text of the tasks.

    Done by Arrow's dictionary encoding, which sees no Python string: 2 M texts in about a second.

    Args:
        tasks: the training tasks; their order is the order of every array over tasks.
        prompts: put each task's prompt before its queries, and before its passages where the task is symmetric.

    Raises:
        UserError: a task without rows.
    """
    read = [_read(task, prompts) for task in tasks]
    queries = _numbered([columns.queries for columns in read])
    passages = _numbered([texts for columns in read for texts in (columns.positives, columns.negatives)])
    indexed = []
    for number, (task, columns) in enumerate(zip(tasks, read, strict=True)):
        positives = Lists(passages.places[2 * number], columns.positive_starts)
        negatives = Lists(passages.places[2 * number + 1], columns.negative_starts)
        indexed.append(IndexedTask(task.name, queries.places[number], positives, _without(negatives, positives)))
    return MixtureIndex(queries.texts, passages.texts, indexed)


@dataclass(frozen=True)
class _Columns:
    """One task's texts as Arrow arrays, the lists flattened."""

    queries: pa.Array
    positives: pa.Array
    positive_starts: Ints
    negatives: pa.Array
    negative_starts: Ints


@dataclass(frozen=True)
class _Numbered:
    """The distinct texts of some arrays, and where each array's texts are among them."""

    texts: list[str]
    places: list[Ints]


def _read(task: Task, prompts: bool) -> _Columns:
    if not len(task):
        raise UserError(f"task '{task.name}' has no rows: leave it out of the recipe, or look at its file")
    table = task.rows.with_format("arrow")[:]
    prompt = task.prompt if prompts else ""
    positives, positive_starts = _flat(table["positives"])
    negatives, negative_starts = _flat(table["negatives"])
    passage_prompt = prompt if task.symmetric else ""
    return _Columns(
        _after(prompt, table["query"].combine_chunks()),
        _after(passage_prompt, positives),
        positive_starts,
        _after(passage_prompt, negatives),
        negative_starts,
    )


def _flat(column: pa.ChunkedArray) -> tuple[pa.Array, Ints]:
    lists = column.combine_chunks()
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    return lists.flatten(), np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])


def _after(prompt: str, texts: pa.Array) -> pa.Array:
    # 64-bit offsets: all passages together may pass 2 GiB. A task without negatives may come as an array of nulls.
    texts = texts.cast(pa.large_string())
    if not prompt:
        return texts
    large = [pa.scalar(part, pa.large_string()) for part in (prompt, "")]
    return pc.binary_join_element_wise(large[0], texts, large[1])


def _numbered(arrays: list[pa.Array]) -> _Numbered:
    encoded = pa.concat_arrays(arrays).dictionary_encode()
    places = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return _Numbered(encoded.dictionary.to_pylist(), np.split(places, np.cumsum([len(a) for a in arrays])[:-1]))


def _without(negatives: Lists, positives: Lists) -> Lists:
    """The negatives that are not also a positive of their row."""
    row = np.repeat(np.arange(len(negatives.lengths)), negatives.lengths)
    own = np.repeat(np.arange(len(positives.lengths)), positives.lengths)
    span = max(negatives.values.max(initial=0), positives.values.max(initial=0)) + 1
    kept = ~np.isin(row * span + negatives.values, own * span + positives.values)
    counts = np.bincount(row[kept], minlength=len(negatives.lengths))
    return Lists(negatives.values[kept], np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)]))
