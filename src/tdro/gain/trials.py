"""A trial: keep the state of a training, train a few steps on one task, measure, put the state back exactly.

State is what a step changes: the model's weights and buffers, the optimizer's moments and learning rates, and the
random numbers. It is kept once a round and copied back after each trial, so no trial sees another one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

SOLVED = 1e-3  # nats: a set of rows whose loss is below it cannot be helped, and its changes are rounding


class TrainingState:
    """A copy of the state of a training.

    Args:
        model: the model that is trained.
        optimizer: its optimizer, torch's own.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._tensors = [(tensor, tensor.detach().clone()) for tensor in (*trained, *model.buffers())]
        self._moments = {
            parameter: {key: value.clone() if isinstance(value, Tensor) else value for key, value in own.items()}
            for parameter, own in optimizer.state.items()
        }
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._random = (torch.get_rng_state(), _gpu_states(), np.random.get_state(), random.getstate())

    @torch.no_grad()
    def put_back(self) -> None:
        """Everything as it was, to the bit, and no gradient."""
        for tensor, kept in self._tensors:
            tensor.copy_(kept)
            tensor.grad = None
        for parameter in [found for found in self.optimizer.state if found not in self._moments]:
            del self.optimizer.state[parameter]  # its first step was the trial's
        for parameter, own in self._moments.items():
            state = self.optimizer.state[parameter]
            for key, value in own.items():
                if isinstance(value, Tensor):
                    state[key].copy_(value)
                else:
                    state[key] = value
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate
        cpu, gpus, arrays, plain = self._random
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)
        np.random.set_state(arrays)
        random.setstate(plain)


def gains(
    state: TrainingState,
    tasks: int,
    before: NDArray[np.float64],
    train_on: Callable[[int], None],
    measure: Callable[[], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """The matrix of one round: a trial on each task, and after each the state as it was.

    Args:
        state: of the training now.
        tasks: k, how many tasks there are to train on.
        before: (sets,) the held-out losses now; without a target there is one set a task.
        train_on: trains the steps of a trial on a task.
        measure: the held-out losses, (sets,).

    Returns:
        (k, sets) ``A[g, h] = (before[h] - loss of h after the trial on g) / before[h]``; 0 for a solved set h.
    """
    matrix = np.zeros((tasks, len(before)))
    unsolved = before > SOLVED
    for task in range(tasks):
        train_on(task)
        after = measure()
        matrix[task, unsolved] = ((before - after) / np.where(unsolved, before, 1.0))[unsolved]
        state.put_back()
    return matrix


def _gpu_states() -> list[Any]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
