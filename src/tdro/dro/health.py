"""Health of stage 1: what to tell the user while it runs, and what the report says afterwards.

Each warning is one line that names the task and says what to do, and is said once per cause. The thresholds
are constants below, judged by what was seen in practice; none of them changes a result. Rejected: stopping
the run for a bad sign: weights are for people to judge, and only a NaN stops stage 1, in the loss.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tdro.dro.measures import FLOOR
from tdro.weights import TaskWeights

NEAR_ZERO = 0.1  # of the uniform weight 1/k: a task on its way to zero
NEAR_ONE = 0.5  # of all weight: a task on its way to one (0.9 for two tasks)
DRIFT = 0.5  # total variation of α in 100 steps
TAIL = 2.0  # mean over median of a task's measure
WEAK = 0.95  # of the untrained model's loss: a reference that learned nothing
MEMORISED = 2.0  # unseen over seen loss of the reference ...
MEMORISED_BY = 0.1  # ... and at least so many nats
_EVERY = 20  # steps between the checks that need some history


class HealthMonitor:
    """Watches α and the measures, step by step.

    Args:
        names: the tasks; every array comes in this order.
        window: steps of history that drift, noise and solved tasks are judged over, at least 20.
        solved_below: nats; a task whose losses are below it counts as solved, as the measure has it.
    """

    def __init__(self, names: Iterable[str], window: int = 100, solved_below: float = FLOOR) -> None:
        self.names = tuple(names)
        if not self.names or window < _EVERY:
            raise ValueError(f"names must not be empty and the window, {window} steps, at least {_EVERY}")
        k = len(self.names)
        self.window, self.solved_below = window, solved_below
        self.warnings: list[str] = []
        self._said: set[str] = set()
        self._updates = 0
        # Of the last steps: (4, k) each, rows α, measure, proxy mean and reference mean; NaN where absent.
        self._history: deque[np.ndarray] = deque(maxlen=window)
        # Of all steps, per task: Welford's count, mean and sum of squared deviations of M. Of all rows: how many
        # they are and the sum of the reference's losses.
        self._measure = np.zeros((3, k))
        self._reference = np.zeros((2, k))

    def update(
        self, step: int, alpha: Any, measures: Any, proxy_means: Any, reference_means: Any, counts: Any = None
    ) -> list[str]:
        """Take in a step and return the warnings that are new.

        Args:
            step: its number, for the messages.
            alpha: (k,) weights after the step.
            measures: (k,) M_g; NaN or None where the task is absent, here and below.
            proxy_means: (k,) mean proxy loss in nats.
            reference_means: (k,) mean reference loss in nats; None where the measure needs no reference.
            counts: (k,) the step's rows; None: as many of each task that is there.
        """
        k = len(self.names)
        if reference_means is None:
            reference_means = np.full(k, np.nan)
        rows = [np.array(x, dtype=np.float64) for x in (alpha, measures, proxy_means, reference_means)]
        if any(row.shape != (k,) for row in rows):
            raise ValueError(f"expected {k} values of each, one a task, not {[row.shape for row in rows]}")
        self._history.append(np.stack(rows))
        self._updates += 1
        self._accumulate(rows[1], rows[3], np.ones(k) if counts is None else np.asarray(counts, dtype=np.float64))
        found = self._weight_warnings(step, rows[0])
        if self._updates % _EVERY == 0:
            found |= self._history_warnings(step)
        return self._new(found)

    def _accumulate(self, measures: np.ndarray, references: np.ndarray, counts: np.ndarray) -> None:
        there = ~np.isnan(measures)
        count, mean, squares = self._measure[:, there]
        difference = measures[there] - mean
        mean = mean + difference / (count + 1)
        self._measure[:, there] = count + 1, mean, squares + difference * (measures[there] - mean)
        there = ~np.isnan(references)
        self._reference[:, there] += counts[there] * np.stack([np.ones(there.sum()), references[there]])

    def _new(self, found: Mapping[str, str]) -> list[str]:
        """The messages of ``{cause: message}`` whose cause was not said yet; from now on they are."""
        new = [message for cause, message in found.items() if cause not in self._said]
        self._said.update(found)
        self.warnings += new
        return new

    def _weight_warnings(self, step: int, alpha: np.ndarray) -> dict[str, str]:
        k, found = len(self.names), {}
        if collapsed := collapse_warning(TaskWeights(self.names, alpha)):
            found["collapse"] = f"step {step}: {collapsed}"
        if k == 1:
            return found
        for name, weight in zip(self.names, alpha.tolist(), strict=True):
            if weight > (NEAR_ONE if k > 2 else 0.9):
                found[f"one {name}"] = (
                    f"step {step}: task '{name}' has {weight:.0%} of all weight and goes on to one: look at "
                    "its rows and its reference loss; set an offset of 1 nat or a smaller eta"
                )
            elif weight < NEAR_ZERO / k:
                found[f"zero {name}"] = (
                    f"step {step}: task '{name}' is on its way to zero (weight {weight:.2g}, "
                    f"uniform is {1 / k:.2g}), without headroom against the reference: if you need it, set a "
                    "smaller eta, or transfer by top-P with a larger P"
                )
        return found

    def _history_warnings(self, step: int) -> dict[str, str]:
        found = {}
        if (drift := self.drift_per_100_steps) > DRIFT:
            found["drift"] = (
                f"step {step}: the weights moved by {drift:.2f} (total variation) per 100 steps, most "
                f"'{self._mover()}': they are not settled; use the mean over the steps, or a smaller eta"
            )
        # The later half: training starts with a trend, which is not noise.
        past = np.stack(self._history)[len(self._history) // 2 :]
        for i, name in enumerate(self.names):
            measures, proxy, reference = (row[~np.isnan(row)] for row in past[:, 1:, i].T)
            if len(measures) < _EVERY // 2:
                continue
            if len(reference) and proxy.mean() < self.solved_below and reference.mean() < self.solved_below:
                found[f"solved {name}"] = (
                    f"step {step}: task '{name}' is solved (proxy and reference below {self.solved_below:g} nats): "
                    "mine harder negatives for it, or leave it out"
                )
                continue
            mean, median, std = float(measures.mean()), float(np.median(measures)), float(measures.std())
            if std > abs(mean) or mean > TAIL * median:
                found[f"noise {name}"] = (
                    f"step {step}: the measure of task '{name}' is noisy (mean {mean:.3g}, median "
                    f"{median:.3g}, std {std:.3g} over {len(measures)} steps): average the losses over more "
                    "steps, read more rows a step, or set an offset of 1 nat"
                )
        return found

    def _mover(self) -> str:
        return self.names[int(np.argmax(np.abs(self._history[-1][0] - self._history[0][0])))]

    @property
    def drift_per_100_steps(self) -> float:
        """Total variation between the window's first and last α, scaled to 100 steps; 0 before step two."""
        steps = len(self._history) - 1
        if steps < 1:
            return 0.0
        return float(np.abs(self._history[-1][0] - self._history[0][0]).sum()) / 2 * 100 / steps

    def summary(
        self,
        untrained: Mapping[str, float] | None = None,
        seen: Mapping[str, float] | None = None,
        unseen: Mapping[str, float] | None = None,
    ) -> dict[str, Any]:
        """What ``weights/health.json`` holds; null where nothing is known. Losses are means over rows.

        Args:
            untrained: mean loss per task of the base model before any training, in nats.
            seen: the reference's loss per task on rows that it was trained on.
            unseen: the same on rows that it was not.
        """
        untrained, seen, unseen = untrained or {}, seen or {}, unseen or {}
        count, mean, squares = self._measure
        rows, total = self._reference
        tasks: dict[str, dict[str, float | None]] = {
            name: {
                "measure_mean": float(mean[i]) if count[i] else None,
                "measure_std": math.sqrt(squares[i] / count[i]) if count[i] else None,
                "reference_loss": float(total[i] / rows[i]) if rows[i] else None,
                "untrained_loss": untrained.get(name),
                "seen_loss": seen.get(name),
                "unseen_loss": unseen.get(name),
            }
            for i, name in enumerate(self.names)
        }
        reference = {name: x for name, task in tasks.items() if (x := task["reference_loss"]) is not None}
        weights = TaskWeights(self.names, self._history[-1][0]) if self._history else None
        return {
            "effective_tasks": weights.effective_tasks if weights else None,
            "entropy": weights.entropy if weights else None,
            "drift_per_100_steps": self.drift_per_100_steps,
            "solved_below": self.solved_below,
            "warnings": [
                *self.warnings,
                *reference_warnings(reference, untrained, self.solved_below),
                *memorisation_warnings(seen, unseen),
            ],
            "tasks": tasks,
        }

    def state_dict(self) -> dict[str, Any]:
        """All that changes with a step, JSON-able and exact to the bit."""
        history = [[[None if math.isnan(x) else x for x in row] for row in rows.tolist()] for rows in self._history]
        return {
            "names": list(self.names),
            "updates": self._updates,
            "warnings": list(self.warnings),
            "said": sorted(self._said),
            "history": history,
            "measure": self._measure.tolist(),
            "reference": self._reference.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`. Raises ValueError if it is of other tasks."""
        if list(state["names"]) != list(self.names):
            raise ValueError(f"the saved health is of tasks {state['names']}, not of {list(self.names)}")
        self._updates = int(state["updates"])
        self.warnings = list(state["warnings"])
        self._said = set(state["said"])
        self._history = deque((np.array(x, dtype=np.float64) for x in state["history"]), maxlen=self.window)
        self._measure = np.array(state["measure"], dtype=np.float64)
        self._reference = np.array(state["reference"], dtype=np.float64)


def collapse_warning(weights: TaskWeights) -> str | None:
    """One line if so few tasks have the weight that sampling by these ratios is likely to hurt, else None.

    That is below a third of the tasks, or below 2 (of few tasks, below half of them).
    """
    k, effective = len(weights), weights.effective_tasks
    if effective >= max(k / 3, min(2, k / 2)):
        return None
    heaviest = int(np.argmax(weights.values))
    return (
        f"the weights leave {effective:.1f} effective tasks of {k}, most on '{weights.names[heaviest]}' "
        f"({weights.values[heaviest]:.0%}): do not sample by these ratios, select with top-70 instead; "
        "an offset of 1 nat or a smaller eta keeps them apart"
    )


def weak_reference(reference: float | None, untrained: float | None, solved_below: float = FLOOR) -> bool:
    """Whether the reference learned nothing of a task, so that its measure means nothing: its loss is not below 95 % of
    the untrained base's. Not where the base solves the task already, or one of them is not known (None).

    Args:
        reference: the reference's mean loss over the task's rows, in nats.
        untrained: the base model's, before any training.
        solved_below: nats; see :class:`HealthMonitor`.
    """
    if reference is None or untrained is None:
        return False
    return untrained >= solved_below and not reference < WEAK * untrained


def reference_warnings(
    reference: Mapping[str, float], untrained: Mapping[str, float], solved_below: float = FLOOR
) -> list[str]:
    """A line per task on which the reference is weak, see :func:`weak_reference`; arguments as there, by task."""
    return [
        f"weak reference on task '{name}': loss {reference[name]:.3g}, untrained {base:.3g}: its measure "
        "means little; train the reference longer or at a larger learning rate, or look at the task's labels"
        for name, base in untrained.items()
        if weak_reference(reference.get(name), base, solved_below)
    ]


def memorisation_warnings(seen: Mapping[str, float], unseen: Mapping[str, float]) -> list[str]:
    """A line per task whose rows the reference has learned by heart, so that its measure explodes.

    Args:
        seen: mean loss of the reference per task on rows that it was trained on, in nats.
        unseen: the same on rows that it was not; tasks missing in either are passed over.
    """
    return [
        f"the reference has memorised task '{name}': loss {seen[name]:.3g} on rows it was trained "
        f"on, {loss:.3g} on others, so its weight is too high: set stage1_rows to held_out or cross_fit, "
        "or train the reference for fewer steps"
        for name, loss in unseen.items()
        if name in seen and loss > MEMORISED * seen[name] and loss - seen[name] > MEMORISED_BY
    ]
