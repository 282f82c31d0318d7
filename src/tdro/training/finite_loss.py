"""Notice the first step whose loss is NaN or infinite, without making the process wait for a GPU at each step.

After such a step every parameter is NaN, and whatever is trained after it is lost. The losses are looked at on the
device; the process asks for the result where it waits in any case: when it logs, and before it writes a checkpoint.
:func:`check_finite` looks at the finished model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tdro.errors import UserError

_NEVER = 2**31 - 1


class FirstBadStep:
    """The first step whose loss was not finite.

    Example::

        bad = FirstBadStep()
        bad.note(loss, step=7)
        bad.step()  # None, or 7
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None

    def note(self, loss: Tensor, step: int) -> None:
        """Look at the loss of a step, a scalar, on the loss's device."""
        loss = loss.detach()
        step_of_loss = torch.full_like(loss, step, dtype=torch.int32)
        bad = torch.where(torch.isfinite(loss), torch.full_like(step_of_loss, _NEVER), step_of_loss)
        self._first = bad if self._first is None else torch.minimum(self._first, bad)

    def step(self) -> int | None:
        """The first bad step so far; None if there was none. Waits for the device."""
        first = _NEVER if self._first is None else int(self._first)
        return None if first == _NEVER else first


def check_finite(model: nn.Module, title: str) -> None:
    """Raise :class:`UserError` if a trained model holds NaN or inf."""
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise UserError(
                f"{title}: parameter {name} is not finite after training.\n"
                "Lower learning_rate or raise temperature in the recipe."
            )
