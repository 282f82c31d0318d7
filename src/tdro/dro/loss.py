"""TDROLoss, stage 1 as a loss: measure the tasks, move α, weigh the rows by the new α.

The loss sees the embeddings of the whole batch, of all ranks, before anything is back-propagated. So one step is
exactly the paper's, at any micro-batch size and any number of ranks:

1. InfoNCE of each row over its own hard negatives (``TDROLoss.batch_loss``);
2. the measure of each task against the reference (``TDROLoss._update``);
3. α moves by one step of exponentiated gradient ascent (:mod:`tdro.dro.learner`);
4. the proxy's loss is Σ w_i L_i, with the weights w_i of the rows from the *new* α.

Another loss may be around it and call it several times a step, as ``MatryoshkaLoss`` does once a dimension. α then
moves in the first call, which must be of whole embeddings, and the other calls weigh the rows by it.

See docs/decisions.md, alpha-in-the-loss.
"""

from __future__ import annotations

import logging
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
from tdro.dro.measures import KINDS, RollingMeans, measure, relative_of_means, task_means
from tdro.dro.step_guard import StepGuard
from tdro.dro.step_record import StepRecord
from tdro.errors import UserError
from tdro.models.unwrapped import unwrapped
from tdro.training.sorted_loss import SortedBatchLoss, gathered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sentence_transformers import SentenceTransformer

    from tdro.dro.learner import WeightLearner

logger = logging.getLogger(__name__)
Floats = NDArray[np.float64]


class TDROLoss(SortedBatchLoss):
    """Learns the weights of tasks while it trains the proxy: stage 1 of tDRO, as a loss for a stock trainer.

    Each step it measures how far the proxy is behind a frozen reference on each task, raises the weights of the tasks
    with much headroom, and trains the proxy by the new weights. The weights are ``learner.weights``.

    Args:
        model: the proxy, the small model that is trained while the weights are learned.
        learner: holds the weights and moves them once a step.
        reference: a trained model with the proxy's tokenizer, best of the proxy's size. It is frozen and scored at each
            step. None if the labels bring its losses, or the measure is ``raw``.
        temperature: τ, what cosine similarities are divided by, above 0.
        measure: ``relative`` (the paper's), ``excess``, ``raw`` or ``relative_per_row``; see :mod:`tdro.dro.measures`.
        offset: nats added to both mean losses of ``relative`` before dividing. It keeps the weights from running to
            tasks that both models nearly solve; 0 in the paper.
        floor: nats. A task whose two mean losses are below it counts as solved, and its measure is 1.
        average_steps: ``relative`` averages both mean losses over so many last steps before dividing. More than 1 is
            for steps with few rows of a task.
        mini_batch_size: texts that go through the model at a time. Changes memory and speed, not the result.
        gradient_caching: one more forward pass, so that a batch of any size fits in memory; see
            :class:`tdro.training.sorted_loss.SortedBatchLoss`.

    Requirements:
        1. A step has rows of several tasks, best equally many of each, and at least one hard negative for each row.
        2. Every rank has equally many rows.
        3. No gradient accumulation: a step's weights are computed from all of its rows. Use ``mini_batch_size``.
        4. If the trainer writes checkpoints: :class:`tdro.TDROCallback`.

    Inputs:
        +--------------------------------------------------+------------------------------------------------+
        | Texts                                            | Labels                                         |
        +==================================================+================================================+
        | (query, positive, negative_1, ..., negative_n)   | (B,) integers: the task of each row, its       |
        |                                                  | position in ``learner.names``                  |
        +--------------------------------------------------+------------------------------------------------+
        | the same, without ``reference``                  | (B, 2) floats: the task, and the reference's   |
        |                                                  | loss of the row in nats                        |
        +--------------------------------------------------+------------------------------------------------+
        | the same                                         | (B, 3) floats: also a number of the row, which |
        |                                                  | the error names if its loss is not finite      |
        +--------------------------------------------------+------------------------------------------------+

        Under ``torch.no_grad()``, as in evaluation, the loss is computed and the weights do not move.

    Raises:
        ValueError: a value out of range, no reference where the measure needs one, or labels of another shape.
        UserError: a loss that is not finite (names the step, the tasks and the rows), a reference with another
            vocabulary, or a trainer or a loss around this one in which the weights would be wrong.

    Example::

        learner = WeightLearner(["news", "code", "faq"], eta=20 / steps)
        loss = TDROLoss(model, learner, reference)  # rows: query, positive, negatives, label = 0, 1 or 2
        SentenceTransformerTrainer(model, args, mixed, loss=loss, callbacks=[TDROCallback(loss)]).train()
        learner.weights.save("weights.json")
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
        # Not a submodule, so that no optimizer, checkpoint or call of .train() reaches the reference's parameters.
        self._live = LiveReference(reference, model) if reference is not None else None
        self._columns: list[dict[str, Any]] = []
        self.guard = StepGuard()
        self._weights: Tensor | None = None  # of this rank's rows, once α has moved in this step

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor | None = None) -> Tensor:
        """The loss of a batch, one entry of ``sentence_features`` a column. Moves α if gradients are on."""
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
        # With FSDP the parameters are other tensors while they are gathered, so the columns alone identify a step.
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
        """Σ w_i L_i over this rank's rows, times the number of ranks, because the trainer averages gradients over them.

        Args:
            columns: embeddings (B, D) of query, positive and hard negatives.
            labels: as the class says.
        """
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
        """The weights w_i of this rank's rows, which sum to 1 over all ranks. If ``moves``, α moves first."""
        proxy = in_float64(losses.detach())
        rows = torch.stack([proxy, *self._read_labels(labels, proxy)], dim=1)
        # The only exchange of ranks: each then computes the same α from the same numbers in the same order.
        everyone = gathered(rows).cpu().numpy()
        alpha = self._update(everyone) if moves else self.learner.weights.values
        weights = row_weights(torch.from_numpy(alpha[everyone[:, 2].astype(np.int64)]))
        return weights[get_rank() * len(losses) :][: len(losses)].to(losses)

    def _refuse_cut(self, width: int) -> None:
        """Raise :class:`UserError` if α would move by truncated embeddings: ``MatryoshkaLoss`` may call them first."""
        whole = unwrapped(self.model).get_embedding_dimension()
        if whole is not None and width < whole:
            raise UserError(
                f"TDROLoss is called first for {width} of {whole} dimensions, but α is learned from whole embeddings.\n"
                f"Put {whole} into matryoshka_dims, and leave n_dims_per_step at -1."
            )

    def dro_state(self) -> dict[str, Any]:
        """What a checkpoint must keep of the weights, as values that JSON keeps to the bit."""
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
        """Measure the tasks, move α and record the step.

        Args:
            rows: (rows of all ranks, 4): proxy loss, reference loss, task and row number.

        Returns:
            The new α, (k,).
        """
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
        """Reference loss, task and row number of this rank's rows, each (B,) float64.

        The reference loss is NaN where the measure needs none.
        """
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
