"""The learned weights, what the selection keeps of the tasks, and the epochs of each task, as plain rows.

The template only formats and escapes these rows: what is computed can be tested here. The charts' SVG is the only
markup.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tdro.evaluation.compare.readable_numbers import as_number, nested
from tdro.mixture_name import MixtureName, known_mixture
from tdro.recipe.names import in_order
from tdro.report import charts
from tdro.report.run_contents import RunContents, TrainedModel
from tdro.report.words import alpha_in_words, percent


def selection_name(run: RunContents) -> str:
    """The mixture that the report is about: the first ``top-P`` that was compared or trained, else ``gain``.

    If there is neither, ``top-70``. A plain one goes before one with an exponent.
    """
    compared = [str(nested(row, "mixture")) for comparison in run.comparisons for row in comparison["rows"]]
    names = compared + [training.mixture for training in run.trainings]
    known = [mixture for mixture in map(known_mixture, names) if mixture is not None and mixture.kind == "top"]
    plain = [mixture for mixture in known if mixture.exponent is None]
    other = MixtureName("gain") if "gain" in names else MixtureName("top", 70)
    return str((plain or known or [other])[0])


def kept_tasks(run: RunContents, selection: str) -> list[bool]:
    """For each task whether the selection keeps it.

    A model that was trained on the selection tells; if there is none, :meth:`TaskWeights.top` does.
    """
    for training in run.trainings:
        weights = nested(training.facts, "weights")
        if training.mixture == selection and isinstance(weights, dict):
            return [as_number(weights.get(name)) > 0 for name in run.names]
    if run.weights is None:
        return [False] * len(run.tasks)
    mixture = known_mixture(selection)
    kept = run.weights.top(mixture.percent if mixture and mixture.percent else 70.0).names
    return [name in kept for name in run.names]


def weights_view(run: RunContents, selection: str) -> dict[str, Any] | None:
    """A bar for each task, and what the selection and what the weights as ratios would do; None without weights."""
    if run.weights is None:
        return None
    weights = run.weights.on(run.names)
    kept, sizes, uniform = kept_tasks(run, selection), run.sizes, 1 / len(weights)
    by_size = sizes / sizes.sum()
    top = 1.06 * max(float(weights.max()), uniform)
    if np.nanmax(by_size, initial=0.0) <= 1.5 * top:
        top = max(top, 1.06 * float(np.nanmax(by_size, initial=0.0)))
    rows = []
    for at in np.argsort(-weights, kind="stable"):
        weight, share = float(weights[at]), float(by_size[at])
        label = f"{run.names[at]}: weight {percent(weight)}, uniform {percent(uniform)}, by size {percent(share)}"
        rows.append(
            {
                "name": run.names[at],
                "kept": kept[at],
                "weight": weight,
                "size": share,
                "svg": charts.weight_row(weight, share, uniform, top, kept[at], label),
            }
        )
    n_kept = sum(kept)
    return {
        "rows": rows,
        "n_kept": n_kept,
        "n_tasks": len(weights),
        "prefix": all(row["kept"] for row in rows[:n_kept]),
        "axis": charts.axis_row((0, top), {at: f"{100 * at:g} %" for at in charts.ticks(0, top, 4)}, pad=False),
        "effective": run.weights.effective_tasks,
        "alpha": alpha_in_words(run.weights.provenance.get("alpha")),
        "largest": rows[0],
        "uniform": uniform,
        "task_share": n_kept / len(weights),
        "row_share": float(by_size[np.array(kept)].sum()),
    }


def epochs_view(run: RunContents) -> list[dict[str, Any]]:
    """A table for each group: the epochs of each task under each mixture, averaged over the seeds."""
    views = []
    compared = [comparison["group"] for comparison in run.comparisons]
    for group in dict.fromkeys(compared + sorted(training.group for training in run.trainings)):
        inside = [training for training in run.trainings if training.group == group]
        if not inside:
            continue
        mixtures = in_order(list(dict.fromkeys(training.mixture for training in inside)))
        columns = [[training for training in inside if training.mixture == mixture] for mixture in mixtures]
        rows = [
            {
                "name": task.name,
                "rows": task.rows,
                "epochs": [_epochs(column, task.name) for column in columns],
            }
            for task in run.tasks
        ]
        views.append({"group": group, "mixtures": mixtures, "rows": rows})
    return views


def _epochs(trainings: list[TrainedModel], task: str) -> float:
    found = [as_number(nested(training.facts, "epochs", task)) for training in trainings]
    known = [value for value in found if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
