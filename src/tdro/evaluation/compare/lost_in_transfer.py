"""A loss after the transfer: learned weights by which a model becomes worse than by uniform, named with what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tdro.evaluation.compare.readable_numbers import as_number, nested, points, signed
from tdro.evaluation.compare.verdict import one_seed, over_queries, seeds_could_turn
from tdro.mixture_name import known_mixture


def lost_in_transfer(comparison: Mapping[str, Any]) -> list[str]:
    """A line for each mixture by learned weights that is shown to be behind uniform.

    ``bottom-P`` is meant to lose and is passed over. With one seed the line says so, for another may give another sign.

    Args:
        comparison: of a group, from :func:`tdro.evaluation.compare.compare.compare`.

    Example::

        for line in lost_in_transfer(comparison):
            say(f"warning: {line}")
    """
    measure, lines = comparison.get("measure", "ndcg@10"), []
    for row in (row for row in comparison["rows"] if isinstance(row, dict)):
        mixture, difference = known_mixture(str(row.get("mixture"))), nested(row, "versus", measure, "all")
        if mixture is None or mixture.kind == "bottom" or not (mixture.uses_alpha or mixture.uses_gain):
            continue
        if row.get("baseline") != "uniform" or not _lost(difference):
            continue
        lines.append(
            f"{row['mixture']} is behind uniform by {points(-difference['difference'], 2)} points"
            f"{', with one seed' if one_seed(difference) else ''}{_most(row, measure)}: the learned weights do not "
            "suit this model. Train it by uniform, or keep more tasks (top-90, an exponent of 0.5); `tdro study proxy` "
            "says whether a proxy that is more like it learns other weights"
        )
    return lines


def _lost(difference: Any) -> bool:
    value = as_number(nested(difference, "difference"))
    return value < 0 and over_queries(difference) and not seeds_could_turn(difference)


def _most(row: Mapping[str, Any], measure: str) -> str:
    """The test set on which most is lost."""
    tests = nested(row, "versus", measure, "tests") or {}
    known = {name: as_number(nested(test, "difference")) for name, test in tests.items()}
    known = {name: value for name, value in known.items() if value < 0}
    if not known:
        return ""
    worst = min(known, key=lambda name: known[name])
    return f", most on '{worst}' ({signed(known[worst], 1)})"
