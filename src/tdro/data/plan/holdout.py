"""Which rows train the reference (stage 0) and which are kept for stage 1.

A reference that has learned a small task by heart has almost no loss on its rows, and tDRO would then up-weight the
task for being small. ``held_out`` keeps a share of every task for stage 1 alone; ``cross_fit`` trains two references on
halves, and each scores the other's rows. The split is a pure function of (seed, task, row).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tdro.data.plan.permute import mix, permute

Ints = NDArray[np.int64]
_SPLIT = 21


def split_rows(sizes: Sequence[int], share: float, seed: int) -> tuple[list[Ints], list[Ints]]:
    """Split every task's rows in two: about ``share`` of them go to the second part, and each part gets at least one.

    A task with a single row has it in both parts.

    Args:
        sizes: how many rows each task has, k numbers.
        share: of each task's rows for the second part, between 0 and 1.
        seed: another seed gives another split.

    Returns:
        The rows of each task in the first part, and those in the second: k sorted arrays each.
    """
    first: list[Ints] = []
    second: list[Ints] = []
    for task, size in enumerate(sizes):
        order = permute(np.arange(size), size, mix(seed, _SPLIT, task))
        kept = min(max(round(size * (1 - share)), 1), max(size - 1, 1))
        first.append(np.sort(order[:kept]))
        second.append(np.sort(order[kept:] if size > 1 else order))
    return first, second


def part_of(parts: Sequence[Sequence[Ints]], sizes: Sequence[int]) -> list[Ints]:
    """Which part each row is in: an array of shape (rows,) for each task.

    A row of several parts counts as one of the last of them.

    Args:
        parts: the parts, each with one array of rows a task.
        sizes: how many rows each task has.
    """
    result = [np.zeros(size, dtype=np.int64) for size in sizes]
    for part_number, part in enumerate(parts):
        for task, rows in enumerate(part):
            result[task][rows] = part_number
    return result
