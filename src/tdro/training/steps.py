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


@dataclass(frozen=True)
class TokenizedMixture:
    """A mixture's rows, and the tokens of its distinct queries and passages."""

    index: MixtureIndex
    queries: Tokens
    passages: Tokens


MakeLabels = Callable[[int, StepRows, StepTexts], NDArray]


def text_labels(step: int, rows: StepRows, texts: StepTexts) -> NDArray:
    """The labels of the fine-tuning loss, (B, 3 + N): numbers of each row's task, query, positive and N negatives."""
    return np.concatenate([rows.task[:, None], texts.query[:, None], texts.passages], axis=1)


class PlannedSteps(Dataset[dict[str, Any]]):
    """The batches of one rank; item t is the batch of step t.

    Args:
        data: rows and tokens.
        plan: which rows each step reads.
        negatives: number of hard negatives of each row.
        labels: makes the labels of the loss; called with (step, rows, texts) of the *whole* step, over all ranks.
        rank: the number of this process.
        world: how many processes there are.
        subset: for each task an array that translates the plan's row numbers into the task's; None: they are the same.

    Raises:
        UserError: the batch cannot be cut into equal parts, one a rank.
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
        """The rows and texts of a whole step, over all ranks."""
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

    def loader(self) -> DataLoader[dict[str, Any]]:
        """A loader of the steps in order. To resume, accelerate skips steps without making their batches."""
        return DataLoader(self, batch_size=1, shuffle=False, collate_fn=_single)


def in_subset(rows: StepRows, subset: list[NDArray[np.int64]] | None) -> StepRows:
    """Translate rows that are numbered within a subset of each task into rows of the whole task."""
    if subset is None:
        return rows
    row = np.empty_like(rows.row)
    for task in np.unique(rows.task):
        here = rows.task == task
        row[here] = subset[task][rows.row[here]]
    return StepRows(rows.task, row, rows.visit)


def _put(batch: dict[str, Any], name: str, features: dict[str, Tensor]) -> None:
    batch.update({f"{name}_{key}": value for key, value in features.items()})


def _single(batches: list[dict[str, Any]]) -> dict[str, Any]:
    return batches[0]
