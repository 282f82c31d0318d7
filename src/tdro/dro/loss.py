"""Stage 1 as a loss: measure the tasks, move α, weigh the rows by the new α.

:class:`TDROLoss` goes into a stock ``SentenceTransformerTrainer``. Because it sees the representations of the whole
batch (of all ranks) before anything is back-propagated, one step is exactly the paper's at any micro-batch size and any
number of ranks: per-row InfoNCE over the row's own hard negatives, the measure of each task against the reference, one
step of exponential gradient ascent, and the proxy's loss Σ w_i L_i with w_i from the *new* α.

Another loss may be around it that calls it several times a step, as ``MatryoshkaLoss`` does once a dimension: α then
moves in the first call, which must be of whole embeddings, and the others weigh the rows by it.

Rejected: an optimizer for α (the released code's), which ties α to the model's optimizer and its checkpoints; moving
α in a callback, which is one step late.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer.losses.adaptive_layer import TransformerDecorator
from sentence_transformers.util import get_rank, get_world_size
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from tdro.dro.health import HealthMonitor
from tdro.dro.infonce import hard_negative_infonce, in_float64, row_weights
from tdro.dro.live_reference import LiveReference
from tdro.dro.measures import KINDS, RollingMeans, measure, relative_of_means
from tdro.dro.step_guard import StepGuard
from tdro.errors import UserError
from tdro.models.unwrapped import unwrapped
from tdro.training.sorted_loss import SortedBatchLoss, gathered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sentence_transformers import SentenceTransformer

    from tdro.dro.learner import WeightLearner

logger = logging.getLogger(__name__)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StepRecord:
    """What one step did; arrays over the k tasks, NaN where a task had no row.

    Attributes:
        step: counted from 0.
        alpha: the new weights.
        measure: M_g of this step.
        proxy_loss: mean over the task's rows, nats.
        reference_loss: the same of the reference.
        rows: how many rows each task had.
        loss: the weighted loss that was back-propagated, over all ranks.
        warnings: what health has to say that is new, one line each.
    """

    step: int
    alpha: Floats
    measure: Floats
    proxy_loss: Floats
    reference_loss: Floats
    rows: NDArray[np.int64]
    loss: float
    warnings: list[str]


class TDROLoss(SortedBatchLoss):
    """The stage-1 loss (paper, section on task-level DRO; steps 1 to 4 of one update).

    Columns: query, positive, then at least one hard negative column. Labels name the task of each row:

    - (B,) integers, the task's position in ``learner.names``; the reference is then scored on the fly; or
    - (B, 2) floats: the task, and the reference's loss of the row in nats (scored ahead); or
    - (B, 3) floats: also a row id, named when a loss is not finite.

    Every rank must bring equally many rows. Use ``mini_batch_size``, not the trainer's gradient accumulation: a
    step's α must be computed from all of its rows. Where a trainer writes checkpoints, give it
    :class:`tdro.TDROCallback` too. α moves where gradients are on; under ``torch.no_grad()``, as in evaluation, the
    loss is only measured.

    Args:
        model: the proxy.
        learner: holds α; moved once a step.
        reference: the frozen reference model, or None where the labels bring its losses (or the measure is ``raw``).
        temperature: τ > 0.
        measure: ``relative`` (the paper's), ``excess``, ``raw`` or ``relative_per_row``.
        offset: nats added to both means of ``relative`` before dividing; keeps the ratio from running to solved tasks.
        floor: nats; a task whose two means are below it counts as solved, M = 1.
        average_steps: ``relative`` averages both means over the last n steps before dividing.
        mini_batch_size: texts per micro-batch.
        gradient_caching: see :class:`tdro.training.sorted_loss.SortedBatchLoss`.

    Raises:
        ValueError: a value out of range, no reference where the measure needs one, labels of another shape.
        UserError: a loss that is not finite (names the step, the tasks and the rows); a reference with other tokens; a
            trainer or another loss around this one in which α would be wrong.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        learner: WeightLearner,
        reference: SentenceTransformer | None = None,
        temperature: float = 0.02,
        measure: str = "relative",
        offset: float = 0.0,
        floor: float = 1e-3,
        average_steps: int = 1,
        mini_batch_size: int = 64,
        gradient_caching: bool = False,
    ) -> None:
        super().__init__(model, temperature, mini_batch_size, gradient_caching)
        if measure not in KINDS:
            raise ValueError(f"measure '{measure}' must be one of {', '.join(KINDS)}")
        if average_steps > 1 and measure != "relative":
            raise ValueError(f"average_steps belongs to the measure 'relative', not to '{measure}'")
        self.learner = learner
        self.measure, self.offset, self.floor = measure, offset, floor
        self.means = RollingMeans(len(learner.names), average_steps) if measure == "relative" else None
        self.health = HealthMonitor(learner.names, solved_below=floor)
        self.last: StepRecord | None = None
        # Not a module, so that no optimizer, checkpoint or .train() finds the reference's parameters.
        self._live = LiveReference(reference, model) if reference is not None else None
        self._columns: list[dict[str, Any]] = []
        self.guard = StepGuard()
        self._weights: Tensor | None = None  # of this rank's rows in this step, once α has moved

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor | None = None) -> Tensor:
        """One step on the columns of a batch; moves α where gradients are on, and only measures otherwise."""
        columns = [dict(column) for column in sentence_features]
        if labels is None or len(columns) < 3:
            raise ValueError(
                "TDROLoss needs a query, a positive and at least one hard negative column, and a label column with "
                "each row's task"
            )
        model = unwrapped(self.model)
        if isinstance(vars(model[0]).get("forward"), TransformerDecorator):
            raise UserError(
                "TDROLoss cannot be used in AdaptiveLayerLoss or Matryoshka2dLoss, which go by the columns as they "
                "came; MatryoshkaLoss works."
            )
        if self._live:
            self._live.watch(model)
            # The proxy writes into the features that it is given; the reference needs them as they came.
            self._columns = [dict(column) for column in columns]
        moves = torch.is_grad_enabled()
        # A model of shards has other tensors as its parameters while these are gathered.
        parameters = [] if isinstance(model, FSDPModule) else model.parameters()
        step = [*(column["input_ids"] for column in columns), labels, *parameters]
        if moves and not self.guard.same_step(step):
            self._weights = None
        try:
            value = super().forward(columns, labels)
        finally:
            self._columns = []
        if moves:
            self.guard.moved(step if value.requires_grad else [], self.learner.step)
        if value.requires_grad:
            value.register_hook(self.guard.went_back)
        return value

    def batch_loss(self, columns: list[Tensor], labels: Tensor | None) -> Tensor:
        """Σ w_i L_i over this rank's rows, times the ranks (the trainer averages gradients over ranks)."""
        assert labels is not None
        losses = hard_negative_infonce(columns[0], torch.stack(columns[1:], dim=1), self.temperature)
        if not torch.is_grad_enabled():
            weights = self._row_weights(losses, labels, moves=False)
        elif self._weights is None:
            self._refuse_cut(columns[0].shape[1])
            self.guard.check(self.learner.step)
            weights = self._weights = self._row_weights(losses, labels, moves=True)
        else:
            weights = self._weights
        return (weights * losses).sum() * get_world_size()

    def _row_weights(self, losses: Tensor, labels: Tensor, moves: bool) -> Tensor:
        """The weights of this rank's rows, which sum to 1 over all ranks; by α as it is, or after it has moved."""
        proxy = in_float64(losses.detach())
        rows = torch.stack([proxy, *self._read_labels(labels, proxy)], dim=1)
        # One small exchange: every rank then computes the same α from the same numbers, in the order of the ranks.
        everyone = gathered(rows).cpu().numpy()
        alpha = self._update(everyone) if moves else self.learner.weights.values
        weights = row_weights(torch.from_numpy(alpha[everyone[:, 2].astype(np.int64)]))
        return weights[get_rank() * len(losses) :][: len(losses)].to(losses)

    def _refuse_cut(self, width: int) -> None:
        """Raise :class:`UserError` if the embeddings by which α would move are a part of the model's."""
        whole = unwrapped(self.model).get_embedding_dimension()
        if whole is not None and width < whole:
            raise UserError(
                f"TDROLoss is called first for {width} of {whole} dimensions, but α is learned from whole embeddings.\n"
                f"Put {whole} into matryoshka_dims, and leave n_dims_per_step at -1."
            )

    def dro_state(self) -> dict[str, Any]:
        """Everything of α that a checkpoint must keep, as JSON-able values, exact to the bit."""
        return {
            "learner": self.learner.state_dict(),
            "means": self.means.state_dict() if self.means else None,
            "health": self.health.state_dict(),
        }

    def load_dro_state(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`dro_state`."""
        self.learner.load_state_dict(state["learner"])
        if self.means and state["means"]:
            self.means.load_state_dict(state["means"])
        self.health.load_state_dict(state["health"])
        self.guard.restored()

    def _update(self, rows: Floats) -> Floats:
        """Steps 2 and 3 for the rows of all ranks (loss, reference loss, task, row id): the new α, shape (k,)."""
        proxy, reference, ids = rows[:, 0], rows[:, 1], rows[:, 3]
        tasks = rows[:, 2].astype(np.int64)
        self._refuse_non_finite(proxy, reference, tasks, ids)
        count = len(self.learner.names)
        if self.means is not None:
            measured = relative_of_means(*self.means.update(proxy, reference, tasks), self.offset, self.floor)
        else:
            measured = measure(self.measure, proxy, reference, tasks, count)
        before = self.learner.step
        alpha = self.learner.update(measured).values
        proxy_means, reference_means = task_means(proxy, tasks, count), task_means(reference, tasks, count)
        weight_of_row, here = alpha[tasks], np.bincount(tasks, minlength=count)
        self.last = StepRecord(
            step=before,
            alpha=alpha,
            measure=measured,
            proxy_loss=proxy_means,
            reference_loss=reference_means,
            rows=here,
            loss=float((weight_of_row * proxy).sum() / weight_of_row.sum()),
            warnings=self.health.update(before, alpha, measured, proxy_means, reference_means, here),
        )
        for warning in self.last.warnings:
            logger.warning(warning)
        return alpha

    def _read_labels(self, labels: Tensor, losses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reference loss (NaN where the measure needs none), task and row id of this rank's rows, (B,) float64 each."""
        table = in_float64(labels) if labels.dim() == 2 else in_float64(labels)[:, None]
        if table.dim() != 2 or len(table) != len(losses) or not 1 <= table.shape[1] <= 3:
            raise ValueError(f"labels must be (B,), (B, 2) or (B, 3) with B = {len(losses)}, not {tuple(labels.shape)}")
        table = table.to(losses.device)
        wrong = table[:, 0][
            ~torch.isin(table[:, 0], torch.arange(len(self.learner.names), device=losses.device).double())
        ]
        if len(wrong):
            raise ValueError(
                f"a label names task {wrong[0].item():g}, but the learner has {len(self.learner.names)}, counted from 0"
            )
        if self._live is not None:
            reference = self._live.losses(self._columns, self.temperature, self.mini_batch_size)
        elif table.shape[1] > 1:
            reference = table[:, 1]
        elif self.measure == "raw":
            reference = torch.full_like(losses, torch.nan, dtype=torch.float64)
        else:
            raise ValueError(
                f"the measure '{self.measure}' needs a reference: give TDROLoss one, or labels of shape (B, 2)"
            )
        ids = table[:, 2] if table.shape[1] > 2 else torch.arange(len(losses), device=losses.device).double()
        return reference, table[:, 0], ids

    def _refuse_non_finite(self, proxy: Floats, reference: Floats, tasks: NDArray[np.int64], ids: Floats) -> None:
        bad = ~np.isfinite(proxy) | (~np.isfinite(reference) if self.measure != "raw" else False)
        if bad.any():
            where = [
                f"{self.learner.names[task]} row {int(row)}" for task, row in zip(tasks[bad], ids[bad], strict=True)
            ]
            raise UserError(
                f"step {self.learner.step}: the loss is not finite in {', '.join(where[:8])}"
                f"{f' and {len(where) - 8} more' if len(where) > 8 else ''}.\n"
                "Look at these rows, lower the learning rate or raise the temperature; the last checkpoint is kept."
            )


def task_means(losses: Floats, tasks: NDArray[np.int64], count: int) -> Floats:
    """The mean loss of each task's rows, shape (k,), NaN where it has none."""
    rows = np.bincount(tasks, minlength=count)
    sums = np.bincount(tasks, weights=losses, minlength=count)
    return np.divide(sums, rows, out=np.full(count, np.nan), where=rows > 0)
