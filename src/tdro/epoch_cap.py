"""Weights under which no task is seen more often than a number of epochs: the arithmetic of ``TaskWeights.capped``."""

from __future__ import annotations

import math

import numpy as np

from tdro.errors import UserError


def capped_values(
    values: np.ndarray, rows: np.ndarray, rows_drawn: int, max_epochs: float, batch: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The weights nearest to ``values`` under which every task keeps the cap.

    What a capped task loses goes to the others in proportion to their weights. That may push another task over its
    cap, so it is repeated until all fit.

    Args:
        values: (k,) weights that sum to 1.
        rows: (k,) how many rows each task has.
        rows_drawn: how many rows of all tasks together training draws.
        max_epochs: the cap.
        batch: where rows are drawn in batches of so many of one task, a task may be drawn in whole batches only. Of 40
            rows that may be seen 1.2 times, one batch of 32 can be drawn and not two.

    Returns:
        The weights (k,), and for each task whether it is left out, because one batch of it is over the cap.

    Raises:
        UserError: the tasks of positive weight have too few rows; it says how many epochs would be enough.
    """
    limits, whole_limits = (_rows_within(rows, max_epochs, size) / rows_drawn for size in (None, batch))
    room = float(whole_limits[values > 0].sum())
    if room < 1 - 1e-9:
        whole = f" in whole batches of {batch}" if batch else ""
        raise UserError(
            f"cap: {max_epochs:g} epochs of these tasks are {room * rows_drawn:.0f} rows{whole}, fewer than the "
            f"{rows_drawn} to be drawn; train for fewer steps or allow "
            f"{_epochs_needed(rows[values > 0], rows_drawn, batch):g} epochs"
        )
    capped = values.copy()
    full = np.zeros(len(values), dtype=bool)
    while (over := (capped > limits) & ~full).any():
        full |= over
        capped[full] = limits[full]
        others = capped[~full].sum()
        if others > 0:
            capped[~full] *= (1 - capped[full].sum()) / others
    return capped, (whole_limits == 0) & (values > 0)


def _rows_within(rows: np.ndarray, max_epochs: float, batch: int | None) -> np.ndarray:
    """How many rows of each task may be drawn, (k,)."""
    if batch is None:
        return max_epochs * rows
    # 1e-9 undoes rounding, as in 0.7 * 10 = 7.0000000000000009.
    return np.floor(max_epochs * rows / batch + 1e-9) * batch


def _epochs_needed(rows: np.ndarray, rows_drawn: int, batch: int | None) -> float:
    """The fewest epochs under which so many rows can be drawn, up to the next hundredth."""
    hundredths = math.ceil(100 * rows_drawn / rows.sum() - 1e-9)
    while _rows_within(rows, hundredths / 100, batch).sum() < rows_drawn:
        hundredths += 1
    return hundredths / 100
