"""The weights and the epochs as plain rows, and the order and selection that all sections share.

The template formats and escapes; nothing here is HTML except the charts' SVG. Rejected: computing in the
template, where nothing can be tested.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tdro.data.quality.data_card_table import languages
from tdro.evaluation.compare.readable_numbers import as_number, nested
from tdro.evaluation.leaks.find_leaks import leak_counts, leaks_line
from tdro.report import charts
from tdro.report.collect import Run, Training
from tdro.report.public import public
from tdro.report.sentences import percent

ORDER = ("untrained", "bm25", "uniform", "proportional", "top", "bottom", "reweight", "loss-reweight")


def selection_name(run: Run) -> str:
    """The selection that was judged: the first ``top-…`` that was compared or trained, or ``top-70``."""
    compared = [str(nested(row, "mixture")) for comparison in run.comparisons for row in comparison["rows"]]
    names = compared + [training.mixture for training in run.trainings]
    return next((name for name in names if name.startswith("top-")), "top-70")


def in_order(mixtures: list[str]) -> list[str]:
    """Untrained, BM25 and uniform first, then proportional, top, bottom, reweight, then the rest as they came."""
    known = {kind: at for at, kind in enumerate(ORDER)}
    return sorted(mixtures, key=lambda name: known.get(name.split("-")[0], len(ORDER)))


def kept_tasks(run: Run, selection: str) -> list[bool]:
    """Which tasks the selection keeps: as it was trained on, else as :meth:`TaskWeights.top` says."""
    for training in run.trainings:
        weights = nested(training.facts, "weights")
        if training.mixture == selection and isinstance(weights, dict):
            return [as_number(weights.get(name)) > 0 for name in run.names]
    if run.weights is None:
        return [False] * len(run.tasks)
    share = selection.partition("-")[2]
    kept = run.weights.top(float(share) if share.isdigit() else 70.0).names
    return [name in kept for name in run.names]


def leaks_view(run: Run) -> dict[str, Any] | None:
    """What was found of the compared test sets' queries in the training data, the most first; None for nothing."""
    compared = {str(nested(test, "name")) for comparison in run.comparisons for test in comparison["tests"]}
    if run.leaks is None or not leak_counts(run.leaks, compared)[0]:
        return None
    found = [leak for leak in run.leaks["leaks"] if leak["test"] in compared]
    rows = [
        {**leak, "tasks": ", ".join(f"{task} {count}" for task, count in leak["tasks"].items())}
        for leak in sorted(found, key=lambda leak: -leak["leaked"] / leak["queries"])
    ]
    return {"line": leaks_line(run.leaks, compared), "rows": rows}


def weights_view(run: Run, selection: str) -> dict[str, Any] | None:
    """The bars beside uniform and size, what selection and ratios would do; None without weights."""
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
        "largest": rows[0],
        "uniform": uniform,
        "task_share": n_kept / len(weights),
        "row_share": float(by_size[np.array(kept)].sum()),
    }


def epochs_view(run: Run) -> list[dict[str, Any]]:
    """Per group, the epochs of each task under each mixture, averaged over the seeds."""
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


def _epochs(trainings: list[Training], task: str) -> float:
    found = [as_number(nested(training.facts, "epochs", task)) for training in trainings]
    known = [value for value in found if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def data_view(run: Run) -> dict[str, Any] | None:
    """What the tasks hold, by ``data.json``; None without it."""
    tasks = nested(run.data, "tasks")
    if not isinstance(tasks, list):
        return None
    unit, tokenizer = str(nested(run.data, "unit") or "characters"), nested(run.data, "tokenizer")
    return {
        "unit": f"{unit} of {public(str(tokenizer))}" if tokenizer else unit,
        "length_rows": nested(run.data, "length_rows"),
        "rows": [_data_row(task) for task in tasks],
        "cut": _cut_view(run.data, tasks),
    }


def _cut_view(data: Any, tasks: list[Any]) -> dict[str, Any] | None:
    """Where texts were cut, and the tasks of which some texts became equal; None where it was not looked at."""
    if not any(nested(task, "cut") for task in tasks):
        return None
    sides = [
        (str(nested(task, "name")), what, as_number(nested(task, "cut", side, "same")))
        for task in tasks
        for side, what in (("query", "queries"), ("passage", "passages"))
    ]
    longest = as_number(nested(data, "longest"))  # NaN: no limit
    return {
        **{
            f"{side}_tokens": np.nanmin([longest, as_number(nested(data, f"{side}_tokens"))])
            for side in ("query", "passage")
        },
        "longest": nested(data, "longest"),
        "prompts": any(nested(task, "cut", "query", "prompt") for task in tasks),
        "equal": ", ".join(f"{percent(same)} of {task}'s {what}" for task, what, same in sides if same > 0),
    }


def _data_row(task: Any) -> dict[str, Any]:
    samples = nested(task, "samples")
    shares = [nested(task, key) for key in ("query_languages", "passage_languages")]
    return {
        "name": str(nested(task, "name")),
        **{key: nested(task, key) for key in ("rows", "without_negatives", "same_query", "same_positive")},
        **{
            f"{what}_{key}": nested(task, f"{what}_lengths", key)
            for what in ("query", "passage")
            for key in ("median", "most")
        },
        **{f"{side}_cut": nested(task, "cut", side, "cut") for side in ("query", "passage")},
        **{f"{side}_mean": nested(task, side, "mean") for side in ("positives", "negatives")},
        "languages": " / ".join(languages(share) if isinstance(share, dict) else "–" for share in shares),
        "samples": [
            [str(nested(sample, side) or "–") for side in ("query", "positive", "negative")]
            for sample in (samples if isinstance(samples, list) else [])
        ],
    }
