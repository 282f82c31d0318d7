"""Health of stage 1: what the user is told while it runs, and what the report says afterwards.

A warning is one line that names the task and says what to do; each cause is said once. The thresholds are the constants
below, chosen by what was seen in practice. None of them changes a result, and no warning stops the run. See
docs/decisions.md, warnings-do-not-stop.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tdro.dro.measures import FLOOR
from tdro.dro.reference_health import memorisation_warnings, reference_warnings
from tdro.weights import TaskWeights

NEAR_ZERO = 0.1  # a task is on its way to zero below this part of the uniform weight 1/k
NEAR_ONE = 0.5  # a task is on its way to one above this share of all weight (of two tasks, above 0.9)
DRIFT = 0.5  # the weights are not settled if their total variation in 100 steps is larger
SWING = 2.0  # the weights swing if all their moves in 100 steps come to more, and to more than twice where they got
TAIL = 2.0  # a measure is noisy if its mean is more than so many times its median
_EVERY = 20  # steps between the checks that look at the last steps


class HealthMonitor:
    """Watches α and the measures, step by step.

    Args:
        names: the tasks; every array comes in this order.
        window: over how many last steps drift, noise and solved tasks are judged, at least 20.
        solved_below: nats; a task whose mean losses are both below it counts as solved.
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
        # The last steps, each (4, k): α, measure, mean proxy loss and mean reference loss; NaN for an absent task.
        self._history: deque[np.ndarray] = deque(maxlen=window)
        # Over all steps, for the mean and spread of each task's measure: count, mean and sum of squared deviations
        # (Welford's algorithm). Over all rows, for the reference's mean loss: their number and the sum of its losses.
        self._measure = np.zeros((3, k))
        self._reference = np.zeros((2, k))

    def update(
        self, step: int, alpha: Any, measures: Any, proxy_means: Any, reference_means: Any, counts: Any = None
    ) -> list[str]:
        """Take in a step and return the warnings that are new.

        Args:
            step: its number, for the messages.
            alpha: (k,) the weights after the step.
            measures: (k,) M_g. Here and below, NaN or None stands for a task that is absent.
            proxy_means: (k,) mean proxy loss in nats.
            reference_means: (k,) mean reference loss in nats; None where the measure needs no reference.
            counts: (k,) how many rows of each task the step had; None if it had equally many of each.
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
        """Of ``{cause: message}``, the messages whose cause was not said before; from now on it counts as said."""
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
        drift = self.drift_per_100_steps
        if drift > DRIFT:
            found["drift"] = (
                f"step {step}: the weights moved by {drift:.2f} (total variation) per 100 steps, most "
                f"'{self._mover()}': they are not settled; use the mean over the steps, or a smaller eta"
            )
        if (way := self.way_per_100_steps) > max(SWING, 2 * drift):
            found["swing"] = (
                f"step {step}: the weights swing: their moves in 100 steps come to {way:.2f} (total variation) and "
                f"lead {drift:.2f} away, most '{self._swinger()}': read more rows a step, average the losses over more "
                "steps, or set a smaller eta; use the mean over the steps"
            )
        # The later half only: at the start of training the measures have a trend, which is not noise.
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
        """The task whose weight moved most over the window."""
        return self.names[int(np.argmax(np.abs(self._history[-1][0] - self._history[0][0])))]

    def _swinger(self) -> str:
        """The task whose weight went the longest way over the window."""
        alphas = np.stack(self._history)[:, 0]
        return self.names[int(np.argmax(np.abs(np.diff(alphas, axis=0)).sum(axis=0)))]

    @property
    def way_per_100_steps(self) -> float:
        """How long a way α went within the window, there and back counted, scaled to 100 steps; 0 before the second."""
        steps = len(self._history) - 1
        if steps < 1:
            return 0.0
        alphas = np.stack(self._history)[:, 0]
        return float(np.abs(np.diff(alphas, axis=0)).sum()) / 2 * 100 / steps

    @property
    def drift_per_100_steps(self) -> float:
        """How far α moved within the window (total variation), scaled to 100 steps; 0 before the second step."""
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
        """What ``weights/health.json`` holds, with null for what is not known. All losses are means over rows, in nats.

        Args:
            untrained: the loss of the base model before any training, by task.
            seen: the reference's loss on rows that it was trained on, by task.
            unseen: the reference's loss on rows that it was not trained on, by task.
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
        """Everything that a step changes, as values that JSON keeps to the bit."""
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
        """Continue from :meth:`state_dict`. Raises ValueError for other tasks."""
        if list(state["names"]) != list(self.names):
            raise ValueError(f"the saved health is of tasks {state['names']}, not of {list(self.names)}")
        self._updates = int(state["updates"])
        self.warnings = list(state["warnings"])
        self._said = set(state["said"])
        self._history = deque((np.array(x, dtype=np.float64) for x in state["history"]), maxlen=self.window)
        self._measure = np.array(state["measure"], dtype=np.float64)
        self._reference = np.array(state["reference"], dtype=np.float64)


def health_values(summary: Mapping[str, Any]) -> dict[str, float | str]:
    """What :meth:`HealthMonitor.summary` says, by its names in a tracker: ``health/entropy``, ``health/seen_loss/faq``
    and so on; the warnings are a text, as a list in Markdown."""
    numbers = {key: summary[key] for key in ("effective_tasks", "entropy", "drift_per_100_steps")}
    numbers |= {f"{key}/{name}": value for name, task in summary["tasks"].items() for key, value in task.items()}
    known = {f"health/{key}": value for key, value in numbers.items() if value is not None and math.isfinite(value)}
    warnings = "\n".join(f"- {warning}" for warning in summary["warnings"])
    return {**known, "health/warnings": warnings or "none"}


def collapse_warning(weights: TaskWeights) -> str | None:
    """A line if so few tasks have the weight that sampling by these ratios is likely to hurt, else None.

    The limit is a third of the tasks, but at least 2 effective tasks; with fewer than 4 tasks, half of them.
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
