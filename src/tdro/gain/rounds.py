"""Which steps a round has, and which rows its steps and its trials read.

All is a pure function of the seed, of the step, and of the α of the rounds so far. So there is no state to save but α,
and a task's rows are gone through in one order from the first round to the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tdro.data.plan.permute import mix
from tdro.data.plan.row_plans import HomogeneousPlan
from tdro.data.plan.task_order import draw_tasks

_ROUND, _TRIALS = 41, 42  # streams of the seed


@dataclass(frozen=True)
class Rounds:
    """The rounds of a training.

    Attributes:
        steps: of the whole training.
        rounds: how many parts it has, at most ``steps``.
        trial_steps: how many steps a trial has.
        batch: rows of a step.
        sizes: how many rows each task has to train on.
        seed: of the order of tasks and rows.
    """

    steps: int
    rounds: int
    trial_steps: int
    batch: int
    sizes: tuple[int, ...]
    seed: int

    def first(self, number: int) -> int:
        """The first step of a round. 400 steps in 10 rounds: 0, 40, 80 …"""
        return number * self.steps // self.rounds

    def middle(self, number: int) -> float:
        """The middle of a round, in steps: whose learning rate the trials take."""
        return (self.first(number) + self.first(number + 1)) / 2

    def begins_at(self, step: int) -> int | None:
        """The round that begins at a step, or None."""
        number = -(-step * self.rounds // self.steps)
        return number if number < self.rounds and self.first(number) == step else None

    def training(self, alphas: Sequence[NDArray[np.float64]]) -> HomogeneousPlan:
        """The steps of all rounds whose α is known, from step 0."""
        tasks = [
            draw_tasks(alpha, self.first(number + 1) - self.first(number), _seed(self.seed, _ROUND, number))
            for number, alpha in enumerate(alphas)
        ]
        return HomogeneousPlan(self.sizes, self.batch, np.concatenate(tasks), self.seed)

    def trial(self, task: int) -> HomogeneousPlan:
        """The steps of all trials on a task; those of round r are ``trial_steps`` from ``r * trial_steps`` on."""
        tasks = np.full(self.trial_steps * self.rounds, task, dtype=np.int64)
        return HomogeneousPlan(self.sizes, self.batch, tasks, _seed(self.seed, _TRIALS))


def _seed(*parts: int) -> int:
    return int(mix(*parts) % np.uint64(2**32))
