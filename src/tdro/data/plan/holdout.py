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
    """Split every task's rows in two: about ``share`` of each in the second part, at least one row in both.

    A task with a single row has it in both parts; there is nothing to hold back.
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
    """For each task and row, which of the parts holds it (the last one that does); shape (rows,) per task."""
    result = [np.zeros(size, dtype=np.int64) for size in sizes]
    for number, part in enumerate(parts):
        for task, rows in enumerate(part):
            result[task][rows] = number
    return result
