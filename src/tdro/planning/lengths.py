"""How long the texts of each task are, in tokens of a base model, from a sample of its rows.

Two hundred rows give the mean to a few percent, while tokenizing all rows may take an hour. Texts are cut at the
recipe's limits, as training cuts them. If a task has no hard negatives yet, they are counted as long as its positives,
because mining takes them from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tdro.data.task import Task
from tdro.data.tokens.cuts import Cutter, TaskCut

if TYPE_CHECKING:
    from datasets import Dataset

Ints = NDArray[np.int64]
ROWS = 200  # of each task
Counter = Callable[[list[str]], Ints]  # from texts to how many tokens each has, special tokens included


@dataclass(frozen=True)
class TaskLengths:
    """How many tokens the sampled texts of a task have: queries, positives and hard negatives. No array is empty.

    ``cut`` says how much of the texts the limits cut off.
    """

    queries: Ints
    positives: Ints
    negatives: Ints
    cut: TaskCut | None = None

    def tokens_a_row(self, negatives: int) -> float:
        """The mean number of tokens of a row: a query, a positive and so many hard negatives, without padding."""
        return float(self.queries.mean() + self.positives.mean() + negatives * self.negatives.mean())

    def squares_a_row(self, negatives: int) -> float:
        """The mean sum of a row's squared lengths, from which the cost of attention follows."""
        means = [float((lengths.astype(np.float64) ** 2).mean()) for lengths in (self.queries, self.positives)]
        return sum(means) + negatives * float((self.negatives.astype(np.float64) ** 2).mean())


def sample_lengths(task: Task, cutter: Cutter) -> TaskLengths:
    """The lengths of the texts of rows that are evenly spread over a task, prompts included.

    Args:
        task: has at least one row.
        cutter: the base model's tokenizer, and where texts are cut.

    Raises:
        UserError: as :meth:`tdro.data.tokens.cuts.Cutter.of`.
    """
    sample = _sample(task)
    prompt = task.prompt if cutter.prompts else ""

    def lengths(texts: list[str], before: str, limit: int | None) -> Ints:
        row, _ = cutter.row(before, limit)
        found = np.array([len(ids) for ids in cutter.encode([before + text for text in texts], None)], dtype=np.int64)
        return found if row is None else np.minimum(found, row)

    positives, negatives = _flat(sample["positives"]), _flat(sample["negatives"])
    cut = cutter.of(task, sample["query"], positives + negatives)  # an error if the prompt fills the limit
    on_passages = prompt if task.symmetric else ""
    of_positives = lengths(positives, on_passages, cutter.passage_tokens)
    return TaskLengths(
        lengths(sample["query"], prompt, cutter.query_tokens),
        of_positives,
        lengths(negatives, on_passages, cutter.passage_tokens) if negatives else of_positives,
        cut,
    )


def cut_of(task: Task, cutter: Cutter) -> TaskCut:
    """How much of the sampled texts is cut off. Raises as :meth:`tdro.data.tokens.cuts.Cutter.of`."""
    sample = _sample(task)
    return cutter.of(task, sample["query"], _flat(sample["positives"]) + _flat(sample["negatives"]))


def _flat(lists: Iterable[list[str]]) -> list[str]:
    return [text for texts in lists for text in texts]


def text_bytes(task: Task, negatives: int) -> float:
    """About how many bytes of UTF-8 a task's texts take once each row has at least so many hard negatives."""
    sample = _sample(task)
    queries = sum(len(text.encode()) for text in sample["query"])
    positives, negative_bytes = (
        sum(len(text.encode()) for texts in sample[column] for text in texts) for column in ("positives", "negatives")
    )
    passages = sum(len(texts) for texts in sample["positives"])
    lacking = sum(max(0, negatives - len(texts)) for texts in sample["negatives"])
    return (queries + positives + negative_bytes + lacking * positives / passages) * len(task) / len(sample)


def _sample(task: Task) -> Dataset:
    return task.rows.select(np.unique(np.linspace(0, len(task) - 1, ROWS).astype(int)))


def draw_batch(tasks: Sequence[TaskLengths], rows: int, negatives: int) -> Ints:
    """The lengths of the texts of a batch, longest first: ``rows`` rows, dealt out to the tasks in turn.

    They are drawn from the samples by a fixed seed.
    """
    draw = np.random.default_rng(0)
    texts = []
    for number, task in enumerate(tasks):
        count = len(range(number, rows, len(tasks)))
        texts += [draw.choice(task.queries, count), draw.choice(task.positives, count)]
        texts.append(draw.choice(task.negatives, count * negatives))
    return np.sort(np.concatenate(texts))[::-1]
