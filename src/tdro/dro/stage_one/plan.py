"""The plan of stage 1: which rows the references and the proxy read, and which reference scores which row.

It follows from the recipe's ``weights`` section, the sizes of the tasks and the seed alone. :func:`plan_stage_one`
works it out once; training the references, scoring, learning and ``tdro plan`` all read the same value.

=================  =====================================  ===============================  =========================
``stage1_rows``    rows that a reference is trained on    rows that the proxy reads        who scores a row
=================  =====================================  ===============================  =========================
``all``            all                                    all                              the one reference
``held_out``       all but the held-out share             the held-out share               the one reference
``cross_fit``      two references, each on one half       all                              the other half's reference
=================  =====================================  ===============================  =========================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tdro.data.plan.holdout import part_of, split_rows
from tdro.data.plan.row_plans import MixedPlan, StepRows
from tdro.recipe.training_sections import LearnWeights

Ints = NDArray[np.int64]
RowsByTask = list[Ints]  # an array of row numbers for each task


@dataclass(frozen=True)
class StageOnePlan:
    """Who reads which rows in stages 0 and 1.

    Attributes:
        sizes: how many rows each task has, k numbers.
        reference_rows: for each reference, the rows of each task that it is trained on; None for all of them.
        proxy_rows: the rows of each task that stage 1 reads; None for all of them.
        batches: the rows of each step of stage 1. Its row numbers count within ``proxy_rows``.
    """

    sizes: tuple[int, ...]
    reference_rows: tuple[RowsByTask | None, ...]
    proxy_rows: RowsByTask | None
    batches: MixedPlan

    @property
    def reference_sizes(self) -> list[list[int]]:
        """For each reference, how many rows of each task it may be trained on."""
        return [_sizes(rows, self.sizes) for rows in self.reference_rows]

    @property
    def proxy_sizes(self) -> list[int]:
        """How many rows of each task stage 1 may read."""
        return _sizes(self.proxy_rows, self.sizes)

    @property
    def cross_fits(self) -> bool:
        """Whether every row is scored by a reference that was not trained on it."""
        return len(self.reference_rows) > 1

    def first(self, steps: int) -> MixedPlan:
        """The plan's first steps, as a plan."""
        plan = self.batches
        return MixedPlan(self.proxy_sizes, plan.batch, steps, plan.seed, plan.sampling)

    def reference_of(self, rows: StepRows) -> Ints:
        """Which reference scores each of some rows, numbered within the whole tasks: shape (rows,)."""
        if not self.cross_fits:
            return np.zeros(len(rows), dtype=np.int64)
        half = self._half_of_row
        return np.asarray([1 - half[task][row] for task, row in zip(rows.task, rows.row, strict=True)], dtype=np.int64)

    @cached_property
    def _half_of_row(self) -> RowsByTask:
        return part_of([rows for rows in self.reference_rows if rows is not None], self.sizes)


def reference_count(settings: LearnWeights) -> int:
    """How many references stage 1 needs; this is known before any data is read."""
    return 2 if settings.stage1_rows == "cross_fit" else 1


def plan_stage_one(settings: LearnWeights, sizes: Sequence[int], seed: int) -> StageOnePlan:
    """Work out the plan of stage 1.

    Args:
        settings: the recipe's ``weights`` section.
        sizes: how many rows each task has.
        seed: the recipe's.
    """
    reference_rows: tuple[RowsByTask | None, ...] = (None,)
    proxy_rows = None
    if settings.stage1_rows == "held_out":
        kept, proxy_rows = split_rows(sizes, settings.held_out_share, seed)
        reference_rows = (kept,)
    elif settings.stage1_rows == "cross_fit":
        reference_rows = split_rows(sizes, 0.5, seed)
    batches = MixedPlan(_sizes(proxy_rows, sizes), settings.batch, settings.steps, seed, settings.sampling)
    return StageOnePlan(tuple(sizes), reference_rows, proxy_rows, batches)


def _sizes(rows: RowsByTask | None, sizes: Sequence[int]) -> list[int]:
    return list(sizes) if rows is None else [len(each) for each in rows]
