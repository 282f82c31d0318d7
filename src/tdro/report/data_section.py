"""What the tasks hold, and the test queries that were found in the training data, as plain rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from tdro.data.quality.languages import shares_text
from tdro.evaluation.compare.readable_numbers import as_number, nested
from tdro.evaluation.leaks.find_leaks import leak_counts, leaks_line
from tdro.report.hide_paths import hide_paths
from tdro.report.run_contents import RunContents
from tdro.report.words import percent


def data_view(run: RunContents) -> dict[str, Any] | None:
    """What the tasks hold, from ``data.json``; None without it."""
    tasks = nested(run.data, "tasks")
    if not isinstance(tasks, list):
        return None
    unit, tokenizer = str(nested(run.data, "unit") or "characters"), nested(run.data, "tokenizer")
    return {
        "unit": f"{unit} of {hide_paths(str(tokenizer))}" if tokenizer else unit,
        "length_rows": nested(run.data, "length_rows"),
        "rows": [_data_row(task) for task in tasks],
        "cut": _cut_view(run.data, tasks),
    }


def _cut_view(data: Any, tasks: list[Any]) -> dict[str, Any] | None:
    """At which length texts were cut, and the tasks in which some texts became equal by it; None if not known."""
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
        "languages": " / ".join(shares_text(share) if isinstance(share, dict) else "–" for share in shares),
        "samples": [
            [str(nested(sample, side) or "–") for side in ("query", "positive", "negative")]
            for sample in (samples if isinstance(samples, list) else [])
        ],
    }


def leaks_view(run: RunContents) -> dict[str, Any] | None:
    """Queries of the compared test sets that are in the training data, most leaks first; None if there are none."""
    compared = {str(nested(test, "name")) for comparison in run.comparisons for test in comparison["tests"]}
    if run.leaks is None or not leak_counts(run.leaks, compared)[0]:
        return None
    found = [leak for leak in run.leaks["leaks"] if leak["test"] in compared]
    rows = [
        {**leak, "tasks": ", ".join(f"{task} {count}" for task, count in leak["tasks"].items())}
        for leak in sorted(found, key=lambda leak: -leak["leaked"] / leak["queries"])
    ]
    return {"line": leaks_line(run.leaks, compared), "rows": rows}
