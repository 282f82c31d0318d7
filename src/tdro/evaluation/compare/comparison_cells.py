"""The cells of a comparison's tables for a terminal: points, intervals, differences and p as people write them.

Measures are in [0, 1], and are written x 100. Which table has which cells is in
:mod:`tdro.evaluation.compare.compare_table`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tdro.evaluation.compare.same_model import is_baseline
from tdro.evaluation.compare.verdict import SIGNIFICANT
from tdro.evaluation.significance import least_p

_LABELS = {"ndcg": "nDCG", "recall": "Recall", "mrr": "MRR", "map": "MAP", "accuracy": "Accuracy"}


def measure_label(measure: str) -> str:
    """A measure as people write it: ``nDCG@10`` for ``ndcg@10``."""
    kind, at, k = measure.partition("@")
    return f"{_LABELS.get(kind, kind)}{at}{k}"


def means_column(rows: Sequence[Mapping[str, Any]], measure: str, part: str) -> list[str]:
    """The means of each row over a part of the test sets: ``all``, ``trained`` or ``untrained``."""
    return [points(row[measure][part]) for row in rows]


def spreads_column(rows: Sequence[Mapping[str, Any]], measure: str) -> list[str]:
    """The standard deviation of each row over its seeds, such as ``± 0.4``; empty for a row of one seed."""
    spreads = [row[measure]["spread"] for row in rows]
    return ["" if spread is None else f"± {100 * spread:.1f}" for spread in spreads]


def difference_of_row(row: Mapping[str, Any], measure: str) -> str:
    """A row's difference from its baseline; or that both are the same; or "-"."""
    if is_baseline(row):
        return "the same model" if row["same"]["weights"] else "the same results"
    return difference(row["versus"][measure]["all"]) if row["versus"] else "-"


def difference(versus: Mapping[str, Any]) -> str:
    """For instance ``+1.0 [+0.3, +1.7] p 0.003``; p only where the queries are enough for a small one."""
    if not versus["wins"] + versus["losses"]:
        return "none: the same on every query"
    said = f"{100 * versus['difference']:+.1f} {interval(versus)}"
    enough = versus["low"] is not None and least_p(versus["wins"] + versus["losses"]) < SIGNIFICANT
    return f"{said} p {p_value(versus['p'])}" if enough else said


def interval(bounds: Mapping[str, float | None]) -> str:
    """For instance ``[+0.3, +1.7]``."""
    low, high = bounds["low"], bounds["high"]
    return "too few queries" if low is None or high is None else f"[{100 * low:+.1f}, {100 * high:+.1f}]"


def p_value(p: float) -> str:
    """For instance ``0.003``, or ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def points(value: float | None) -> str:
    """A measure x 100: ``43.1`` for 0.4312; ``-`` for None."""
    return "-" if value is None else f"{100 * value:.1f}"


def cut(text: str, width: int) -> str:
    """A text of at most ``width`` characters, the last of which is ``…`` if it had more."""
    return text if len(text) <= width else text[: width - 1] + "…"
