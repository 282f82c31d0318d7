"""How stage 1 went: α over the steps, the losses, and the health of the reference, as plain rows.

For each task the mean of its measure M is shown with its spread, its median and the pooled ratio (the sum of all proxy
losses over the sum of all reference losses). Where these disagree, a few steps with large values made the weight.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tdro.dro.measures import FLOOR
from tdro.dro.reference_health import weak_reference
from tdro.evaluation.compare.readable_numbers import as_number, nested
from tdro.report import charts
from tdro.report.learning_files import LearningSteps
from tdro.report.run_contents import RunContents


def learning_view(run: RunContents) -> dict[str, Any] | None:
    """The chart of α, wide and narrow, and a panel of losses a task, largest weight first; None without steps."""
    steps = run.steps
    if steps is None or not run.tasks:
        return None
    order = [int(g) for g in np.argsort(-np.nan_to_num(steps.alpha[-1], nan=-1.0), kind="stable")]
    marked = order if len(order) <= 8 else order[:6] + order[-2:]
    window = max(len(steps.step) // 20, 1)
    proxy, reference = charts.smooth(steps.proxy_loss, window), charts.smooth(steps.reference_loss, window)
    both = np.concatenate([proxy, reference])
    highest, usual = (float(np.nanquantile(both, q)) if np.isfinite(both).any() else 1.0 for q in (1, 0.98))
    cut = highest > 2 * usual > 0
    high = max(1.05 * (usual if cut else highest), 1e-3)
    return {
        "alpha_wide": charts.alpha_chart(steps.step, steps.alpha, run.names, marked, 900, 380),
        "alpha_narrow": charts.alpha_chart(steps.step, steps.alpha, run.names, marked, 340, 340),
        "n_steps": len(steps.step),
        "n_tasks": len(run.tasks),
        "n_marked": len(marked),
        "window": window,
        "cut": cut,
        "panels": [
            {
                "name": run.names[g],
                "svg": charts.loss_panel(steps.step, proxy[:, g], reference[:, g], high, run.names[g]),
                **_measure(run, g),
            }
            for g in order
        ],
    }


def _measure(run: RunContents, g: int) -> dict[str, float]:
    """Mean and spread of a task's M, from ``health.json`` or else the steps, its median and the pooled ratio."""
    facts = nested(run.health, "tasks", run.names[g])
    mean, std = as_number(nested(facts, "measure_mean")), as_number(nested(facts, "measure_std"))
    median = pooled = math.nan
    if run.steps is not None:
        known = run.steps.measure[:, g][np.isfinite(run.steps.measure[:, g])]
        if len(known):
            median = float(np.median(known))
            mean = mean if math.isfinite(mean) else float(known.mean())
            std = std if math.isfinite(std) else float(known.std())
        pooled = _pooled(run.steps, g)
    return {"mean": mean, "std": std, "median": median, "pooled": pooled}


def _pooled(steps: LearningSteps, g: int) -> float:
    proxy, reference, rows = steps.proxy_loss[:, g], steps.reference_loss[:, g], steps.rows[:, g]
    both = np.isfinite(proxy) & np.isfinite(reference) & np.isfinite(rows)
    total = float((rows[both] * reference[both]).sum())
    return float((rows[both] * proxy[both]).sum()) / total if total > 0 else math.nan


def health_view(run: RunContents) -> dict[str, Any] | None:
    """The warnings, the numbers of the whole run and a row for each task; None without ``health.json``."""
    if run.health is None:
        return None
    solved_below = as_number(run.health.get("solved_below", FLOOR))
    rows: list[dict[str, Any]] = []
    for g, name in enumerate(run.names):
        facts = nested(run.health, "tasks", name)
        keys = ("reference_loss", "untrained_loss", "seen_loss", "unseen_loss")
        losses = {key: as_number(nested(facts, key)) for key in keys}
        reference, untrained = (None if math.isnan(losses[key]) else losses[key] for key in keys[:2])
        weak = weak_reference(reference, untrained, solved_below)
        rows.append({"name": name, "weak": weak, **losses, **_measure(run, g)})
    return {
        "warnings": [str(warning) for warning in run.health.get("warnings") or []],
        "effective": as_number(run.health.get("effective_tasks")),
        "entropy": as_number(run.health.get("entropy")),
        "drift": as_number(run.health.get("drift_per_100_steps")),
        "has_unseen": any(math.isfinite(row["unseen_loss"]) for row in rows),
        "n_tasks": len(rows),
        "rows": rows,
    }
