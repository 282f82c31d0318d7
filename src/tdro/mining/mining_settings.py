"""What to mine, as a value: the recipe's keys and the command's options both become it."""

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
        by: who finds candidates: BM25, an embedding model, or both in turn.
        per_row: negatives that a row has in the end. Rows that have as many keep theirs.
        ranks: the first and the last rank that is taken from, counted from 1 over what is left once answers and
            passages within the margins are out.
        margin: leave out what scores above the positive less this; the model's similarity (for most the cosine), or
            BM25's score. None: no such limit.
        relative_margin: leave out what scores above the positive less this share of it (of its absolute value, for a
            cosine may be negative, and a distance counts as a negative score). None: no such limit.
        draw: the best of these ranks, or any of them by chance.
        random: take half of what a row lacks, and whatever the search does not give, from all passages by chance; for
            negatives that are all hard make a weak model worse. False: what the search gives, and no more.

    Raises:
        UserError: settings that cannot be.
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
        """How many of a row's missing negatives are the search's; the others are drawn from all passages."""
        return math.ceil(missing / 2) if self.random else missing

    def looked_at(self, missing: int) -> int:
        """How many of a row's best candidates can come among its negatives or change which do: so many are compared
        with its answers."""
        first, last = self.ranks
        return last if self.draw == "random" or self.by == "both" else min(first - 1 + self.hard(missing), last)

    def limits(self, positive: NDArray[np.float32]) -> NDArray[np.float32]:
        """The highest score that a negative may have, for each positive's score; shape as given."""
        limits = np.full(positive.shape, np.inf, np.float32)
        if self.margin is not None:
            limits = np.minimum(limits, positive - np.float32(self.margin))
        if self.relative_margin is not None:
            kept = np.where(positive >= 0, 1 - self.relative_margin, 1 + self.relative_margin).astype(np.float32)
            limits = np.minimum(limits, positive * kept)
        return limits
