"""StepGuard: makes sure that α moves exactly once in each step of the optimizer, whichever trainer is used.

The loss needs all rows of a step to move α. But a trainer may call it several times a step, or go on from a checkpoint
without α, and it does not tell the loss. So the guard finds the trainer on the call stack, and notices when the same
batch comes again before its backward pass.

- ``MatryoshkaLoss`` calls the loss once a dimension, the full one first. α moves in the first call, and the other calls
  weigh the rows by it.
- Gradient accumulation calls it once a micro-batch. α cannot be computed from rows that have not come yet, so this is
  refused. See docs/decisions.md, accumulation-is-refused.
- Going on from a checkpoint without :class:`tdro.TDROCallback` would start again from uniform weights. This is refused,
  and a run that writes checkpoints without it is warned.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from accelerate.state import GradientState
from torch import Tensor
from transformers import Trainer, TrainerState

from tdro.errors import UserError

logger = logging.getLogger(__name__)
_CURE = "Give the trainer callbacks=[TDROCallback(loss)]"


class StepGuard:
    """Watches the calls of one loss in which gradients are on."""

    def __init__(self) -> None:
        self._call: list[
            tuple[Tensor, int]
        ] = []  # tensors of the last call and their versions, until its backward pass
        self._state: TrainerState | None = None  # of the trainer that called last
        self._step = -1  # the trainer's step at that call
        self._kept_in: TrainerState | None = None  # of the trainer whose checkpoints hold α
        self._left_at: int | None = 0  # learner.step after the last call; None after α was restored

    def same_step(self, tensors: Sequence[Tensor]) -> bool:
        """Whether this call has the very tensors of the last one, unchanged, before that one's backward pass."""
        return bool(self._call) and _identity(self._call) == _identity(_versions(tensors))

    def check(self, learner_step: int) -> None:
        """Raise an error if α must not move in this call.

        Args:
            learner_step: how often α has moved.

        Raises:
            UserError: gradients are accumulated, this step already had a call with other rows, or training goes on
                from a checkpoint but α was not restored.
        """
        trainer = calling_trainer()
        if trainer is None:
            refuse_accumulation(not GradientState().sync_gradients)
            return
        refuse_accumulation(trainer.args.gradient_accumulation_steps > 1)
        state = trainer.state
        if state is not self._state:
            self._check_start(state, learner_step, trainer.args.save_strategy != "no")
        elif state.global_step == self._step:
            raise UserError(
                f"step {self._step}: TDROLoss is called twice in one step, with other rows; α moves once a step.\n"
                "Call it once with all rows: mini_batch_size and gradient_caching keep the memory small."
            )
        self._state, self._step = state, state.global_step

    def moved(self, tensors: Sequence[Tensor], learner_step: int) -> None:
        """Remember that α has moved for these tensors."""
        self._call, self._left_at = _versions(tensors), learner_step

    def restored(self) -> None:
        """Remember that α was restored from a checkpoint."""
        self._left_at = None

    def kept_in(self, state: TrainerState) -> None:
        """Remember that the checkpoints of this training hold α."""
        self._kept_in = state

    def went_back(self, gradient: Tensor) -> None:
        """Hook of the loss's value: after its backward pass the next call belongs to another step."""
        self._call = []

    def _check_start(self, state: TrainerState, learner_step: int, saves: bool) -> None:
        step = state.global_step
        if step and learner_step == self._left_at != step:
            raise UserError(
                f"training goes on from a checkpoint of step {step}, but the task weights do not.\n"
                f"{_CURE}, here and in the run that writes the checkpoints."
            )
        if not step and learner_step and learner_step == self._left_at:
            logger.warning(
                "The task weights go on from an earlier training, where they have moved %d times.", learner_step
            )
        if saves and self._kept_in is not state:
            logger.warning("The checkpoints will not have the task weights, so no run can go on from them. %s.", _CURE)


def refuse_accumulation(accumulates: bool) -> None:
    """Raise :class:`UserError` if the trainer accumulates gradients over several calls."""
    if accumulates:
        raise UserError(
            "TDROLoss cannot be used with gradient accumulation: α is computed from all rows of a step.\n"
            "Set gradient_accumulation_steps=1 and the whole batch as per_device_train_batch_size; TDROLoss cuts it "
            "into micro-batches itself (mini_batch_size, gradient_caching=True)."
        )


def calling_trainer() -> Trainer | None:
    """The trainer that calls, or None in a training loop without one.

    A trainer gives a loss no reference to itself, so it is looked up on the call stack.
    """
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        if isinstance(caller := frame.f_locals.get("self"), Trainer):
            return caller
    return None


def _versions(tensors: Sequence[Tensor]) -> list[tuple[Tensor, int]]:
    return [(tensor, tensor._version) for tensor in tensors]


def _identity(call: Sequence[tuple[Tensor, int]]) -> list[tuple[int, int]]:
    return [(id(tensor), version) for tensor, version in call]
