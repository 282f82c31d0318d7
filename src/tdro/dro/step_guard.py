"""That α moves once a step of the optimizer, whoever trains.

The loss computes α from all rows of a step. A trainer may call it more often than that, or go on from a checkpoint that
has no α, and it tells a loss nothing of either. So the loss looks who calls: at the trainer on the call stack, and at
whether the same batch comes again before anything was back-propagated.

- ``MatryoshkaLoss`` calls once a dimension, the full one first: α moves in the first call, the others weigh by it.
- Gradient accumulation calls once a micro-batch. α cannot be computed from rows that have not come yet: refused.
- Training that goes on from a checkpoint without :class:`tdro.dro.callback.TDROCallback` would start from uniform
  weights: refused, and warned of where checkpoints are written without it.

Rejected: gradients that wait in the parameters as a sign of accumulation, since many loops clear them late.
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
    """Watches one loss's calls with gradients."""

    def __init__(self) -> None:
        self._call: list[tuple[Tensor, int]] = []  # the tensors of the last call, until its backward pass
        self._state: TrainerState | None = None  # of the training that called last
        self._step = -1  # of it
        self._kept_in: TrainerState | None = None
        self._left_at: int | None = 0  # learner.step after the last call; None: restored since

    def same_step(self, tensors: Sequence[Tensor]) -> bool:
        """Whether a call has the very tensors of the last one, unchanged, and that was not back-propagated yet."""
        return bool(self._call) and _identity(self._call) == _identity(_versions(tensors))

    def check(self, learner_step: int) -> None:
        """Refuse to move α where that would be wrong.

        Args:
            learner_step: how often α has moved.

        Raises:
            UserError: gradients are accumulated, this step has had a call with other rows, or training goes on from a
                checkpoint and α does not.
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
        """Note that α has moved for these tensors."""
        self._call, self._left_at = _versions(tensors), learner_step

    def restored(self) -> None:
        """Note that α is now that of a checkpoint."""
        self._left_at = None

    def kept_in(self, state: TrainerState) -> None:
        """Note that the checkpoints of a training have α."""
        self._kept_in = state

    def went_back(self, gradient: Tensor) -> None:
        """A hook of the loss's value: the backward pass ends a step's calls."""
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
    """Raise :class:`UserError` where gradients of several calls are added up."""
    if accumulates:
        raise UserError(
            "TDROLoss cannot be used with gradient accumulation: α is computed from all rows of a step.\n"
            "Set gradient_accumulation_steps=1 and the whole batch as per_device_train_batch_size; TDROLoss cuts it "
            "into micro-batches itself (mini_batch_size, gradient_caching=True)."
        )


def calling_trainer() -> Trainer | None:
    """The trainer that is at work, if one is: it gives a loss no reference to itself, so it is found on the stack."""
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        if isinstance(caller := frame.f_locals.get("self"), Trainer):
            return caller
    return None


def _versions(tensors: Sequence[Tensor]) -> list[tuple[Tensor, int]]:
    return [(tensor, tensor._version) for tensor in tensors]


def _identity(call: Sequence[tuple[Tensor, int]]) -> list[tuple[int, int]]:
    return [(id(tensor), version) for tensor, version in call]
