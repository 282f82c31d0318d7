"""WeightLearner: exponentiated gradient ascent on α, (α, M) to the next α.

One step of stage 1: M is scaled down to norm 1 where it is longer, ``log α += η · M``,
and log α is normalised. In float64 and in the log domain, so that a task that has shrunk below the smallest
float can still return. The state is a few lists of floats that go through JSON to the bit. Rejected: a torch
optimizer over log α, as in the released code: its state is lost when nobody saves it, and α then depends on
the device.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from tdro.errors import UserError
from tdro.weights import TaskWeights

EMA = 0.1  # share of the newest α in the moving average, as in the released code


class WeightLearner:
    """Learns task weights from one measure per task and step.

    Args:
        names: the tasks; measures come in this order.
        eta: η_α, the step size, above 0. What matters is η times the number of steps (the paper: 0.02 × 1000
            = 20); a run of T steps goes as far with 20 / T.
        max_norm: 2-norm above which the measures are scaled down to it; None never scales.
        initial: weights to start from, all positive; None is uniform.
        absent: what a task without a row in the batch (measure NaN) counts as. ``last``: its last measure,
            or, before it was ever seen, the mean of the known measures, so that it neither gains nor loses
            for being absent. ``zero``: 0, as in the released code, which shrinks it.

    Raises:
        ValueError: if ``eta`` or ``max_norm`` is not positive and finite, or ``absent`` is neither.
        UserError: for no or doubled names, or initial weights that are 0 for a task or name another.
    """

    def __init__(
        self,
        names: Iterable[str],
        eta: float = 0.02,
        max_norm: float | None = 1.0,
        initial: TaskWeights | None = None,
        absent: Literal["last", "zero"] = "last",
    ) -> None:
        if not 0 < eta < math.inf:
            raise ValueError(f"eta {eta} must be above 0 and finite")
        if max_norm is not None and not 0 < max_norm < math.inf:
            raise ValueError(f"max_norm {max_norm} must be above 0 and finite, or None for no scaling")
        if absent not in ("last", "zero"):
            raise ValueError(f"absent {absent!r} must be 'last' or 'zero'")
        start = TaskWeights.uniform(names)
        self.names = start.names
        self.eta = eta
        self.max_norm = max_norm
        self.absent = absent
        self.step = 0
        alpha = start.values if initial is None else initial.on(self.names)
        if not alpha.all():
            task = self.names[int(np.argmin(alpha))]
            raise UserError(f"initial weights: task {task!r} has 0 and could never gain; give it some, or leave it out")
        self._log_alpha = np.log(alpha)
        self._sum = np.zeros(len(alpha))  # of α after each update
        self._ema = alpha.copy()
        self._last = np.full(len(alpha), np.nan)  # last measure of each task

    def update(self, measures: Any) -> TaskWeights:
        """Move α by one step and return it.

        Args:
            measures: (k,) M_g of this step in the order of ``names``; NaN for a task that is absent.

        Raises:
            ValueError: for another shape, an infinite measure, or no task present. The state is then
                unchanged.
        """
        gradient = self._filled(np.array(measures, dtype=np.float64))
        norm = math.hypot(*gradient)  # does not overflow
        if self.max_norm is not None and norm > self.max_norm:
            gradient *= self.max_norm / norm
        moved = self._log_alpha + self.eta * (gradient - gradient.max())
        moved -= moved.max()
        self._log_alpha = moved - np.log(np.exp(moved).sum())
        alpha = np.exp(self._log_alpha)
        self.step += 1
        self._sum += alpha
        self._ema = (1 - EMA) * self._ema + EMA * alpha
        return self.weights

    def _filled(self, measures: np.ndarray) -> np.ndarray:
        """``measures`` with a value for each absent task; remembers those of the present ones."""
        if measures.shape != (len(self.names),):
            raise ValueError(f"measures must be ({len(self.names)},), one a task, not {measures.shape}")
        if np.isinf(measures).any():
            task = self.names[int(np.argmax(np.isinf(measures)))]
            raise ValueError(f"step {self.step}: the measure of task {task!r} is infinite")
        present = ~np.isnan(measures)
        if not present.any():
            raise ValueError(f"step {self.step}: no task has a measure; the batch is empty or all its losses are NaN")
        if self.absent == "zero":
            return np.where(present, measures, 0.0)
        self._last[present] = measures[present]
        return np.where(np.isnan(self._last), np.nanmean(self._last), self._last)

    @property
    def weights(self) -> TaskWeights:
        """α after the last update, or the initial weights."""
        return TaskWeights(self.names, np.exp(self._log_alpha))

    @property
    def mean(self) -> TaskWeights:
        """The mean of α over all updates, or the initial weights before the first."""
        return TaskWeights(self.names, self._sum / self.step) if self.step else self.weights

    @property
    def ema(self) -> TaskWeights:
        """The exponential moving average of α with coefficient 0.1, from the initial weights."""
        return TaskWeights(self.names, self._ema)

    def state_dict(self) -> dict[str, Any]:
        """All that changes with a step, JSON-able and exact to the bit."""
        return {
            "names": list(self.names),
            "step": self.step,
            "log_alpha": self._log_alpha.tolist(),
            "sum": self._sum.tolist(),
            "ema": self._ema.tolist(),
            "last": [None if math.isnan(value) else value for value in self._last.tolist()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            UserError: if it is of other tasks, or of the same in another order.
        """
        if list(state["names"]) != list(self.names):
            raise UserError(f"the saved weights are of tasks {state['names']}, not of {list(self.names)}; start anew")
        self.step = int(state["step"])
        self._log_alpha = np.array(state["log_alpha"], dtype=np.float64)
        self._sum = np.array(state["sum"], dtype=np.float64)
        self._ema = np.array(state["ema"], dtype=np.float64)
        self._last = np.array([math.nan if x is None else x for x in state["last"]], dtype=np.float64)
