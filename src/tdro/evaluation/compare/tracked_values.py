"""A comparison as values for experiment trackers: numbers by name, and the table as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tdro.evaluation.compare.compare_table import comparison_table
from tdro.evaluation.compare.readable_numbers import as_number, nested

_VERSUS = ("difference", "low", "high", "p")  # of a mixture against its baseline, over all test sets


def tracked_values(comparison: Mapping[str, Any]) -> dict[str, float | str]:
    """The comparison by its names in a tracker, which shows them without the ``test_`` as ``test/…``.

    They are ``test_ndcg@10/top-70/faq`` (a test set's mean, in [0, 1]), ``test_mean_ndcg@10/top-70`` (over all test
    sets), ``test_difference/top-70`` with ``test_low/…``, ``test_high/…`` and ``test_p/…`` (against the baseline), and
    ``test_comparison``, the table that is printed, as a block of Markdown.

    Args:
        comparison: what :func:`tdro.evaluation.compare.compare.compare` returned.
    """
    measure, found = comparison["measure"], {}
    for row in comparison["rows"]:
        name = row["mixture"]
        # No name is the beginning of another: MLflow's store of files drops such values.
        found[f"mean_{measure}/{name}"] = nested(row, measure, "all")
        found |= {f"{measure}/{name}/{test}": mean for test, mean in (nested(row, measure, "tests") or {}).items()}
        found |= {f"{key}/{name}": nested(row, "versus", measure, "all", key) for key in _VERSUS}
    numbers = {f"test_{key}": number for key, value in found.items() if math.isfinite(number := as_number(value))}
    return {**numbers, "test_comparison": f"```\n{comparison_table(comparison)}\n```"}
