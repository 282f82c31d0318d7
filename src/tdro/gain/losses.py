"""The losses on the held-out rows of every task.

Each task's rows are one batch: InfoNCE over their own hard negatives and the passages of the other rows, masked by text
as in training. A task's loss is computed whole on one rank, so it is the same on any number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tdro.data.plan.row_plans import HomogeneousPlan
from tdro.errors import UserError
from tdro.machine import Machine
from tdro.training.in_batch_loss import masked_candidates
from tdro.training.stacking import embed_columns
from tdro.training.steps import PlannedSteps, TokenizedMixture, text_labels

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Batch = dict[str, Any]
Columns = list[dict[str, Tensor]]


class HeldOutLosses:
    """Measures the loss of every task, on this rank those of every ``world``-th task.

    Args:
        data: the tasks' rows.
        held: for each task the rows that are held out.
        negatives: hard negatives of a row.
        temperature: τ.
        chunk_rows: rows that go through the model at a time.
        hard_negatives_only: tasks whose rows use no other row's passages.
        seed: which of a row's positives and negatives are taken.
        machine: the ranks.
    """

    def __init__(
        self,
        data: TokenizedMixture,
        held: Sequence[NDArray[np.int64]],
        negatives: int,
        temperature: float,
        chunk_rows: int,
        hard_negatives_only: Sequence[int],
        seed: int,
        machine: Machine,
    ) -> None:
        self.names = [task.name for task in data.index.tasks]
        self.temperature, self.chunk_rows = temperature, chunk_rows
        self._hard_only = torch.tensor(sorted(hard_negatives_only), dtype=torch.long)
        self._machine = machine
        sizes = [len(rows) for rows in held]
        self._batches: dict[int, Batch] = {}
        for task in range(machine.rank, len(sizes), machine.world):
            plan = HomogeneousPlan(sizes, sizes[task], np.array([task]), seed)
            self._batches[task] = PlannedSteps(data, plan, negatives, text_labels, subset=[*held])[0]
        self._ready: dict[int, tuple[Columns, Tensor]] = {}

    def prepare(
        self, move: Callable[[Batch], Batch], take_apart: Callable[[Batch], tuple[Columns, Tensor | None]]
    ) -> None:
        """Have the batches ready where the model is; to be called once before measuring.

        Args:
            move: gives a batch on the model's device.
            take_apart: gives the columns and the labels of a batch.
        """
        for task, batch in self._batches.items():
            columns, labels = take_apart(move(batch))
            assert labels is not None
            positive = torch.arange(len(labels), device=labels.device)
            self._ready[task] = columns, masked_candidates(labels, labels, positive, self._hard_only)
        self._batches.clear()

    @torch.no_grad()
    def measure(self, model: SentenceTransformer) -> NDArray[np.float64]:
        """The mean loss of each task in nats, (k,); the same on every rank.

        Args:
            model: as it is now. It is in evaluation mode meanwhile.

        Raises:
            UserError: a loss that is not finite; names the task.
        """
        losses = torch.zeros(len(self.names), dtype=torch.float64)
        training = model.training
        model.eval()
        for task, (columns, masked) in self._ready.items():
            losses[task] = float(self._loss(embed_columns(model, columns, self.chunk_rows), masked))
        model.train(training)
        if self._machine.world > 1:
            from accelerate.utils import gather

            there = losses if self._machine.device == "cpu" else losses.to(self._machine.device)
            losses = gather(there[None])[: self._machine.world].sum(dim=0).cpu()  # of other ranks' tasks there is 0
        found: NDArray[np.float64] = losses.numpy()
        if not np.isfinite(found).all():
            name = self.names[int(np.argmin(np.isfinite(found)))]
            raise UserError(
                f"gain: the held-out loss of task {name!r} is not finite.\n"
                "Lower learning_rate or raise temperature in the recipe's reference section."
            )
        return found

    def _loss(self, embedded: list[Tensor], masked: Tensor) -> Tensor:
        queries, *passages = [nn.functional.normalize(column.float(), dim=1) for column in embedded]
        with torch.autocast(queries.device.type, enabled=False):
            scores = queries @ torch.cat(passages).T / self.temperature
        positive = torch.arange(len(queries), device=scores.device)
        return nn.functional.cross_entropy(scores.masked_fill(masked, -torch.inf), positive)
