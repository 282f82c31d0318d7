"""The losses on the held-out rows of every task, or on what the recipe's target names instead.

Each set of rows is one batch: InfoNCE over their own hard negatives and the passages of the other rows, masked by text
as in training. A set's loss is computed whole on one rank, so it is the same on any number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tdro.data.plan.row_plans import HomogeneousPlan, StepRows
from tdro.data.tokens.mixture_index import IndexedTask, StepTexts
from tdro.errors import UserError
from tdro.machine import Machine
from tdro.training.in_batch_loss import masked_candidates
from tdro.training.stacking import embed_columns
from tdro.training.steps import PlannedSteps, TokenizedMixture, text_labels

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Batch = dict[str, Any]
Columns = list[dict[str, Tensor]]


@dataclass(frozen=True)
class HeldOutSet:
    """Rows that one loss is measured on.

    Attributes:
        name: for messages.
        data: has the rows.
        task: which of its tasks they are of, as a number.
        rows: their places in the task, at least one.
        negatives: hard negatives of a row.
        hard_negatives_only: whether the rows use no other row's passages.
        all_answers: whether every positive of a row is masked, and not only the one that is asked for. A test query
            often has several, and they are other queries' too.
    """

    name: str
    data: TokenizedMixture
    task: int
    rows: NDArray[np.int64]
    negatives: int
    hard_negatives_only: bool = False
    all_answers: bool = False

    def batch(self, seed: int) -> tuple[Batch, Tensor | None]:
        """The rows as a batch; and which of its passages answer which row, (rows, candidates) bool, if all answers are
        masked."""
        tasks = self.data.index.tasks
        sizes = [len(self.rows)] * len(tasks)  # the other tasks' are not looked at
        plan = HomogeneousPlan(sizes, len(self.rows), np.array([self.task]), seed)
        steps = PlannedSteps(self.data, plan, self.negatives, text_labels, subset=[self.rows] * len(tasks))
        return steps[0], _answers(tasks[self.task], *steps.rows(0)) if self.all_answers else None


def _answers(task: IndexedTask, rows: StepRows, texts: StepTexts) -> Tensor:
    """Which candidates are positives of which row; the candidates are the positives, the first negatives, and so on."""
    candidates, positives = texts.passages.T.ravel(), task.positives
    own = (positives.values[positives.starts[row] : positives.starts[row + 1]] for row in rows.row)
    return torch.from_numpy(np.stack([np.isin(candidates, each) for each in own]))


class HeldOutLosses:
    """Measures the loss of every set, on this rank those of every ``world``-th set.

    Args:
        sets: what to measure on.
        temperature: τ.
        chunk_rows: rows that go through the model at a time.
        seed: which of a row's positives and negatives are taken.
        machine: the ranks.
    """

    def __init__(
        self, sets: Sequence[HeldOutSet], temperature: float, chunk_rows: int, seed: int, machine: Machine
    ) -> None:
        self.names = [each.name for each in sets]
        self.temperature, self.chunk_rows = temperature, chunk_rows
        self._machine, self._sets = machine, sets
        self._batches = {at: sets[at].batch(seed) for at in range(machine.rank, len(sets), machine.world)}
        self._ready: dict[int, tuple[Columns, Tensor]] = {}

    def prepare(
        self, move: Callable[[Batch], Batch], take_apart: Callable[[Batch], tuple[Columns, Tensor | None]]
    ) -> None:
        """Have the batches ready where the model is; to be called once before measuring.

        Args:
            move: gives a batch on the model's device.
            take_apart: gives the columns and the labels of a batch.
        """
        for at, (batch, answers) in self._batches.items():
            columns, labels = take_apart(move(batch))
            assert labels is not None
            positive = torch.arange(len(labels), device=labels.device)
            hard_only = torch.tensor([self._sets[at].task] if self._sets[at].hard_negatives_only else [])
            masked = masked_candidates(labels, labels, positive, hard_only.long())
            if answers is not None:
                masked |= answers.to(masked.device)
                masked[positive, positive] = False
            self._ready[at] = columns, masked
        self._batches.clear()

    @torch.no_grad()
    def measure(self, model: SentenceTransformer) -> NDArray[np.float64]:
        """The mean loss of each set in nats, (sets,); the same on every rank.

        Args:
            model: as it is now. It is in evaluation mode meanwhile.

        Raises:
            UserError: a loss that is not finite; names the set.
        """
        losses = torch.zeros(len(self.names), dtype=torch.float64)
        training = model.training
        model.eval()
        for at, (columns, masked) in self._ready.items():
            losses[at] = float(self._loss(embed_columns(model, columns, self.chunk_rows), masked))
        model.train(training)
        if self._machine.world > 1:
            from accelerate.utils import gather

            there = losses if self._machine.device == "cpu" else losses.to(self._machine.device)
            losses = gather(there[None])[: self._machine.world].sum(dim=0).cpu()  # of other ranks' sets there is 0
        found: NDArray[np.float64] = losses.numpy()
        if not np.isfinite(found).all():
            name = self.names[int(np.argmin(np.isfinite(found)))]
            raise UserError(
                f"gain: the held-out loss of {name!r} is not finite.\n"
                "Lower learning_rate or raise temperature in the recipe's reference section."
            )
        return found

    def _loss(self, embedded: list[Tensor], masked: Tensor) -> Tensor:
        queries, *passages = [nn.functional.normalize(column.float(), dim=1) for column in embedded]
        with torch.autocast(queries.device.type, enabled=False):
            scores = queries @ torch.cat(passages).T / self.temperature
        positive = torch.arange(len(queries), device=scores.device)
        return nn.functional.cross_entropy(scores.masked_fill(masked, -torch.inf), positive)
