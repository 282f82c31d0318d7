"""How long the texts of each task are, in tokens of a base model: from a sample of its rows.

A few hundred rows give the mean to a few percent, and tokenizing all of them may take an hour. Lengths are cut at the
recipe's, as training cuts them. Tasks without hard negatives yet are taken to get some of their positives' lengths,
which is what mining gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tdro.data.task import Task
from tdro.recipe_data import Data

if TYPE_CHECKING:
    from datasets import Dataset

Ints = NDArray[np.int64]
ROWS = 200  # a task's sample
Counter = Callable[[list[str]], Ints]  # texts to their numbers of tokens, special ones included


@dataclass(frozen=True)
class TaskLengths:
    """Tokens of the sampled texts of a task: its queries, their positives, and hard negatives. None is empty."""

    queries: Ints
    positives: Ints
    negatives: Ints

    def tokens_a_row(self, negatives: int) -> float:
        """Mean tokens of a query, a positive and so many hard negatives, without padding."""
        return float(self.queries.mean() + self.positives.mean() + negatives * self.negatives.mean())

    def squares_a_row(self, negatives: int) -> float:
        """The same of squared lengths, which attention's cost is made of."""
        means = [float((lengths.astype(np.float64) ** 2).mean()) for lengths in (self.queries, self.positives)]
        return sum(means) + negatives * float((self.negatives.astype(np.float64) ** 2).mean())


def sample_lengths(task: Task, count: Counter, data: Data) -> TaskLengths:
    """The lengths of rows from everywhere in a task.

    Args:
        task: at least one row.
        count: the base model's tokenizer.
        data: prompts, and where texts are cut.
    """
    sample = _sample(task)
    prompt = task.prompt if data.prompts else ""
    before = prompt if task.symmetric else ""
    queries = [prompt + text for text in sample["query"]]
    positives = [before + text for texts in sample["positives"] for text in texts]
    negatives = [before + text for texts in sample["negatives"] for text in texts]
    of_positives = np.minimum(count(positives), data.passage_tokens)
    return TaskLengths(
        np.minimum(count(queries), data.query_tokens),
        of_positives,
        np.minimum(count(negatives), data.passage_tokens) if negatives else of_positives,
    )


def text_bytes(task: Task, negatives: int) -> float:
    """About how many bytes of UTF-8 a task's texts are, once each row has at least so many hard negatives."""
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
    """Lengths of the texts of a batch, longest first: ``rows`` rows dealt out to the tasks in turn.

    Drawn from the samples, always the same way.
    """
    draw = np.random.default_rng(0)
    texts = []
    for number, task in enumerate(tasks):
        count = len(range(number, rows, len(tasks)))
        texts += [draw.choice(task.queries, count), draw.choice(task.positives, count)]
        texts.append(draw.choice(task.negatives, count * negatives))
    return np.sort(np.concatenate(texts))[::-1]
