"""How well the gain over uniform can be forecast from what stage 1 has recorded: forecasts against outcomes.

Each variant of such a study is a mixture of tasks. Its forecast is by the line that is fitted to all other mixtures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tdro.evaluation.compare.readable_numbers import fixed, nested, p_phrase
from tdro.study.forecast import FEWEST, SURE, Fit, Signs, fit

Findings = Sequence[Mapping[str, Any]]


def judged(found: Findings) -> list[Mapping[str, Any]]:
    """The variants that have signs and an outcome."""
    return [one for one in found if nested(one, "weights", "signs") and nested(one, "scores", "gain") is not None]


def fit_of(found: Findings) -> Fit | None:
    """The forecast that the variants give; None if they are too few."""
    known = judged(found)
    if len(known) < FEWEST:
        return None
    return fit([Signs(**one["weights"]["signs"]) for one in known], [100 * _gain(one) for one in known])


def _gain(one: Mapping[str, Any]) -> float:
    return float(one["scores"]["gain"]["difference"])


def with_forecasts(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The findings, each with its ``forecast`` in points of nDCG@10; null where there is none."""
    fitted, known = fit_of(found), judged(found)
    forecasts = {id(one): value for one, value in zip(known, fitted.forecasts, strict=True)} if fitted else {}
    return [{**one, "forecast": forecasts.get(id(one))} for one in found]


def in_words(found: Findings) -> str:
    """Correlation, calibration and error of the forecasts, and whether they have skill."""
    fitted, known = fit_of(found), judged(found)
    if fitted is None:
        return f"{len(known)} mixtures are too few for a forecast; it needs {FEWEST}."
    verdict = (
        "The forecast has skill"
        if fitted.has_skill
        else f"The forecast has no skill (that takes p below {SURE} and a smaller error than the mean's)"
    )
    slopes = ", ".join(f"{fixed(value, 2)} × {name}" for name, value in fitted.slopes.items())
    return (
        f"Over {len(known)} mixtures, each forecast by the others, forecast and outcome have a correlation of "
        f"{fixed(fitted.correlation, 2)} ({p_phrase(fitted.p)}); where the forecast is a point higher, the outcome is "
        f"{fixed(fitted.calibration, 2)} points higher. The error is {fixed(fitted.error, 2)} points of nDCG@10, and "
        f"{fixed(fitted.error_of_mean, 2)} if the mean of the others is the forecast. {verdict}. All mixtures together "
        f"give: gain = {fixed(fitted.intercept, 2)} + {slopes}."
    )
