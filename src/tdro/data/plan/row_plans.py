"""The rows of step t: a pure function of (seed, step).

So a plan has no state to save: a run that was stopped at step t asks for step t; each rank takes its slice of the step;
the reference can score rows ahead of training; and two runs that differ only in η read the same rows. A row is not read
again before all rows of its task were read, and each pass over a task has another order. See docs/decisions.md,
plans-without-state.

:class:`MixedPlan` has rows of all tasks in a step (stage 1), :class:`HomogeneousPlan` rows of one task (stages 0 and
2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tdro.data.plan.permute import mix, permute

Ints = NDArray[np.int64]
# Separate streams for the separate uses of one seed. Mixed and homogeneous plans shuffle differently: with one order,
# stage 1 would read exactly the rows that the reference has been trained on.
_MIXED_ROWS, _HOMOGENEOUS_ROWS, _PICKS, _TASKS = 1, 2, 3, 4


@dataclass(frozen=True)
class StepRows:
    """The rows of one step, in the order of the batch; all arrays have shape (B,).

    Attributes:
        task: the number of each row's task.
        row: the row's place in its task.
        visit: how many times all rows of its task had been read before. This is the task's epoch, counted from 0.
    """

    task: Ints
    row: Ints
    visit: Ints

    def __len__(self) -> int:
        return len(self.task)


class Plan(Protocol):
    """What the trainer and the reference need: a plan tells the rows of any step, and is asked in any order."""

    seed: int
    steps: int
    batch: int

    def step(self, step: int) -> StepRows:
        """The rows of a step."""
        ...


def _rows(seed: int, stream: int, task: Ints, ordinal: Ints, sizes: Ints) -> StepRows:
    """The rows that tasks give as their ``ordinal``-th ones, counted from the start of the training.

    Example: a task of 10 rows gives its ordinals 0 to 9 in its first pass (``visit`` 0) and 10 to 19 in its second.
    """
    size = sizes[task]
    visit = ordinal // size
    row = permute(ordinal % size, size, mix(seed, stream, task, visit))
    return StepRows(task, row, visit)


def pick(seed: int, rows: StepRows, counts: Ints, wanted: int, column: int = 0) -> Ints:
    """Choose ``wanted`` of each row's passages.

    Most rows have enough passages. They get a random subset without repetition (Floyd's algorithm, over the whole batch
    at once), and another subset at each visit. A row with too few gets all of them, and then again from the first: with
    2 passages and 5 wanted, it gets 0, 1, 0, 1, 0. The choice is a pure function of the arguments.

    Args:
        seed: the plan's seed.
        rows: the rows of a step, B of them.
        counts: how many passages each row has, (B,).
        wanted: how many to choose.
        column: 0 for positives, 1 for negatives, so that the two are chosen independently.

    Returns:
        The places of the chosen passages among the row's passages, (B, wanted); -1 in a row that has none.
    """
    key = mix(seed, _PICKS, column, rows.task, rows.row, rows.visit)
    places = np.full((len(rows), wanted), -1, dtype=np.int64)
    enough = np.maximum(counts, wanted)
    for turn in range(wanted):
        newest = enough - wanted + turn
        drawn = (mix(key, turn) % (newest + 1).astype(np.uint64)).astype(np.int64)
        repeated = (places[:, :turn] == drawn[:, None]).any(axis=1)
        places[:, turn] = np.where(repeated, newest, drawn)
    few = (counts < wanted)[:, None]
    in_turn = np.arange(wanted)[None, :] % np.maximum(counts, 1)[:, None]
    places = np.where(few, in_turn, places)
    return np.where(counts[:, None] > 0, places, -1)


class MixedPlan:
    """Rows of all tasks together (stage 1).

    Example::

        plan = MixedPlan(sizes=[1200, 300], batch=64, steps=1000, seed=1)
        rows = plan.step(7)  # the same rows whenever it is asked
        rows.task, rows.row  # which task and which of its rows, int64 [64] each: 32 of task 0 and 32 of task 1

    ``stratified`` deals the rows of a step out to the k tasks in turn, and goes on with the next task in the next step.
    So each task has ⌊B/k⌋ or ⌈B/k⌉ rows in a step, and over k steps all have equally many. ``random`` draws the task of
    each row uniformly, as the paper does: equally many on average, with more noise.

    Args:
        sizes: how many rows each task has, k numbers of at least 1.
        batch: B, the rows of a step, over all ranks.
        steps: how many steps there are.
        seed: another seed gives another order.
        sampling: ``stratified`` or ``random``.

    Raises:
        ValueError: no task, an empty task, or a batch or a number of steps below 1.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        batch: int,
        steps: int,
        seed: int,
        sampling: Literal["stratified", "random"] = "stratified",
    ) -> None:
        self.sizes = _checked(sizes, batch, steps)
        self.batch, self.steps, self.seed, self.sampling = batch, steps, seed, sampling
        # For ``random`` only, to make the next step fast: the last step, and how many rows each task gave before it.
        self._counted: tuple[int, Ints] = (0, np.zeros(len(self.sizes), dtype=np.int64))

    def step(self, step: int) -> StepRows:
        """The rows of a step, 0 <= step. It takes time O(B + k) if steps are asked for in order."""
        if self.sampling == "stratified":
            slot = np.arange(step * self.batch, (step + 1) * self.batch, dtype=np.int64)
            return _rows(self.seed, _MIXED_ROWS, slot % len(self.sizes), slot // len(self.sizes), self.sizes)
        task = self._drawn_tasks(step)
        before = self._rows_before(step)
        return _rows(self.seed, _MIXED_ROWS, task, before[task] + occurrence(task), self.sizes)

    def _drawn_tasks(self, step: int) -> Ints:
        """The task of each row of a step, drawn uniformly, (B,)."""
        slots = np.arange(self.batch)
        return (mix(self.seed, _TASKS, step, slots) % np.uint64(len(self.sizes))).astype(np.int64)

    def _rows_before(self, step: int) -> Ints:
        """How many rows each task gave in the steps before this one, (k,)."""
        known, counts = self._counted
        if step < known:
            known, counts = 0, np.zeros(len(self.sizes), dtype=np.int64)
        for earlier in range(known, step):
            counts = counts + np.bincount(self._drawn_tasks(earlier), minlength=len(self.sizes))
        self._counted = (step, counts)
        return counts


class HomogeneousPlan:
    """All rows of a step from one task (stages 0 and 2), so that in-batch negatives come from the same task.

    Example::

        tasks = draw_tasks(np.array([0.75, 0.25]), steps=1000, seed=1)  # 750 steps of task 0, 250 of task 1
        plan = HomogeneousPlan(sizes=[1200, 300], batch=64, tasks=tasks, seed=1)
        plan.step(7).row  # 64 rows of the task tasks[7]

    Args:
        sizes: how many rows each task has, k numbers of at least 1.
        batch: B, the rows of a step, over all ranks. A task with fewer rows is gone through more than once in a step.
        tasks: the task of each step, int64 (steps,), as :func:`tdro.data.plan.task_order.draw_tasks` gives it.
        seed: another seed gives another order.

    Raises:
        ValueError: no task, an empty task, no step, or a batch below 1.
    """

    def __init__(self, sizes: Sequence[int], batch: int, tasks: Ints, seed: int) -> None:
        self.sizes = _checked(sizes, batch, len(tasks))
        self.batch, self.steps, self.seed, self.tasks = batch, len(tasks), seed, tasks
        self._turn = occurrence(tasks)

    def step(self, step: int) -> StepRows:
        """The rows of a step, 0 <= step < steps."""
        ordinal = self._turn[step] * self.batch + np.arange(self.batch, dtype=np.int64)
        return _rows(self.seed, _HOMOGENEOUS_ROWS, np.full(self.batch, self.tasks[step]), ordinal, self.sizes)


def occurrence(values: Ints) -> Ints:
    """For each entry, how many equal ones stand before it: ``[3, 5, 3, 3]`` gives ``[0, 0, 1, 2]``."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.searchsorted(ordered, ordered, side="left")
    result = np.empty(len(values), dtype=np.int64)
    result[order] = np.arange(len(values)) - first
    return result


def _checked(sizes: Sequence[int], batch: int, steps: int) -> Ints:
    """The sizes as an array, after checking all three."""
    array = np.asarray(sizes, dtype=np.int64)
    if len(array) == 0 or (array < 1).any():
        raise ValueError("a plan needs at least one task, and each task at least one row")
    if batch < 1 or steps < 1:
        raise ValueError(f"a plan needs a batch and steps of at least 1, not {batch} and {steps}")
    return array
