"""How many times the steps uniform needs for what a mixture reaches, from uniform trained longer.

A group may train ``uniform`` for, say, 1.5 and 2 times its steps (the key ``uniform_longer``). Between the numbers of
steps that were trained, the value of each query is interpolated, linearly in the logarithm of the steps. The answer is
the first place at which uniform reaches the mixture's mean. The 95 % interval has the places at which zero is in the
interval of the difference (:mod:`tdro.evaluation.intervals`). Nothing is said of steps beyond those that were trained.
See docs/decisions.md, steps-by-interpolation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdro.evaluation.intervals import query_interval, seed_interval
from tdro.evaluation.results import Results

_PARTS = 16  # pieces of the way from one trained number of steps to the next

Array = NDArray[np.float64]
Values = Mapping[str, Array]  # for each test set (seeds, queries)


def uniform_steps(
    model: Sequence[Results], uniform: Mapping[float, Sequence[Results]], measure: str, tests: Sequence[str]
) -> dict[str, Any] | None:
    """How many times a mixture's steps uniform needs to reach its mean over the test sets.

    Args:
        model: the mixture's results, one for each seed.
        uniform: uniform's results, one for each seed, by how many times the mixture's steps it was trained for: 1 and
            at least one more.
        measure: what is compared.
        tests: names of the test sets.

    Returns:
        None if no seed is common to all. Else a dict:

        - ``times``: the answer; null if it is below 1 or above ``most``;
        - ``low`` and ``high``: its 95 % interval; null for an end that is below 1 or above ``most``;
        - ``most``: the most that uniform was trained for, in times of the mixture's steps;
        - ``below``: whether uniform is as good with the same steps already, so that the answer is not above 1;
        - ``pairs``: how many seeds all have. With one, the interval is over queries alone.
    """
    seeds = sorted(set.intersection(*({run.seed for run in runs} for runs in (model, *uniform.values()))), key=str)
    if not seeds:
        return None
    factors = sorted(uniform)
    one, curve = _values(model, seeds, measure, tests), [_values(uniform[f], seeds, measure, tests) for f in factors]
    places = np.log(factors)
    grid = np.interp(np.arange(_PARTS * (len(places) - 1) + 1) / _PARTS, np.arange(len(places)), places)
    found = np.array([_difference(one, _between(curve, places, place), len(seeds)) for place in grid])
    middle, low, high = found.T
    most = float(factors[-1])
    return {
        "times": None if middle[0] <= 0 else _first(grid, middle),
        "low": None if low[0] <= 0 else _first(grid, low) or most,
        "high": None if high[-1] >= 0 else _last(grid, high) or 1.0,
        "most": most,
        "below": bool(middle[0] <= 0),
        "pairs": len(seeds),
    }


def steps_in_words(mixture: str, found: Mapping[str, Any]) -> str:
    """A sentence for what :func:`uniform_steps` found: how many times the steps uniform needs.

    Example::

        steps_in_words("top-70", {"times": 1.4, "low": 1.2, "high": None, "most": 2.0, "below": False, "pairs": 3})
        # 'For what top-70 reaches, uniform needs 1.40 times the steps (95 % interval over queries and 3 pairs of
        # seeds: 1.20 to more than 2).'
    """
    low, high = _bounds(found)
    over = f"over queries and {found['pairs']} pairs of seeds" if found["pairs"] > 1 else "over queries"
    interval = f"95 % interval {over}: {low} to {high}"
    if found["below"]:
        return f"{mixture} saves no steps: uniform is as good with the same ({interval} times)."
    value = f"{found['times']:.2f}" if found["times"] else f"more than {found['most']:g}"
    return f"For what {mixture} reaches, uniform needs {value} times the steps ({interval})."


def steps_cell(found: Mapping[str, Any]) -> str:
    """The same as short as a table needs it: ``1.40 [1.20, more than 2]``."""
    low, high = _bounds(found)
    value = "at most 1" if found["below"] else f"{found['times'] or 0:.2f}"
    if not found["below"] and found["times"] is None:
        value = f"more than {found['most']:g}"
    return f"{value} [{low}, {high}]"


def _bounds(found: Mapping[str, Any]) -> tuple[str, str]:
    low = "less than 1" if found["low"] is None else f"{found['low']:.2f}"
    high = f"more than {found['most']:g}" if found["high"] is None else f"{found['high']:.2f}"
    return low, high


def _values(runs: Sequence[Results], seeds: Sequence[int | None], measure: str, tests: Sequence[str]) -> Values:
    by_seed = {run.seed: run for run in runs}
    return {test: np.stack([by_seed[seed].values(test, measure) for seed in seeds]) for test in tests}


def _between(curve: Sequence[Values], places: Array, place: float) -> Values:
    """The values at a place, from those at the two trained places around it."""
    right = min(max(int(np.searchsorted(places, place)), 1), len(places) - 1)
    share = (place - places[right - 1]) / (places[right] - places[right - 1])
    before, after = curve[right - 1], curve[right]
    return {test: (1 - share) * before[test] + share * after[test] for test in before}


def _difference(one: Values, other: Values, seeds: int) -> tuple[float, float, float]:
    """The mean difference and its interval."""
    each = {test: one[test].mean(axis=0) - other[test].mean(axis=0) for test in one}
    middle = float(np.mean([difference.mean() for difference in each.values()]))
    return (middle, *(seed_interval(one, other, True) if seeds > 1 else query_interval(each)))


def _first(grid: Array, values: Array) -> float | None:
    """The first place at which the values come down to zero, interpolated; None if they never do."""
    down = np.flatnonzero(values <= 0)
    return None if not len(down) else _zero(grid, values, int(down[0]))


def _last(grid: Array, values: Array) -> float | None:
    """The last place at which the values are still zero or more, interpolated; None if they never are."""
    up = np.flatnonzero(values >= 0)
    return None if not len(up) else _zero(grid, values, int(up[-1]) + 1)


def _zero(grid: Array, values: Array, right: int) -> float:
    """Where the values are zero, between a place of the grid and the one before it; in times of the steps."""
    before, after = values[right - 1], values[right]
    share = before / (before - after)
    return float(np.exp(grid[right - 1] + share * (grid[right] - grid[right - 1])))
