"""From the ranked candidates of a row to its negatives: the best ones, some at random, some from all passages.

What is drawn at random depends on the seed, the task's name and the row's place alone, so the negatives of a row do not
depend on which other rows are mined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tdro.files import fingerprint
from tdro.mining.mining_settings import MiningSettings


class NegativeChooser:
    """Chooses the negatives of a task's rows.

    Args:
        settings: how.
        passages: how many passages there are.
        rows: how many rows the task has.
        seed: of everything that is drawn.
        task: the task's name.
    """

    def __init__(self, settings: MiningSettings, passages: int, rows: int, seed: int, task: str) -> None:
        self._settings, self._passages = settings, passages
        self._seed = int(fingerprint([seed, task]), 16)
        if settings.random:
            # Each row has the same number of draws, so rows do not depend on each other. Some draws will be barred, so
            # there are more than a row needs.
            draws = np.random.default_rng(self._seed).random((rows, 2 * settings.per_row + 8))
            self._draws: NDArray[np.int64] = np.minimum((draws * passages).astype(np.int64), passages - 1)

    def choose(
        self, row: int, missing: int, ranked: Sequence[int], barred: set[int], is_answer: Callable[[int], bool]
    ) -> list[int]:
        """Up to ``missing`` different passages; those that the search found come first.

        Args:
            row: its place in the task.
            missing: how many negatives it lacks.
            ranked: candidates, best first, none of them barred.
            barred: passages that may not be drawn from all passages either.
            is_answer: whether a passage is a copy of an answer; such passages are not drawn either.
        """
        settings = self._settings
        chosen = list(ranked)
        wanted = settings.hard(missing)
        if settings.draw == "random" and len(chosen) > wanted:
            kept = np.random.default_rng([self._seed, row]).choice(len(chosen), wanted, replace=False)
            chosen = [chosen[place] for place in sorted(kept)]
        chosen = chosen[:wanted]
        if settings.random:
            chosen += self._drawn(row, missing - len(chosen), barred.union(chosen), is_answer)
        return chosen

    def _drawn(self, row: int, count: int, barred: set[int], is_answer: Callable[[int], bool]) -> list[int]:
        """``count`` different passages that are neither barred nor answers; fewer if there are no more."""
        chosen: dict[int, None] = {}
        for passage in self._random_order(row):
            if len(chosen) >= count:
                break
            if passage not in barred and passage not in chosen and not is_answer(passage):
                chosen[passage] = None
        return list(chosen)

    def _random_order(self, row: int) -> Iterator[int]:
        """The row's draws, then all passages from the first draw on: enough where most passages are barred."""
        drawn = self._draws[row].tolist()
        yield from drawn
        yield from ((drawn[0] + step) % self._passages for step in range(self._passages))


def alternate(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """Two rankings as one: the best of the first, the best of the second, the next of the first; each passage once."""
    merged: dict[int, None] = {}
    for rank in range(max(len(one), len(other))):
        for ranked in (one, other):
            if rank < len(ranked):
                merged.setdefault(ranked[rank])
    return list(merged)
