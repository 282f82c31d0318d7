"""What one step of stage 1 did: the line that ``weights/steps.jsonl`` has of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StepRecord:
    """What one step did. Arrays have shape (k,), a value for each task, NaN for a task without a row in the step.

    Attributes:
        step: counted from 0.
        alpha: the weights after the step.
        measure: M_g of the step.
        proxy_loss: the proxy's mean loss over the task's rows, in nats.
        reference_loss: the reference's.
        rows: how many rows of the task the step had.
        loss: the weighted loss that was back-propagated, over all ranks.
        warnings: new warnings of :class:`tdro.dro.health.HealthMonitor`, one line each.
    """

    step: int
    alpha: NDArray[np.float64]
    measure: NDArray[np.float64]
    proxy_loss: NDArray[np.float64]
    reference_loss: NDArray[np.float64]
    rows: NDArray[np.int64]
    loss: float
    warnings: list[str]

    def by_task(self, names: Sequence[str]) -> dict[str, float]:
        """The values of each task by their names in a tracker: ``alpha/faq``, ``measure/faq`` and so on; no NaN."""
        series = ("alpha", "measure", "proxy_loss", "reference_loss")
        return {
            f"{key}/{name}": value
            for key in series
            for name, value in zip(names, getattr(self, key).tolist(), strict=True)
            if math.isfinite(value)
        }

    def as_line(self) -> dict[str, Any]:
        """The record as JSON values; null for a task that had no row."""
        return {
            "step": self.step,
            "loss": self.loss,
            "alpha": self.alpha.tolist(),
            "rows": self.rows.tolist(),
            **{
                name: [None if np.isnan(value) else value for value in getattr(self, name).tolist()]
                for name in ("measure", "proxy_loss", "reference_loss")
            },
            **({"warnings": self.warnings} if self.warnings else {}),
        }
