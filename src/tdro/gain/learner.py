"""GainLearner: moves the weights α of the tasks by a matrix of gains, once a round.

``A[g, h]`` is the share of its held-out loss that task h loses by a short training on task g. So a row says how much a
task helps the others (and itself), and a column by whom a task is helped. If there is a target, the columns are its
sets instead of the tasks. A round does three things:

1. the gain of each task is the mean of its row, or a weighted mean if the columns do not count equally;
2. ``log α`` moves by ``move / rounds`` times the standardised gain, and α is normalised;
3. each task gets an equal part of the share ``floor``: none dies out, since what helps changes as the training goes on.

The answer is the mean of α over the rounds. All of it is float64, and the state is nothing but the matrices and the α
of the rounds. See docs/decisions.md, gain-mean-of-rounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tdro.errors import UserError
from tdro.weights import TaskWeights


class GainLearner:
    """Holds α and the matrices of the rounds so far.

    Args:
        names: the tasks; rows and columns of a matrix come in this order.
        rounds: how many rounds there will be, at least 1.
        move: how far log α may move in all rounds together, in standard deviations of the gain; above 0.
        floor: the share that is dealt out equally, at least 0 and below 1.
        counts: (columns,) how much each column counts, not negative; None: all count equally.
        helped: what the columns are; None: the tasks.

    Raises:
        ValueError: a number out of its range.

    Example::

        learner = GainLearner(["news", "code"], rounds=10)
        learner.update([[0.03, 0.00], [0.01, 0.02]])  # news helps itself most, and harms nobody
        learner.mean  # the mean of α over the rounds

        towards = GainLearner(["news", "code"], counts=[0.7, 0.3], helped=["shop", "support"])
        towards.update([[0.03, 0.00], [0.01, 0.02]])  # news 0.021, code 0.013: news helps the target more
    """

    def __init__(
        self,
        names: Iterable[str],
        rounds: int = 10,
        move: float = 3.0,
        floor: float = 0.02,
        counts: ArrayLike | None = None,
        helped: Iterable[str] | None = None,
    ) -> None:
        self.names = TaskWeights.uniform(names).names
        self.helped = self.names if helped is None else tuple(helped)
        columns = len(self.helped)
        if rounds < 1 or not 0 < move < math.inf or not 0 <= floor < 1:
            raise ValueError(f"rounds {rounds} must be >= 1, move {move} above 0, floor {floor} at least 0 and below 1")
        share = np.ones(columns) if counts is None else np.array(counts, dtype=np.float64)
        if share.shape != (columns,) or not np.isfinite(share).all() or (share < 0).any() or not share.any():
            raise ValueError(f"counts must be {columns} numbers, not negative and not all 0")
        self.rounds, self.move, self.floor = rounds, move, floor
        self.shares = share / share.sum()
        self.matrices: list[NDArray[np.float64]] = []
        self.alphas: list[NDArray[np.float64]] = []

    def update(self, matrix: ArrayLike) -> TaskWeights:
        """Move α by the matrix of one round, and return it.

        Args:
            matrix: (k, columns) gains; rows: trained on, columns: helped.

        Raises:
            ValueError: another shape, a gain that is not finite, or more rounds than there should be. The state is then
                unchanged.
        """
        gains = np.array(matrix, dtype=np.float64)
        tasks, columns = len(self.names), len(self.helped)
        if gains.shape != (tasks, columns) or not np.isfinite(gains).all():
            raise ValueError(f"the gains must be {tasks} x {columns} finite numbers")
        if len(self.alphas) >= self.rounds:
            raise ValueError(f"all {self.rounds} rounds are done")
        moved = np.log(self.weights.values) + self.move / self.rounds * standardised(gains @ self.shares)
        alpha = np.exp(moved - moved.max())
        alpha = (1 - self.floor) * alpha / alpha.sum() + self.floor / tasks
        self.matrices.append(gains)
        self.alphas.append(alpha)
        return self.weights

    @property
    def weights(self) -> TaskWeights:
        """α after the last round; before the first, uniform."""
        return TaskWeights(self.names, self.alphas[-1]) if self.alphas else TaskWeights.uniform(self.names)

    @property
    def mean(self) -> TaskWeights:
        """The mean of α over the rounds so far; before the first, uniform."""
        return TaskWeights(self.names, np.mean(self.alphas, axis=0)) if self.alphas else self.weights

    def state_dict(self) -> dict[str, Any]:
        """Everything that a round changes, as values that JSON keeps to the bit."""
        return {
            "names": list(self.names),
            "alphas": [alpha.tolist() for alpha in self.alphas],
            "matrices": [matrix.tolist() for matrix in self.matrices],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            UserError: it is of other tasks, or of the same tasks in another order.
        """
        if list(state["names"]) != list(self.names):
            raise UserError(f"the saved gains are of tasks {state['names']}, not of {list(self.names)}; start anew")
        self.alphas = _arrays(state["alphas"])
        self.matrices = _arrays(state["matrices"])


def standardised(gain: NDArray[np.float64]) -> NDArray[np.float64]:
    """``gain`` with mean 0 and standard deviation 1; all 0 where the tasks do not differ by more than rounding."""
    spread = float(gain.std())
    if spread <= 1e-12 * max(1.0, float(np.abs(gain).max())):
        return np.zeros_like(gain)
    return (gain - gain.mean()) / spread


def _arrays(values: Sequence[Any]) -> list[NDArray[np.float64]]:
    return [np.array(value, dtype=np.float64) for value in values]
