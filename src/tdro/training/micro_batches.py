"""Where a batch that is sorted by length is cut into micro-batches, so that little padding is left.

A batch of mixed tasks has many short texts and a few long ones. Cut into micro-batches of equally many rows, its first
one might run from 128 tokens down to 60, and a fifth of what goes through the model is padding. Here the cuts stand
where they save most, which halves that. Two things are as with equal cuts: the number of micro-batches, so that all
ranks run equally many forward passes, and the bound on a micro-batch's padded tokens, and so on memory. See
docs/decisions.md, cuts-by-shortest-path.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# With more micro-batches than this, equal cuts leave so little padding that a search does not pay.
_MOST_SEARCHED = 128


def micro_batches(lengths: NDArray[np.int64], size: int) -> list[int]:
    """The number of rows of each micro-batch: ⌈n / size⌉ numbers, chosen so that the least padding is left.

    Args:
        lengths: the number of tokens of each text, falling; shape (n,), n >= 1.
        size: rows of a micro-batch if all had equally many. No micro-batch has more than ``size * lengths[0]`` tokens,
            padding included.

    Example::

        micro_batches(np.array([100, 100, 10, 10, 10, 10]), size=3)  # [2, 4]
    """
    count = -(-len(lengths) // size)
    equal = np.append(np.arange(0, len(lengths), size), len(lengths))
    if not 1 < count <= _MOST_SEARCHED:
        return np.diff(equal).tolist()
    # Cuts can save padding only where the length changes. The equal cuts are among them, so there is always a solution.
    cuts = np.union1d(equal, np.flatnonzero(np.diff(lengths)) + 1)
    rows = cuts[None, :] - cuts[:, None]
    padded = np.append(lengths, 0)[cuts][:, None] * rows
    allowed = (rows > 0) & (padded <= size * lengths[0])
    cost = np.where(allowed, padded, np.inf)
    # The shortest path from the first cut to the last in exactly ``count`` steps; cost[a, b] is a step from cut a to b.
    best, came_from = cost[0], []
    for _ in range(count - 1):
        total = best[:, None] + cost
        came_from.append(total.argmin(axis=0))
        best = total.min(axis=0)
    path = [len(cuts) - 1]
    for before in reversed(came_from):
        path.append(int(before[path[-1]]))
    return np.diff(cuts[[0, *reversed(path)]]).tolist()
