"""The forecast: its signs, and how it is judged."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from tdro.study.calibration import in_words, with_forecasts
from tdro.study.figure import figure
from tdro.study.forecast import Fit, Signs, fit, signs_of
from tdro.study.schema import Study

STUDY = Study(vary={"tasks.draw": (1,)}, set={"mixture": "top-50"}, says="forecast")


def steps(alphas: list[list[float]], measures: list[list[float | None]]) -> list[dict[str, Any]]:
    return [{"alpha": alpha, "measure": measure} for alpha, measure in zip(alphas, measures, strict=True)]


def mixtures(count: int, noise: float, seed: int = 0) -> tuple[list[Signs], list[float]]:
    """Signs by chance, and gains of 2 × spread − agreement and some noise."""
    random = np.random.default_rng(seed)
    signs = [Signs(*row) for row in random.uniform(0.1, 0.9, (count, 3)).tolist()]
    gains = [2 * one.spread - one.agreement + noise * random.standard_normal() for one in signs]
    return signs, gains


def points(count: int, noise: float, seed: int = 0) -> list[dict[str, Any]]:
    """Findings of a study of so many mixtures."""
    signs, gains = mixtures(count, noise, seed)
    words = {"line": "", "axis": "tasks.draw", "settings": {}, "versus": {}}
    bounds = {"low": -0.1, "high": 0.1}
    return [
        {
            **words,
            **{"name": f"tasks.draw {at}", "place": float(at), "value": at},
            "weights": {"signs": asdict(sign)},
            "scores": {"gain": {"difference": gain / 100, **bounds, "with_seeds": bounds}},
        }
        for at, (sign, gain) in enumerate(zip(signs, gains, strict=True))
    ]


# ---- signs


def test_signs_of_a_log() -> None:
    """Both halves move the first task up and the last one down, so they agree; the second task is absent once."""
    alphas = [[0.3, 0.4, 0.3], [0.32, 0.4, 0.28], [0.35, 0.4, 0.25], [0.4, 0.38, 0.22], [0.5, 0.3, 0.2]]
    found = signs_of(steps(alphas, [[1.0, None, 3.0], *[[1.0, 2.0, 3.0]] * 4]))
    assert found is not None
    assert found.spread == pytest.approx(np.std([1, 2, 3]) / 2)
    shares = np.array([0.5, 0.3, 0.2])
    assert found.effective == pytest.approx(np.exp(-(shares * np.log(shares)).sum()) / 3)
    assert found.agreement == pytest.approx(1 / 3)  # up, stays, down; then up, down less than the last falls


def test_a_log_that_says_too_little_has_no_signs() -> None:
    assert signs_of(steps([[0.5, 0.5]] * 9, [[1.0, 1.0]] * 9)) is None
    assert signs_of(steps([[0.5, 0.3, 0.2]] * 3, [[1.0, 2.0, 3.0]] * 3)) is None
    assert signs_of(steps([[0.5, 0.3, 0.2]] * 9, [[1.0, 2.0, 3.0]] * 9)) is None  # nothing moved: no agreement
    assert signs_of([]) is None


# ---- how it is judged


def test_each_mixture_is_forecast_by_the_others() -> None:
    signs, gains = mixtures(12, noise=0.3)
    found = fit(signs, gains)
    for at in (0, 7):
        rest = [one for number, one in enumerate(signs) if number != at]
        line = fit(rest, [gain for number, gain in enumerate(gains) if number != at])
        there = line.intercept + sum(line.slopes[name] * value for name, value in asdict(signs[at]).items())
        assert found.forecasts[at] == pytest.approx(there)


def test_a_forecast_with_skill_finds_the_law() -> None:
    found = fit(*mixtures(20, noise=0.05))
    assert found.has_skill and found.calibration == pytest.approx(1, abs=0.1)
    assert found.slopes["spread"] == pytest.approx(2, abs=0.2) and found.slopes["agreement"] == pytest.approx(
        -1, abs=0.2
    )
    assert found.error < 0.1 < found.error_of_mean


def test_chance_has_no_skill() -> None:
    """Outcomes that have nothing to do with the signs: fewer than one in twenty pass."""
    random = np.random.default_rng(5)

    def by_chance(seed: int) -> Fit:
        return fit(mixtures(20, noise=0, seed=seed)[0], random.standard_normal(20).tolist())

    assert sum(by_chance(seed).has_skill for seed in range(100)) < 5


def test_too_few_mixtures_are_refused() -> None:
    with pytest.raises(ValueError, match="7 mixtures; a forecast needs 8"):
        fit(*mixtures(7, noise=0))
    assert in_words(points(7, noise=0)) == "7 mixtures are too few for a forecast; it needs 8."
    assert {one["forecast"] for one in with_forecasts(points(7, noise=0))} == {None}


# ---- the study


def test_the_study_says_correlation_and_calibration_whatever_they_are() -> None:
    found = points(20, noise=0.05)
    assert "has skill" in in_words(found)
    svg = figure(STUDY, with_forecasts(found))
    assert svg.count("<g class=") == 20 and 'class="line other"' in svg
    nothing = points(20, noise=50)
    said = in_words(nothing)
    assert "The forecast has no skill" in said and "correlation of" in said
