"""WeightLearner: moves the task weights α by one step of exponentiated gradient ascent.

A step takes the measures M, one a task: M is scaled down to norm 1 if its norm is larger, then ``log α += η · M``, then
log α is normalised. All of it is float64 and in the log domain, so a task whose weight is below the smallest float can
still gain. See docs/decisions.md, alpha-in-the-loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from tdro.errors import UserError
from tdro.weights import TaskWeights

EMA = 0.1  # the share of the newest α in the moving average, as in the released code


class WeightLearner:
    """Holds the task weights α and moves them once a step.

    :class:`tdro.TDROLoss` calls it with the measures of each step. In a training loop of your own, call :meth:`update`.

    Args:
        names: the tasks. Measures come in this order, and a row's label is its task's position here.
        eta: η_α, the step size, above 0. How far α moves depends on η times the number of steps, which is 20 in the
            paper (0.02 × 1000). A shorter run of T steps needs about 20 / T.
        max_norm: the measures of a step are scaled down to this 2-norm if theirs is larger; None never scales them.
        initial: weights to start from, all positive; None starts from uniform weights.
        absent: what a task without a row in the step (measure NaN) counts as. ``last``: its last measure, or the mean
            of the known measures if it never had one, so that it neither gains nor loses by being absent. ``zero``: 0,
            as in the released code, which makes it lose.

    Inputs (of :meth:`update`):
        (k,) measures of one step, one a task, NaN for a task that is absent.

    Raises:
        ValueError: ``eta`` or ``max_norm`` is not positive and finite, or ``absent`` is neither of the two.
        UserError: no names, a name twice, or initial weights that are 0 for a task or name another task.

    Example::

        learner = WeightLearner(["news", "code", "faq"], eta=20 / steps)
        weights = learner.update([1.3, 0.9, 1.1])  # in TDROLoss: once a step
        learner.weights.save("weights.json")
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
            measures: (k,) the measure M_g of each task in the order of ``names``; NaN for a task that is absent.

        Raises:
            ValueError: another shape, an infinite measure, or no task that is present. The state is then unchanged.
        """
        gradient = self._filled(np.array(measures, dtype=np.float64))
        norm = math.hypot(*gradient)  # unlike the square root of a sum of squares it does not overflow
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
        """The measures with a value in place of each NaN. Those of the present tasks are remembered."""
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
        """α after the last update; before the first, the initial weights."""
        return TaskWeights(self.names, np.exp(self._log_alpha))

    @property
    def mean(self) -> TaskWeights:
        """The mean of α over all updates; before the first, the initial weights."""
        return TaskWeights(self.names, self._sum / self.step) if self.step else self.weights

    @property
    def ema(self) -> TaskWeights:
        """The exponential moving average of α with coefficient 0.1, from the initial weights."""
        return TaskWeights(self.names, self._ema)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a step changes, as values that JSON keeps to the bit."""
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
            UserError: it is of other tasks, or of the same tasks in another order.
        """
        if list(state["names"]) != list(self.names):
            raise UserError(f"the saved weights are of tasks {state['names']}, not of {list(self.names)}; start anew")
        self.step = int(state["step"])
        self._log_alpha = np.array(state["log_alpha"], dtype=np.float64)
        self._sum = np.array(state["sum"], dtype=np.float64)
        self._ema = np.array(state["ema"], dtype=np.float64)
        self._last = np.array([math.nan if x is None else x for x in state["last"]], dtype=np.float64)
