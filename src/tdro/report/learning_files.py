"""Reads what learning the weights leaves in a run folder: the steps of stage 1, and which task helped which.

Nothing is computed here, except that lists become arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tdro.errors import UserError
from tdro.evaluation.compare.readable_numbers import as_number
from tdro.files import read_json, read_jsonl

STEP_SERIES = ("alpha", "measure", "proxy_loss", "reference_loss", "rows")


@dataclass(frozen=True)
class LearningSteps:
    """Stage 1 over T steps and k tasks, in float64. A task that has no row in a step is NaN there."""

    step: np.ndarray  # (T,)
    alpha: np.ndarray  # (T, k), like the four below
    measure: np.ndarray
    proxy_loss: np.ndarray
    reference_loss: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class MeasuredGain:
    """What transfer gain has measured: (R, k, columns) gains and (R, k) weights of R rounds and k tasks.

    The columns are the tasks; with a target they are its parts, and ``shares`` (columns,) says how much each counts.
    """

    names: list[str]
    matrices: np.ndarray
    alphas: np.ndarray
    helped: list[str]
    shares: np.ndarray | None = None


def read_steps(path: Path, n_tasks: int) -> LearningSteps | None:
    """Stage 1 as its ``steps.jsonl`` tells it; None if there is no such file, or no line in it."""
    lines = read_jsonl(path) if path.is_file() else []
    if not lines:
        return None
    series: dict[str, np.ndarray] = {}
    for key in STEP_SERIES:
        rows = [line.get(key) or [None] * n_tasks for line in lines]
        wrong = next((at for at, row in enumerate(rows) if len(row) != n_tasks), None)
        if wrong is not None:
            found = len(rows[wrong])
            raise UserError(f"{path}, step line {wrong + 1}: {found} values of {key!r} for {n_tasks} tasks")
        values = np.array([[as_number(value) for value in row] for row in rows], dtype=float)
        series[key] = np.where(np.isfinite(values), values, np.nan)
    return LearningSteps(step=np.array([as_number(line.get("step", at)) for at, line in enumerate(lines)]), **series)


def read_gain(path: Path) -> MeasuredGain | None:
    """The content of ``gain.json``; None if there is no such file."""
    content = json_object(path)
    if content is None:
        return None
    try:
        names = [str(name) for name in content["names"]]
        matrices, alphas = (np.array(content[key], dtype=float) for key in ("matrices", "alphas"))
        target = content.get("target")
        helped = [str(name) for name in target["names"]] if target else names
        shares = np.array(target["shares"], dtype=float) if target else None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: no names, matrices and alphas in it; run `tdro learn --force` again") from error
    rounds, k = len(alphas), len(names)
    if not rounds or not k or alphas.shape != (rounds, k) or matrices.shape != (rounds, k, len(helped)):
        raise UserError(f"{path}: matrices of another shape than {k} tasks have; run `tdro learn --force` again")
    if shares is not None and shares.shape != (len(helped),):
        raise UserError(f"{path}: not one share for each part of the target; run `tdro learn --force` again")
    return MeasuredGain(names, matrices, alphas, helped, shares)


def json_object(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is no such file."""
    if not path.is_file():
        return None
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value
