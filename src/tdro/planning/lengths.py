"""How long the texts of each task are, in tokens of a base model: from a sample of its rows.

A few hundred rows give the mean to a few percent, and tokenizing all of them may take an hour. Lengths are cut at the
recipe's limits, as training cuts them. Tasks without hard negatives yet are taken to get some of their positives'
lengths, which is what mining gives them.
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
ROWS = 200  # a task's sample
Counter = Callable[[list[str]], Ints]  # texts to their numbers of tokens, special ones included


@dataclass(frozen=True)
class TaskLengths:
    """Tokens of the sampled texts of a task: its queries, their positives, and hard negatives. None is empty.

    ``cut`` is what was cut off to get there.
    """

    queries: Ints
    positives: Ints
    negatives: Ints
    cut: TaskCut | None = None

    def tokens_a_row(self, negatives: int) -> float:
        """Mean tokens of a query, a positive and so many hard negatives, without padding."""
        return float(self.queries.mean() + self.positives.mean() + negatives * self.negatives.mean())

    def squares_a_row(self, negatives: int) -> float:
        """The same of squared lengths, which attention's cost is made of."""
        means = [float((lengths.astype(np.float64) ** 2).mean()) for lengths in (self.queries, self.positives)]
        return sum(means) + negatives * float((self.negatives.astype(np.float64) ** 2).mean())


def sample_lengths(task: Task, cutter: Cutter) -> TaskLengths:
    """The lengths of rows from everywhere in a task, prompts included.

    Args:
        task: at least one row.
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
    cut = cutter.of(task, sample["query"], positives + negatives)  # says whose instruction leaves nothing
    on_passages = prompt if task.symmetric else ""
    of_positives = lengths(positives, on_passages, cutter.passage_tokens)
    return TaskLengths(
        lengths(sample["query"], prompt, cutter.query_tokens),
        of_positives,
        lengths(negatives, on_passages, cutter.passage_tokens) if negatives else of_positives,
        cut,
    )


def cut_of(task: Task, cutter: Cutter) -> TaskCut:
    """What is cut off such rows. Raises as :meth:`tdro.data.tokens.cuts.Cutter.of`."""
    sample = _sample(task)
    return cutter.of(task, sample["query"], _flat(sample["positives"]) + _flat(sample["negatives"]))


def _flat(lists: Iterable[list[str]]) -> list[str]:
    return [text for texts in lists for text in texts]


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
