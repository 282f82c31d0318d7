"""From a row's ranked candidates to its negatives: ranks, chance, and passages that no search found.

Chance is a function of (seed, task, row), so that a row's negatives do not depend on which other rows were mined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tdro.files import fingerprint
from tdro.mining.mining_settings import MiningSettings


class NegativeChooser:
    """Chooses a row's negatives.

    Args:
        settings: how.
        passages: how many there are.
        rows: of the task.
        seed: of all chance.
        name: of the task.
    """

    def __init__(self, settings: MiningSettings, passages: int, rows: int, seed: int, name: str) -> None:
        self._settings, self._passages = settings, passages
        self._key = int(fingerprint([seed, name]), 16)
        if settings.random:
            # More than needed, for some will be barred; a fixed number of draws a row keeps the rows independent.
            draws = np.random.default_rng(self._key).random((rows, 2 * settings.per_row + 8))
            self._draws: NDArray[np.int64] = np.minimum((draws * passages).astype(np.int64), passages - 1)

    def pick(
        self, row: int, missing: int, ranked: Sequence[int], barred: set[int], is_answer: Callable[[int], bool]
    ) -> list[int]:
        """Up to ``missing`` different passages, the hard ones first.

        Args:
            row: its number in the task.
            missing: how many it lacks.
            ranked: candidates, best first, none of them barred.
            barred: what is never taken by chance either,
            is_answer: nor is a passage of which this is true.
        """
        settings = self._settings
        hard = list(ranked)
        wanted = settings.hard(missing)
        if settings.draw == "random" and len(hard) > wanted:
            chosen = np.random.default_rng([self._key, row]).choice(len(hard), wanted, replace=False)
            hard = [hard[place] for place in sorted(chosen)]
        hard = hard[:wanted]
        if settings.random:
            hard += self._by_chance(row, missing - len(hard), barred.union(hard), is_answer)
        return hard

    def _by_chance(self, row: int, count: int, barred: set[int], is_answer: Callable[[int], bool]) -> list[int]:
        """``count`` different passages that are neither barred nor answers, or all there are."""
        chosen: dict[int, None] = {}
        for index in self._sequence(row):
            if len(chosen) >= count:
                break
            if index not in barred and index not in chosen and not is_answer(index):
                chosen[index] = None
        return list(chosen)

    def _sequence(self, row: int) -> Iterable[int]:
        drawn = self._draws[row].tolist()
        yield from drawn
        yield from ((drawn[0] + step) % self._passages for step in range(self._passages))


def alternate(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """Two rankings as one: the best of the first, the best of the second, the next of the first; each passage once."""
    merged: dict[int, None] = {}
    for place in range(max(len(one), len(other))):
        for ranked in (one, other):
            if place < len(ranked):
                merged.setdefault(ranked[place])
    return list(merged)
