"""Measures M_g: how much headroom each task has at a step.

``relative``          the paper's equation 5: a task's mean proxy loss over its mean reference loss. The default
``excess``            DoReMi's: the mean of proxy loss minus reference loss, where that is positive
``raw``               GroupDRO's: the mean proxy loss, without a reference
``relative_per_row``  what the authors' released code computes in place of equation 5; it reproduces their weights

All of it is float64 NumPy, so that every rank computes the same numbers to the bit. Torch tensors are accepted without
importing torch. See docs/decisions.md, measures-in-numpy.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

KINDS = ("relative", "excess", "raw", "relative_per_row")
FLOOR = 1e-3  # nats; a task whose mean losses are both below it counts as solved
# As in the released code: a row whose share of the batch's reference loss is smaller is divided by 1.
_SMALLEST_SHARE = 1e-4


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
    """The measure of each task over the rows of one batch of all ranks.

    Args:
        kind: ``relative``: mean proxy loss over mean reference loss (:func:`relative_of_means`); ``excess``: mean of
            max(proxy - reference, 0); ``raw``: mean proxy loss; ``relative_per_row``: mean of each row's proxy loss
            over its share of the batch's reference losses, where a share below 1e-4 counts as 1.
        proxy_losses: (B,) in nats, a tensor or an array.
        reference_losses: (B,) in nats; None for ``raw``.
        task_ids: (B,) the task of each row, an integer from 0 to k - 1.
        n_tasks: k, how many tasks there are.
        offset: nats added to both means before dividing (``relative`` only).
        floor: nats; see :func:`relative_of_means` (``relative`` only).

    Returns:
        (k,) float64; NaN for a task without a row in the batch.

    Raises:
        ValueError: an unknown kind, lengths that differ, a task id out of range, or a loss that is not finite.
    """
    if kind not in KINDS:
        raise ValueError(f"measure {kind!r}: must be one of {', '.join(KINDS)}")
    proxy, ids = _losses("proxy", proxy_losses), _ids(task_ids, n_tasks)
    if kind == "raw":
        return task_means(proxy, ids, n_tasks)
    if reference_losses is None:
        raise ValueError(f"measure {kind!r} needs the reference's losses; only 'raw' does without")
    reference = _losses("reference", reference_losses)
    if kind == "relative":
        means = task_means(proxy, ids, n_tasks), task_means(reference, ids, n_tasks)
        return relative_of_means(*means, offset=offset, floor=floor)
    if len(proxy) != len(reference):
        raise ValueError(f"{len(proxy)} proxy losses but {len(reference)} reference losses")
    if kind == "excess":
        return task_means(np.maximum(proxy - reference, 0), ids, n_tasks)
    share = reference / max(reference.sum(), 1e-12)
    return task_means(proxy / np.where(share < _SMALLEST_SHARE, 1, share), ids, n_tasks)


def relative_of_means(
    proxy_mean: np.ndarray, reference_mean: np.ndarray, offset: float = 0.0, floor: float = FLOOR
) -> np.ndarray:
    """``(proxy + offset) / (reference + offset)`` of the mean losses of each task, (k,).

    A task whose two means are both below ``floor`` is solved and has no headroom: its measure is 1. A denominator below
    ``floor`` counts as ``floor``, so a reference loss of 0 gives a large measure and not an infinite one. NaN, a task
    that is absent, stays NaN.

    Raises:
        ValueError: ``offset`` is negative, or ``floor`` is not positive.
    """
    if not offset >= 0 or not floor > 0:
        raise ValueError(f"offset {offset} must be at least 0 and floor {floor} above 0")
    ratio = (proxy_mean + offset) / np.maximum(reference_mean + offset, floor)
    return np.where((proxy_mean < floor) & (reference_mean < floor), 1.0, ratio)


class RollingMeans:
    """The mean proxy and reference loss of each task over the rows of the last few steps.

    With few rows a task and step, the ratio of two noisy means is now and then very large. Averaging both means over
    some steps before dividing cures that. The paper's recipes do not need it: their steps have 82 rows a task.

    Args:
        n_tasks: k, how many tasks there are.
        window: how many steps are averaged, at least 1, which is the present step alone.
    """

    def __init__(self, n_tasks: int, window: int) -> None:
        if n_tasks < 1 or window < 1:
            raise ValueError(f"n_tasks {n_tasks} and window {window} must be at least 1")
        self.n_tasks = n_tasks
        self.window = window
        self._steps: deque[np.ndarray] = deque(maxlen=window)  # each (3, k): proxy sum, reference sum, rows

    def update(self, proxy_losses: Any, reference_losses: Any, task_ids: Any) -> tuple[np.ndarray, np.ndarray]:
        """Add the rows of a step, each (B,), and return both means, each (k,); NaN for a task without rows so far.

        Raises:
            ValueError: lengths that differ, a task id out of range, or a loss that is not finite.
        """
        ids = _ids(task_ids, self.n_tasks)
        sums = [
            _sums(_losses("proxy", proxy_losses), ids, self.n_tasks),
            _sums(_losses("reference", reference_losses), ids, self.n_tasks),
            np.bincount(ids, minlength=self.n_tasks).astype(np.float64),
        ]
        self._steps.append(np.stack(sums))
        # Summed anew at each step: a running sum would gather rounding errors, and would not resume to the bit.
        proxy, reference, rows = np.sum(self._steps, axis=0)
        return _divide(proxy, rows), _divide(reference, rows)

    def state_dict(self) -> dict[str, Any]:
        """The sums of the last steps, as values that JSON keeps to the bit."""
        return {"steps": [step.tolist() for step in self._steps]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`. Raises ValueError for another number of tasks."""
        steps = [np.array(step, dtype=np.float64) for step in state["steps"]]
        if any(step.shape != (3, self.n_tasks) for step in steps):
            raise ValueError(f"the saved means are of {steps[0].shape[-1]} tasks, not {self.n_tasks}")
        self._steps = deque(steps, maxlen=self.window)


def _array(values: Any, dtype: Any) -> np.ndarray:
    """A NumPy array of a tensor on any device and in any precision, or of anything that NumPy takes."""
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


def task_means(losses: np.ndarray, ids: np.ndarray, n_tasks: int) -> np.ndarray:
    """The mean loss of each task's rows, (k,); NaN for a task without rows."""
    return _divide(_sums(losses, ids, n_tasks), np.bincount(ids, minlength=n_tasks))


def _divide(sums: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """``sums / rows`` (k,), NaN where there are no rows."""
    return np.where(rows > 0, sums / np.maximum(rows, 1), np.nan)
