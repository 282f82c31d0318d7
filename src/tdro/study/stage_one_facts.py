"""What the log of a stage 1 says of each task: its measure over the steps, and how stable its reference is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tdro.files import read_jsonl
from tdro.study.forecast import signs_of


def stage_one_facts(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """What stage 1's log says of each task.

    Args:
        folder: ``weights/`` of the piece.
        names: the tasks, in order.

    Returns:
        ``measure``: for each task the mean of M over all steps, its standard deviation over the steps, and its means
        over the first and the last third; ``spread``: the standard deviation over tasks of the mean M; ``drift``: for
        each task, how far the reference's loss in the first and the last third of the steps is apart, as a share of
        its mean; ``signs``: those of :class:`tdro.study.forecast.Signs`. All null where there is no such log (weights
        that were loaded, or are of transfer gain).
    """
    log = folder / "steps.jsonl"
    if not log.exists():
        return {"measure": None, "spread": None, "drift": None, "signs": None}
    steps = read_jsonl(log)
    arrays = {
        key: np.array([[np.nan if value is None else value for value in step[key]] for step in steps], dtype=float)
        for key in ("measure", "reference_loss")
    }
    third = max(1, len(steps) // 3)
    measure, loss = arrays["measure"], arrays["reference_loss"]
    known = [at for at in range(len(names)) if np.isfinite(measure[:, at]).any()]
    means = {names[at]: float(np.nanmean(measure[:, at])) for at in known}
    return {
        "measure": {
            names[at]: {
                "mean": means[names[at]],
                "spread": float(np.nanstd(measure[:, at])),
                "first_third": known_mean(measure[:third, at]),
                "last_third": known_mean(measure[-third:, at]),
            }
            for at in known
        },
        "spread": float(np.std(list(means.values()))) if means else None,
        "drift": {names[at]: _drift(loss[:, at], third) for at in known},
        "signs": None if (signs := signs_of(steps)) is None else asdict(signs),
    }


def known_mean(values: np.ndarray) -> float | None:
    """The mean of those that are finite; None if none is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _drift(losses: np.ndarray, third: int) -> float | None:
    first, last, mean = known_mean(losses[:third]), known_mean(losses[-third:]), known_mean(losses)
    return abs(last - first) / mean if first is not None and last is not None and mean else None
