"""How well the references and the untrained base do on each task: what stage 1 is warned by before it starts.

A reference that is no better than the untrained base makes the measure meaningless, and one that knows the rows by
heart makes it explode. So the loss of each task is worked out for the untrained base, for rows that the reference
was trained on, and for rows that it was not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tdro.data.plan.row_plans import StepRows
from tdro.dro.infonce import infonce_from_similarities
from tdro.dro.reference_health import memorisation_warnings, reference_warnings
from tdro.training.steps import PlannedSteps, in_subset

RowFilter = Callable[[StepRows], NDArray[np.bool_]]  # of some rows, which to keep: shape (rows,)


@dataclass(frozen=True)
class ReferenceLosses:
    """Mean losses per task in nats; a task of which no such row was scored is left out.

    Attributes:
        untrained: of the base before any training.
        reference: of the reference, over all planned rows.
        seen: the same over rows that it was trained on.
        unseen: the same over rows that it was not trained on.
    """

    untrained: dict[str, float]
    reference: dict[str, float]
    seen: dict[str, float]
    unseen: dict[str, float]

    def warnings(self, solved_below: float) -> list[str]:
        """A line for each task on which the reference is weak, or has memorised its rows."""
        weak = reference_warnings(self.reference, self.untrained, solved_below)
        return [*weak, *memorisation_warnings(self.seen, self.unseen)]


def losses_by_task(
    steps: PlannedSteps, similarities: NDArray[np.float32], temperature: float, keep: RowFilter | None = None
) -> dict[str, float]:
    """The mean InfoNCE of each task in nats, over all planned rows or those that ``keep`` keeps.

    A task without such a row is left out.

    Args:
        steps: the plan and its data.
        similarities: of the planned rows, (T, B, 1 + N), from :func:`tdro.dro.stage_one.scoring.score_plan`.
        temperature: τ.
        keep: which rows count; None for all.
    """
    names = [task.name for task in steps.data.index.tasks]
    sums, counts = np.zeros(len(names)), np.zeros(len(names), dtype=np.int64)
    for step in range(len(similarities)):
        rows = in_subset(steps.plan.step(step), steps.subset)
        losses = infonce_from_similarities(torch.from_numpy(np.array(similarities[step])), temperature).double().numpy()
        kept = keep(rows) if keep else np.ones(len(rows), dtype=bool)
        sums += np.bincount(rows.task[kept], weights=losses[kept], minlength=len(names))
        counts += np.bincount(rows.task[kept], minlength=len(names))
    return {name: float(total / n) for name, total, n in zip(names, sums, counts, strict=True) if n}


def rows_read(steps: PlannedSteps) -> RowFilter:
    """A filter that keeps the rows which a training on these steps has read."""
    read = [np.zeros(len(task), dtype=bool) for task in steps.data.index.tasks]
    for step in range(steps.plan.steps):
        rows = in_subset(steps.plan.step(step), steps.subset)
        for task in np.unique(rows.task):
            read[task][rows.row[rows.task == task]] = True

    def keep(rows: StepRows) -> NDArray[np.bool_]:
        kept = np.zeros(len(rows), dtype=bool)
        for task in np.unique(rows.task):
            here = rows.task == task
            kept[here] = read[task][rows.row[here]]
        return kept

    return keep
