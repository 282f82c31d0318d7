"""Which rows of each task are kept from training, so that losses can be measured on them.

A pure function of (seed, task, number of rows). The rows are those of the training tasks; no test set is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tdro.data.plan.permute import mix, permute

Ints = NDArray[np.int64]
SHARE = 5  # at most one row in so many is held out
_HELD_OUT = 22  # the stream of the seed, see tdro.data.plan.row_plans


def hold_out(sizes: Sequence[int], most: int, seed: int) -> tuple[list[Ints], list[Ints]]:
    """Split the rows of every task into those that are trained on and those that are held out.

    At most ``most`` rows and at most a fifth of a task are held out, but at least one row. So of 10,000 rows with
    ``most`` 256 it is 256, of 100 rows 20, of 3 rows one. A task with a single row has it in both parts.

    Args:
        sizes: how many rows each task has, at least 1.
        most: the most rows of a task to hold out, at least 1.
        seed: which rows.

    Returns:
        for each task its rows to train on, and its rows that are held out, both sorted.
    """
    trained, held = [], []
    for task, size in enumerate(sizes):
        order = permute(np.arange(size), size, mix(seed, _HELD_OUT, task))
        count = max(1, min(most, size // SHARE))
        held.append(np.sort(order[:count]))
        trained.append(np.sort(order[count:] if size > 1 else order))
    return trained, held
