"""Which task each step of stages 0 and 2 reads, so that over the run the tasks get their weights.

``systematic`` gives each task its share of the steps, spread evenly over the run from a random start. With 400 steps, a
weight of 1/16 is 25 steps; a share that is no whole number is rounded up or down so that the sum is right. Two runs
that differ in weights differ in nothing else. ``random`` draws the task of each step by itself, as the paper does. The
same weight then gets 25 ± 5 steps, which is noise that a comparison of mixtures does not need.

The last steps may be uniform whatever the weights are. See docs/decisions.md, uniform-last.
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
    uniform_last: int = 0,
) -> NDArray[np.int64]:
    """The task of every step, shape (steps,): a pure function of the arguments.

    Args:
        weights: shape (k,), not negative, summing to 1.
        steps: how many steps there will be.
        seed: another seed gives another order.
        how: ``systematic`` or ``random``.
        most: shape (k,), the most steps that each task may have; None for no limit. Steps above a task's limit go to
            the other tasks.
        uniform_last: so many of the last steps are those of uniform weights.

    Raises:
        ValueError: all limits together are fewer than ``steps`` (``systematic`` only); or ``uniform_last`` is negative
            or more than ``steps``, or given together with ``most``.

    Example::

        draw_tasks(np.array([0.75, 0.25]), steps=4, seed=1)  # three times 0 and once 1, in some order
        draw_tasks(np.array([0.75, 0.25]), steps=8, seed=1, uniform_last=4)
        # such four steps, then those that a training with uniform weights and this seed reads in its last 4 of 8 steps
    """
    weights = np.asarray(weights, dtype=np.float64)
    if uniform_last:
        if most is not None or not 0 < uniform_last <= steps:
            raise ValueError(f"uniform_last must be 0 to {steps}, without a limit on steps; it is {uniform_last}")
        even = draw_tasks(np.full(len(weights), 1 / len(weights)), steps, seed, how)
        if (weights == weights[0]).all():  # nothing changes, so uniform is the same training with and without them
            return even
        first = draw_tasks(weights, steps - uniform_last, seed, how)
        return np.concatenate([first, even[steps - uniform_last :]])
    if how == "random":
        tasks = _random(weights, mix(seed, _STEPS, np.arange(steps)))
        return tasks if most is None else _redraw_above_limits(tasks, weights, most, seed)
    counts = step_counts(weights, steps, seed, most)
    task = np.repeat(np.arange(len(weights)), counts)
    turn = np.concatenate([np.arange(count) for count in counts]) if len(counts) else np.zeros(0)
    phase = _uniform(mix(seed, _PHASE, task))
    when = (turn + phase) / counts[task]
    return task[np.lexsort((mix(seed, _TIES, task, turn), when))].astype(np.int64)


def step_counts(
    weights: NDArray[np.float64], steps: int, seed: int, most: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """How many of ``steps`` each task gets, shape (k,).

    Shares are rounded down, and the steps that are left go to the tasks with the largest remainders; ``seed`` decides
    between equal ones. Example: of 10 steps, weights 0.56 and 0.44 get 5.6 and 4.4, so 6 and 4. No task gets more than
    ``most``; what is over goes to the others, first to those that are furthest below their share.

    Raises:
        ValueError: all limits together are fewer than ``steps``.
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
    """The most batches of each task that do not read its rows more than ``max_epochs`` times, shape (k,).

    None if there is no limit. Example: 1,000 rows, a batch of 64 and 2 epochs are at most 31 batches.
    """
    if max_epochs is None:
        return None
    return np.floor(max_epochs * np.asarray(sizes, dtype=np.float64) / batch + 1e-9).astype(np.int64)


def _random(weights: NDArray[np.float64], bits: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Draw a task for each random number (64 bits each), by the weights."""
    edges = np.cumsum(weights) / weights.sum()
    places = np.searchsorted(edges, _uniform(bits), side="right")
    # Rounding may leave the last edge a hair below 1: such a draw belongs to the last task that has weight.
    return np.minimum(places, np.flatnonzero(weights)[-1]).astype(np.int64)


def _redraw_above_limits(
    tasks: NDArray[np.int64], weights: NDArray[np.float64], most: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """Draw those steps again that are above their task's limit, until there are none."""
    tasks, turn = tasks.copy(), 0
    while True:
        over = np.flatnonzero(occurrence(tasks) >= most[tasks])
        if not len(over):
            return tasks
        turn += 1
        room = weights * (np.bincount(tasks, minlength=len(most)) < most)
        tasks[over] = _random(room, mix(seed, _AGAIN, turn, over))


def _uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Turn random 64-bit integers into floats in [0, 1)."""
    return (bits >> np.uint64(11)).astype(np.float64) / _UNIT
