"""Loss reweighting: multiply the gradient of each step by its task's factor, after it was clipped.

This is the other way to use weights: not to draw tasks by weight, but to weigh their losses. A batch is of one task, so
a factor on its loss is a factor on the whole gradient. But clipping the gradient's norm to 1 would undo the factor (a
transformer's gradients are usually longer than 1). So the gradient is clipped first and multiplied afterwards, between
the exchange among ranks and the optimizer. Adam divides by a mean over many steps, so the differences between tasks
stay. See docs/decisions.md, factors-after-clipping.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class GradientFactors(TrainerCallback):
    """A trainer's callback that multiplies the gradient of each step.

    Args:
        factors: the factor of each step, not negative; shape (steps,).
    """

    def __init__(self, factors: NDArray[Any]) -> None:
        self.factors = factors

    @torch.no_grad()
    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Multiply. The trainer has clipped the gradient by now, and ``global_step`` still counts from 0."""
        model: nn.Module = kwargs["model"]
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(float(self.factors[state.global_step]))
