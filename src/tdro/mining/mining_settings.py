"""What to mine: the settings that a recipe's ``data.negatives`` and the options of ``tdro data mine`` both become."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tdro.errors import UserError

By = Literal["bm25", "dense", "both"]


@dataclass(frozen=True)
class MiningSettings:
    """How negatives are chosen; see :mod:`tdro.mining.mine_task`.

    Attributes:
        by: what finds the candidates: BM25, an embedding model ("dense"), or both in turn.
        per_row: how many negatives each row should have in the end. A row that has as many already keeps its own.
        ranks: the first and the last rank of the candidates that are taken, from 1. Answers and passages within the
            margins have no rank.
        margin: a passage is left out if it scores higher than the positive's score minus this. The score is the
            model's similarity (for most models the cosine), or BM25's. None: no such limit.
        relative_margin: a passage is left out if it scores higher than the positive's score minus this share of it.
            With 0.05 and a positive of 0.8 the limit is 0.76; the share is of the absolute value, since a cosine may be
            negative and a distance counts as a negative score. None: no such limit.
        draw: take the best of these ranks, or draw among them.
        random: take half of the missing negatives from all passages at random, and all that the search does not find:
            if all its negatives are hard, a weak model gets worse. False: only what the search finds.

    Raises:
        UserError: a value is out of its range, or ``ranks`` are fewer than ``per_row``.

    Example::

        MiningSettings("dense", per_row=4, ranks=(10, 50), draw="random")
    """

    by: By = "dense"
    per_row: int = 8
    ranks: tuple[int, int] = (1, 50)
    margin: float | None = None
    relative_margin: float | None = 0.05
    draw: Literal["best", "random"] = "best"
    random: bool = False

    def __post_init__(self) -> None:
        first, last = self.ranks
        if self.per_row < 1:
            raise UserError(f"mining negatives: per_row must be at least 1, found {self.per_row}")
        if not 1 <= first <= last:
            raise UserError(f"mining negatives: ranks must be FROM-TO with 1 <= FROM <= TO, found {first}-{last}")
        for name, value in (("margin", self.margin), ("relative_margin", self.relative_margin)):
            if value is not None and not 0 <= value < float("inf"):
                raise UserError(f"mining negatives: {name} must be at least 0, found {value}")
        if not self.random and last - first + 1 < self.per_row:
            raise UserError(
                f"mining negatives: ranks {first}-{last} are fewer than a row's {self.per_row} negatives; widen them"
            )

    @property
    def dense(self) -> bool:
        """Whether an embedding model is needed."""
        return self.by != "bm25"

    def hard(self, missing: int) -> int:
        """How many of a row's missing negatives come from the search; the others are drawn from all passages."""
        return math.ceil(missing / 2) if self.random else missing

    def compared(self, missing: int) -> int:
        """How many of a row's best candidates are compared with its answers.

        These are the ones that may become negatives, or whose removal changes which others do; the rest need not be
        compared.
        """
        first, last = self.ranks
        return last if self.draw == "random" or self.by == "both" else min(first - 1 + self.hard(missing), last)

    def limits(self, positive: NDArray[np.float32]) -> NDArray[np.float32]:
        """The highest score that a negative may have, for each positive's score; same shape."""
        limits = np.full(positive.shape, np.inf, np.float32)
        if self.margin is not None:
            limits = np.minimum(limits, positive - np.float32(self.margin))
        if self.relative_margin is not None:
            kept = np.where(positive >= 0, 1 - self.relative_margin, 1 + self.relative_margin).astype(np.float32)
            limits = np.minimum(limits, positive * kept)
        return limits
