"""A forecast, before the fine-tuning: the gain over uniform to be expected, from what stage 1 has recorded.

Three signs are read off the log of stage 1. The gain is a straight line in them, fitted to the outcomes of many
mixtures, and judged on mixtures that it was not fitted to. On the sample mixture it has no skill, so a run prints none;
the study ``forecast`` asks the same of a user's own tasks. See docs/decisions.md, no-forecast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdro.weights import TaskWeights

FEWEST = 8  # mixtures that a forecast is fitted to
SURE = 0.05  # a forecast has skill only if chance gives its correlation more rarely


@dataclass(frozen=True)
class Signs:
    """What stage 1 says of the gain to be expected.

    Attributes:
        spread: how far the tasks' measures are apart: the standard deviation over tasks of the mean M, as a share of
            its mean.
        effective: the effective number of tasks, as a share of the tasks.
        agreement: the rank correlation (Kendall) of how the first and how the second half of stage 1 moved the weights.
    """

    spread: float
    effective: float
    agreement: float


@dataclass(frozen=True)
class Fit:
    """A forecast and how good it is.

    Attributes:
        intercept: the gain where all signs are 0, in points of nDCG@10.
        slopes: by sign, points for each unit.
        forecasts: for each mixture, what the line that is fitted to all others says; (mixtures,).
        correlation: of these forecasts with the outcomes.
        p: how often chance gives such a correlation.
        error: the root of the mean squared difference of forecast and outcome, in points.
        error_of_mean: the same, if the mean outcome of the other mixtures is the forecast.
        calibration: by how much the outcomes rise where the forecast is a point higher; 1 is right.
    """

    intercept: float
    slopes: dict[str, float]
    forecasts: list[float]
    correlation: float
    p: float
    error: float
    error_of_mean: float
    calibration: float

    @property
    def has_skill(self) -> bool:
        """Whether it is worth reading: it correlates with what comes out, and is nearer to it than the mean is."""
        return self.correlation > 0 and self.p < SURE and self.error < self.error_of_mean


def signs_of(steps: Sequence[Mapping[str, Any]]) -> Signs | None:
    """The signs in the log of a stage 1; None if it has fewer than 4 steps or 3 tasks, or nothing was measured.

    Args:
        steps: the lines of ``weights/steps.jsonl``: ``alpha`` and ``measure``, each (tasks,), null for absent tasks.

    Example::

        signs_of(read_jsonl("runs/mine/weights/steps.jsonl")).agreement  # 0.71
    """
    from scipy.stats import kendalltau

    alpha = _array(steps, "alpha")
    if len(alpha) < 4 or alpha.shape[1] < 3:
        return None
    measure = _array(steps, "measure")
    known = np.isfinite(measure).any(axis=0)
    means = np.nanmean(measure[:, known], axis=0)
    moved = np.log(alpha)
    half = len(moved) // 2
    first, second = moved[half] - moved[0], moved[-1] - moved[half]
    agreement = float(kendalltau(first, second).statistic)
    spread = float(means.std() / means.mean()) if len(means) > 1 and means.mean() else np.nan
    names = tuple(str(number) for number in range(alpha.shape[1]))
    effective = TaskWeights(names, alpha[-1] / alpha[-1].sum()).effective_tasks / len(names)
    found = Signs(spread, effective, agreement)
    return found if np.isfinite(astuple(found)).all() else None


def _array(steps: Sequence[Mapping[str, Any]], key: str) -> NDArray[np.float64]:
    return np.array([[np.nan if value is None else value for value in step[key]] for step in steps], dtype=float)


def fit(signs: Sequence[Signs], gains: Sequence[float]) -> Fit:
    """Fit the line, and judge it: each mixture is forecast by the line through all others.

    Args:
        signs: of each mixture.
        gains: what came out for each, in points of nDCG@10.

    Raises:
        ValueError: fewer than :data:`FEWEST` mixtures.
    """
    from scipy.stats import linregress

    if len(signs) < FEWEST:
        raise ValueError(f"{len(signs)} mixtures; a forecast needs {FEWEST}")
    x = np.array([[1.0, *astuple(each)] for each in signs])
    y = np.asarray(gains, dtype=float)
    others = [np.arange(len(y)) != at for at in range(len(y))]
    forecasts = np.array([x[at] @ _line(x[rest], y[rest]) for at, rest in enumerate(others)])
    means = np.array([y[rest].mean() for rest in others])
    if np.ptp(forecasts) and np.ptp(y):
        judged = linregress(forecasts, y)
        correlation, p, calibration = float(judged.rvalue), float(judged.pvalue), float(judged.slope)
    else:
        correlation, p, calibration = 0.0, 1.0, 0.0
    intercept, *slopes = _line(x, y).tolist()
    names = list(asdict(signs[0]))
    return Fit(
        intercept,
        dict(zip(names, slopes, strict=True)),
        forecasts.tolist(),
        correlation,
        p,
        float(np.sqrt(np.mean((forecasts - y) ** 2))),
        float(np.sqrt(np.mean((means - y) ** 2))),
        calibration,
    )


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.lstsq(x, y, rcond=None)[0], dtype=np.float64)
