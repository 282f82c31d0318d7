"""Measures M_g: how much headroom each task has at a step.

``relative`` is equation 5 of the paper, the ratio of a task's mean proxy loss to its mean reference loss.
``excess`` is DoReMi's, ``raw`` is GroupDRO's, and ``relative_per_row`` is what the tDRO authors' released
code computes instead of equation 5; it is here to reproduce their weights and rejected as a default, because
it depends on the batch's size and on the other tasks. Everything is float64 NumPy: k numbers a step are no
work for an accelerator, and learners on several ranks must agree to the bit. Torch tensors are accepted
without importing torch.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

KINDS = ("relative", "excess", "raw", "relative_per_row")
FLOOR = 1e-3  # nats; below it a task counts as solved
_SMALLEST_SHARE = 1e-4  # the released code's guard: a smaller share of the batch's reference loss counts as 1


def measure(
    kind: str,
    proxy_losses: Any,
    reference_losses: Any,
    task_ids: Any,
    n_tasks: int,
    *,
    offset: float = 0.0,
    floor: float = FLOOR,
) -> np.ndarray:
    """The measure of each task over the rows of one global batch.

    Args:
        kind: ``relative``: mean proxy loss over mean reference loss (:func:`relative_of_means`);
            ``excess``: mean of max(proxy - reference, 0); ``raw``: mean proxy loss; ``relative_per_row``:
            mean of proxy loss over the row's share of the batch's reference losses, a share below 1e-4
            counting as 1.
        proxy_losses: (B,) nats, tensor or array.
        reference_losses: (B,) nats, or None for ``raw``.
        task_ids: (B,) integers in [0, n_tasks).
        n_tasks: k.
        offset: nats added to both means before dividing (``relative`` only).
        floor: nats; see :func:`relative_of_means` (``relative`` only).

    Returns:
        (k,) float64, NaN where no row of the batch is of that task.

    Raises:
        ValueError: for an unknown kind, lengths that differ, a task id out of range or a loss that is not
            finite.
    """
    if kind not in KINDS:
        raise ValueError(f"measure {kind!r}: must be one of {', '.join(KINDS)}")
    proxy, ids = _losses("proxy", proxy_losses), _ids(task_ids, n_tasks)
    if kind == "raw":
        return _means(proxy, ids, n_tasks)
    if reference_losses is None:
        raise ValueError(f"measure {kind!r} needs the reference's losses; only 'raw' does without")
    reference = _losses("reference", reference_losses)
    if kind == "relative":
        means = _means(proxy, ids, n_tasks), _means(reference, ids, n_tasks)
        return relative_of_means(*means, offset=offset, floor=floor)
    if len(proxy) != len(reference):
        raise ValueError(f"{len(proxy)} proxy losses but {len(reference)} reference losses")
    if kind == "excess":
        return _means(np.maximum(proxy - reference, 0), ids, n_tasks)
    share = reference / max(reference.sum(), 1e-12)
    return _means(proxy / np.where(share < _SMALLEST_SHARE, 1, share), ids, n_tasks)


def relative_of_means(
    proxy_mean: np.ndarray, reference_mean: np.ndarray, offset: float = 0.0, floor: float = FLOOR
) -> np.ndarray:
    """``(proxy + offset) / (reference + offset)`` of mean losses per task (k,), safe near zero.

    Where both means are below ``floor`` the task is solved and has no headroom: 1. A denominator below
    ``floor`` counts as ``floor``, so a reference of 0 gives a large measure but a finite one. NaN (absent)
    stays NaN.

    Raises:
        ValueError: if ``offset`` is negative or ``floor`` is not positive.
    """
    if not offset >= 0 or not floor > 0:
        raise ValueError(f"offset {offset} must be at least 0 and floor {floor} above 0")
    ratio = (proxy_mean + offset) / np.maximum(reference_mean + offset, floor)
    return np.where((proxy_mean < floor) & (reference_mean < floor), 1.0, ratio)


class RollingMeans:
    """Mean proxy and reference loss per task over the rows of the last ``window`` steps.

    A step with few rows a task makes the ratio heavy-tailed; averaging both means before dividing cures it.
    Off in the paper's recipes, where a step has 82 rows a task.

    Args:
        n_tasks: k.
        window: steps to average over, at least 1 (1: this step alone).
    """

    def __init__(self, n_tasks: int, window: int) -> None:
        if n_tasks < 1 or window < 1:
            raise ValueError(f"n_tasks {n_tasks} and window {window} must be at least 1")
        self.n_tasks = n_tasks
        self.window = window
        self._steps: deque[np.ndarray] = deque(maxlen=window)  # each (3, k): proxy sum, reference sum, rows

    def update(self, proxy_losses: Any, reference_losses: Any, task_ids: Any) -> tuple[np.ndarray, np.ndarray]:
        """Add a step's rows, each (B,); return both means (k,), NaN for a task absent from the whole window.

        Raises:
            ValueError: for lengths that differ, a task id out of range or a loss that is not finite.
        """
        ids = _ids(task_ids, self.n_tasks)
        sums = [
            _sums(_losses("proxy", proxy_losses), ids, self.n_tasks),
            _sums(_losses("reference", reference_losses), ids, self.n_tasks),
            np.bincount(ids, minlength=self.n_tasks).astype(np.float64),
        ]
        self._steps.append(np.stack(sums))
        # Summed anew each time: a running sum would drift, and would not resume to the bit.
        proxy, reference, rows = np.sum(self._steps, axis=0)
        return _divide(proxy, rows), _divide(reference, rows)

    def state_dict(self) -> dict[str, Any]:
        """The window's sums, JSON-able and exact to the bit."""
        return {"steps": [step.tolist() for step in self._steps]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`. Raises ValueError if it is of another number of tasks."""
        steps = [np.array(step, dtype=np.float64) for step in state["steps"]]
        if any(step.shape != (3, self.n_tasks) for step in steps):
            raise ValueError(f"the saved means are of {steps[0].shape[-1]} tasks, not {self.n_tasks}")
        self._steps = deque(steps, maxlen=self.window)


def _array(values: Any, dtype: Any) -> np.ndarray:
    """A tensor on any device and in any precision, or anything that NumPy takes, as a NumPy array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
    return np.asarray(values, dtype=dtype)


def _losses(model: str, values: Any) -> np.ndarray:
    losses = _array(values, np.float64)
    if losses.ndim != 1:
        raise ValueError(f"{model} losses must be (B,), not {losses.shape}")
    if bad := np.flatnonzero(~np.isfinite(losses)).tolist():
        raise ValueError(f"{model} loss of row {bad[0]} is {losses[bad[0]]} ({len(bad)} rows are not finite)")
    return losses


def _ids(task_ids: Any, n_tasks: int) -> np.ndarray:
    ids = _array(task_ids, np.int64)
    if ids.ndim != 1 or (len(ids) and not (ids.min() >= 0 and ids.max() < n_tasks)):
        raise ValueError(f"task ids must be (B,) integers from 0 to {n_tasks - 1}, not {task_ids}")
    return ids


def _sums(losses: np.ndarray, ids: np.ndarray, n_tasks: int) -> np.ndarray:
    if len(losses) != len(ids):
        raise ValueError(f"{len(losses)} losses but {len(ids)} task ids")
    return np.bincount(ids, weights=losses, minlength=n_tasks)


def _means(losses: np.ndarray, ids: np.ndarray, n_tasks: int) -> np.ndarray:
    return _divide(_sums(losses, ids, n_tasks), np.bincount(ids, minlength=n_tasks))


def _divide(sums: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """``sums / rows`` (k,), NaN where there are no rows."""
    return np.where(rows > 0, sums / np.maximum(rows, 1), np.nan)
