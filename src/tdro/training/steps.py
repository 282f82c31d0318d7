"""The steps of a plan as batches that sentence-transformers' trainer reads.

Item t is this rank's part of step t, put together from tokens that were made once, before training. Nothing is random
here, so to resume at step t is to ask for item t. The columns have the names that the stock collator would give them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tdro.data.plan.row_plans import Plan, StepRows
from tdro.data.tokens.mixture_index import MixtureIndex, StepTexts
from tdro.data.tokens.tokenize import Tokens
from tdro.errors import UserError
from tdro.training.ahead import AheadOfTraining


@dataclass(frozen=True)
class TokenizedMixture:
    """A mixture's rows, and the tokens of its distinct queries and passages."""

    index: MixtureIndex
    queries: Tokens
    passages: Tokens


# Makes the labels of a step for the loss: from the step's number, its rows and its texts.
MakeLabels = Callable[[int, StepRows, StepTexts], NDArray]


def text_labels(step: int, rows: StepRows, texts: StepTexts) -> NDArray:
    """The labels of the fine-tuning loss, (B, 3 + N): numbers of each row's task, query, positive and N negatives."""
    return np.concatenate([rows.task[:, None], texts.query[:, None], texts.passages], axis=1)


class PlannedSteps(Dataset[dict[str, Any]]):
    """The batches that one process trains on. Item t is this process's part of step t.

    Use::

        plan = MixedPlan(mixture.sizes, batch=64, steps=1000, seed=1)
        steps = PlannedSteps(data, plan, negatives=2, labels=text_labels)
        steps[7]  # query_input_ids, positive_input_ids, negative_1_input_ids, …, label

    Args:
        data: the rows and the tokens of their texts.
        plan: which rows each step reads.
        negatives: how many hard negatives each row gets.
        labels: makes the labels of the loss. It is called with the rows and texts of the *whole* step, of all
            processes; each process then takes its own rows of the result.
        rank: the number of this process, from 0.
        world: how many processes there are.
        subset: for each task the rows that are trained on. The plan's row 0 of a task is then the first of these. None:
            all rows.

    Raises:
        UserError: the batch cannot be cut into equal parts, one for each process.
    """

    def __init__(
        self,
        data: TokenizedMixture,
        plan: Plan,
        negatives: int,
        labels: MakeLabels,
        rank: int = 0,
        world: int = 1,
        subset: list[NDArray[np.int64]] | None = None,
    ) -> None:
        if plan.batch % world:
            raise UserError(
                f"a batch of {plan.batch} rows cannot be cut into {world} equal parts, one a rank.\n"
                f"Set batch to a multiple of {world} in the recipe, or start another number of processes."
            )
        self.data, self.plan, self.negatives, self.labels = data, plan, negatives, labels
        self.rank, self.world, self.subset = rank, world, subset

    def __len__(self) -> int:
        return self.plan.steps

    def rows(self, step: int) -> tuple[StepRows, StepTexts]:
        """The rows and texts of a whole step, of all processes."""
        rows = in_subset(self.plan.step(step), self.subset)
        return rows, self.data.index.gather(rows, self.plan.seed, self.negatives)

    def __getitem__(self, step: int) -> dict[str, Any]:
        rows, texts = self.rows(step)
        labels = self.labels(step, rows, texts)
        here = slice(self.rank * len(rows) // self.world, (self.rank + 1) * len(rows) // self.world)
        batch: dict[str, Any] = {}
        _put(batch, "query", self.data.queries.features(texts.query[here]))
        for column in range(1 + self.negatives):
            name = "positive" if column == 0 else f"negative_{column}"
            _put(batch, name, self.data.passages.features(texts.passages[here, column]))
        batch["label"] = torch.from_numpy(np.ascontiguousarray(labels[here]))
        return batch

    def task_names(self, step: int) -> list[str]:
        """The tasks that a step has rows of."""
        return [self.data.index.tasks[task].name for task in np.unique(self.plan.step(step).task)]

    def loader(self, pinned: bool = False) -> DataLoader[dict[str, Any]]:
        """A loader of the steps in order, which makes the next batches in a thread.

        To resume, accelerate skips steps without making their batches.

        Args:
            pinned: see :class:`tdro.training.ahead.AheadOfTraining`.
        """
        return DataLoader(AheadOfTraining(self, pinned), batch_size=1, shuffle=False, collate_fn=_single)


def in_subset(rows: StepRows, subset: list[NDArray[np.int64]] | None) -> StepRows:
    """Turn row numbers within a subset of each task into row numbers of the whole task.

    Example: with the subset ``[4, 7, 9]`` of a task, its row 1 becomes row 7.
    """
    if subset is None:
        return rows
    row = np.empty_like(rows.row)
    for task in np.unique(rows.task):
        here = rows.task == task
        row[here] = subset[task][rows.row[here]]
    return StepRows(rows.task, row, rows.visit)


def _put(batch: dict[str, Any], name: str, features: dict[str, Tensor]) -> None:
    """Add a column to a batch, as the stock collator would name it: ``query_input_ids`` and so on."""
    batch.update({f"{name}_{key}": value for key, value in features.items()})


def _single(batches: list[dict[str, Any]]) -> dict[str, Any]:
    """A loader's collate function. Each item is a whole batch already."""
    return batches[0]
