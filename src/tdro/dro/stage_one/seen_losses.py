"""The reference's loss per task, over all planned rows or some: those it was trained on, and those it was not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from tdro.data.plan.row_plans import StepRows
from tdro.dro.infonce import infonce_from_similarities
from tdro.training.steps import PlannedSteps, in_subset

RowFilter = Callable[[StepRows], NDArray[np.bool_]]


def losses_by_task(
    steps: PlannedSteps, similarities: NDArray[np.float32], temperature: float, keep: RowFilter | None = None
) -> dict[str, float]:
    """Mean InfoNCE per task in nats, over the rows that ``keep`` keeps; tasks without such a row are left out."""
    names = [task.name for task in steps.data.index.tasks]
    sums, counts = np.zeros(len(names)), np.zeros(len(names), dtype=np.int64)
    for step in range(len(similarities)):
        rows = in_subset(steps.plan.step(step), steps.subset)
        losses = infonce_from_similarities(torch.from_numpy(np.array(similarities[step])), temperature).double().numpy()
        kept = keep(rows) if keep else np.ones(len(rows), dtype=bool)
        sums += np.bincount(rows.task[kept], weights=losses[kept], minlength=len(names))
        counts += np.bincount(rows.task[kept], minlength=len(names))
    return {name: float(total / n) for name, total, n in zip(names, sums, counts, strict=True) if n}


def seen_rows(steps: PlannedSteps) -> RowFilter:
    """Which rows a training on these steps has read."""
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
