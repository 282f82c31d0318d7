"""Loss reweighting: the gradient of each step times its task's factor, after it was clipped.

A batch is of one task, so a factor of its loss is one of the whole gradient. Clipping to a norm takes such a factor out
again: with a transformer's gradients, which are longer than 1, the model would be that of uniform weights to the last
digits. So the gradient is clipped first and multiplied then, between the exchange among ranks and the optimizer. Adam
divides by a mean over steps and keeps what differs from step to step.

Rejected: a limit for clipping that is multiplied too, which is the same where a gradient is clipped, but needs the loss
multiplied where it is not.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class GradientFactors(TrainerCallback):
    """Multiplies each step's gradient.

    Args:
        factors: (T,) one a step, not negative.
    """

    def __init__(self, factors: NDArray[Any]) -> None:
        self.factors = factors

    @torch.no_grad()
    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Multiply; the trainer has clipped, and has not counted this step yet."""
        model: nn.Module = kwargs["model"]
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(float(self.factors[state.global_step]))
