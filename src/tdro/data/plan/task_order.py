"""Which task each step of stages 0 and 2 reads, so that over the run the tasks get their weights.

``systematic`` gives each task its share of the steps (rounded by largest remainders), spread evenly over the run from a
random start. The counts are never more than one off ``weight × steps``, and two runs that differ in weights differ in
nothing else. ``random`` draws each step by itself, as the paper does: at 400 steps and a weight of 1/16 that is 25 ± 5
steps, noise that a comparison of mixtures does not need.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tdro.data.plan.permute import mix
from tdro.data.plan.row_plans import occurrence

_STEPS, _PHASE, _TIES, _AGAIN = 11, 12, 13, 14
_UNIT = float(2**53)


def draw_tasks(
    weights: NDArray[np.float64],
    steps: int,
    seed: int,
    how: Literal["systematic", "random"] = "systematic",
    most: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """The task of every step, shape (steps,): a pure function of the arguments.

    Args:
        weights: shape (k,), not negative, summing to 1.
        steps: how many batches there will be.
        seed: separates runs.
        how: ``systematic`` or ``random``.
        most: shape (k,), the most steps of each task; what is over goes to the others. Together they must be enough.
    """
    weights = np.asarray(weights, dtype=np.float64)
    if how == "random":
        tasks = _random(weights, mix(seed, _STEPS, np.arange(steps)))
        return tasks if most is None else _within(tasks, weights, most, seed)
    counts = step_counts(weights, steps, seed, most)
    task = np.repeat(np.arange(len(weights)), counts)
    turn = np.concatenate([np.arange(count) for count in counts]) if len(counts) else np.zeros(0)
    phase = _uniform(mix(seed, _PHASE, task))
    when = (turn + phase) / counts[task]
    return task[np.lexsort((mix(seed, _TIES, task, turn), when))].astype(np.int64)


def step_counts(
    weights: NDArray[np.float64], steps: int, seed: int, most: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """How many of ``steps`` each task gets, shape (k,): the largest remainders are rounded up, ties by ``seed``.

    No task gets more than ``most``; what is then left goes to the others, again the furthest below its share first.
    """
    weights = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    exact = weights * steps
    limit = np.where(weights > 0, np.full(len(weights), steps) if most is None else most, 0)
    counts = np.minimum(np.floor(exact).astype(np.int64), limit)
    while left := steps - int(counts.sum()):
        room = counts < limit
        if not room.any():
            raise ValueError(f"{steps} steps, but the tasks may have {counts.sum()} together")
        remainder = np.where(room, exact - counts, -np.inf)
        order = np.lexsort((mix(seed, _TIES, np.arange(len(weights))), -np.round(remainder, 12)))
        counts[order[: min(left, int(room.sum()))]] += 1
    return counts


def most_steps(sizes: ArrayLike, batch: int, max_epochs: float | None) -> NDArray[np.int64] | None:
    """How many batches of each task are at most ``max_epochs`` of its rows, shape (k,); None without a limit."""
    if max_epochs is None:
        return None
    return np.floor(max_epochs * np.asarray(sizes, dtype=np.float64) / batch + 1e-9).astype(np.int64)


def _random(weights: NDArray[np.float64], bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    edges = np.cumsum(weights) / weights.sum()
    places = np.searchsorted(edges, _uniform(bits), side="right")
    # Rounding may leave the last edge a hair below 1: such a draw belongs to the last task that has weight.
    return np.minimum(places, np.flatnonzero(weights)[-1]).astype(np.int64)


def _within(
    tasks: NDArray[np.int64], weights: NDArray[np.float64], most: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """The tasks with those steps drawn again that are more than a task may have."""
    tasks, turn = tasks.copy(), 0
    while True:
        over = np.flatnonzero(occurrence(tasks) >= most[tasks])
        if not len(over):
            return tasks
        turn += 1
        room = weights * (np.bincount(tasks, minlength=len(most)) < most)
        tasks[over] = _random(room, mix(seed, _AGAIN, turn, over))


def _uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """64-bit integers to floats in [0, 1)."""
    return (bits >> np.uint64(11)).astype(np.float64) / _UNIT
