"""95 % intervals of a difference between two models: over other queries, and over other queries and seeds.

They are made for few queries and few seeds. The interval over queries is Student's t interval, with a variance for each
test set and Satterthwaite's degrees of freedom for their sum. The interval over queries and seeds has a half-width for
the queries and one for the seeds; its own half-width is about the root of the sum of their squares (a modified
large-sample interval, after Graybill and Wang 1980; for few seeds less is added, see :func:`_square_over_both`).
``benchmarks/coverage.py`` measures how often the intervals hold. See docs/decisions.md, intervals.

In this file, a half-width is called "reach", and what a training's seed does to its results is called "luck".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

SURE = 0.95  # what all intervals cover
FEWEST = 5  # there is no interval if fewer queries differ; and smaller test sets are not pooled with others
TIE = 1e-9  # a query's values that differ by less are equal but for rounding
MOST_SEEDS = 100  # the most seeds that `seeds_needed` considers
_NO_INTERVAL = (-math.inf, math.inf)

Values = Mapping[str, NDArray[np.float64]]
Numbers = float | NDArray[np.float64]


class _Variance(NamedTuple):
    """What one source (a test set's queries, the seeds) adds to the variance of a mean, and its degrees of freedom."""

    variance: float
    freedom: float


def too_few(differences: Mapping[str, ArrayLike]) -> str:
    """Why there is no interval over these queries, in words; empty if there is one.

    Args:
        differences: for each test set, the model's value minus the baseline's, one for each query; (queries,).
    """
    arrays = {name: np.asarray(each, dtype=np.float64) for name, each in differences.items()}
    queries = sum(len(each) for each in arrays.values())
    different = sum(int((np.abs(each) > TIE).sum()) for each in arrays.values())
    if queries < FEWEST:
        return f"{queries} {'query' if queries == 1 else 'queries'}"
    if different < FEWEST:
        return f"{different or 'none'} of {queries} queries {'differs' if different == 1 else 'differ'}"
    if single := [name for name, each in arrays.items() if len(each) == 1]:
        return f"1 query in test set {single[0]!r}"
    return ""


def query_interval(differences: Mapping[str, ArrayLike]) -> tuple[float, float]:
    """A 95 % interval of the mean difference, for other queries of these test sets.

    The mean is over test sets, each counting the same, of the mean over queries. The interval is infinite if there are
    too few queries (:func:`too_few` says why).

    Args:
        differences: for each test set, the model's value minus the baseline's, one for each query; (queries,).
    """
    if too_few(differences):
        return _NO_INTERVAL
    return _around(_mean(differences), _reach_over_queries(differences))


def seed_interval(
    model: Mapping[str, ArrayLike], baseline: Mapping[str, ArrayLike], paired: bool | None = None
) -> tuple[float, float]:
    """A 95 % interval of the mean difference, for other queries of these test sets *and* other seeds of the trainings.

    Trainings of one seed read the same rows of the tasks that they share, in the same order. So much of their luck is
    the same and cancels out in their difference. If both sides have the same seeds, give them in the same order: then
    each seed's difference is one value. Otherwise each side has its own luck, and both count.

    With 2 seeds there is one degree of freedom for the luck. Then the interval is wide, wider than needed if seeds have
    no effect; and it still cannot know of a bad training that happens rarely.

    Args:
        model: for each test set an array (seeds, queries). A side with one row counts as fixed, as a model without
            seeds is, for instance an untrained one.
        baseline: likewise, for the same queries.
        paired: whether row k of both sides is of the same seed. None: they are if both have the same number of rows.

    Example::

        low, high = seed_interval({"nq": model}, {"nq": baseline})  # arrays of shape (3 seeds, 100 queries)
    """
    sides = _sides(model, baseline, paired)
    differences = _over_seeds(model, baseline)
    if too_few(differences):
        return _NO_INTERVAL
    noise = _noise_share(sides, differences)
    luck = _pooled(_luck(side, noise) for side in sides)
    square = _square_over_both(_reach_over_queries(differences) ** 2, _reach(luck) ** 2, luck.freedom)
    return _around(_mean(differences), math.sqrt(float(square)))


def seeds_needed(
    model: Mapping[str, ArrayLike], baseline: Mapping[str, ArrayLike], paired: bool | None = None
) -> int | None:
    """How many seeds each side would need until zero is outside of :func:`seed_interval`.

    This assumes that the difference and the variances stay as they are. None if it would take more than 100 seeds, or
    if no number of seeds is enough since there are too few queries. The arguments are those of :func:`seed_interval`.
    """
    sides = _sides(model, baseline, paired)
    differences = _over_seeds(model, baseline)
    if not sides or too_few(differences):
        return None
    seeds = np.arange(2, MOST_SEEDS + 1)
    # For each number of seeds: the variance over queries, which still has some luck in it, and the luck of the means.
    noise = sum(_noise(side) * len(_seed_means(side)) for side in sides)
    now = sum(variance for variance, _ in _query_parts(differences))
    queries = max(0.0, now - sum(_noise(side) for side in sides)) + noise / seeds
    share_now = _noise_share(sides, differences)
    luck = [_luck(side, share_now).variance * len(_seed_means(side)) for side in sides]
    sides_alike = sum(luck) ** 2 / sum(each**2 for each in luck) if any(luck) else 1.0
    freedom = np.asarray((seeds - 1) * sides_alike, dtype=np.float64)
    share = queries / now if now > TIE**2 else 1.0
    over_queries = _reach_over_queries(differences) ** 2 * share
    squares = _square_over_both(over_queries, _t(freedom) ** 2 * sum(luck) / seeds, freedom)
    enough = np.flatnonzero(squares < _mean(differences) ** 2)
    return int(seeds[enough[0]]) if len(enough) else None


def query_error(values: Mapping[str, ArrayLike]) -> float:
    """The standard error over queries of the mean over test sets, each counting the same, of the mean over queries.

    Args:
        values: for each test set one value for each query; (queries,). A test set of one query adds no error.
    """
    return math.sqrt(sum(part.variance for part in _query_parts(values)))


def seed_spread(values: Mapping[str, ArrayLike]) -> float | None:
    """The standard deviation over seeds of the mean over test sets of the mean over queries; None for one seed.

    Args:
        values: for each test set an array (seeds, queries).
    """
    means = _seed_means(_rows(values))
    return float(means.std(ddof=1)) if len(means) > 1 else None


def _sides(model: Mapping[str, ArrayLike], baseline: Mapping[str, ArrayLike], paired: bool | None) -> list[Values]:
    """The values that vary with the seed, each with an array (seeds, queries) for each test set.

    If the seeds are paired, these are the differences; otherwise each side that has several seeds.
    """
    one, other = _rows(model), _rows(baseline)
    shapes = [{name: each.shape[1] for name, each in side.items()} for side in (one, other)]
    if shapes[0] != shapes[1]:
        raise ValueError("the model and the baseline need the same test sets, and in each as many queries")
    seeds = len(_seed_means(one)), len(_seed_means(other))
    if paired is None:
        paired = seeds[0] == seeds[1]
    if paired and seeds[0] != seeds[1]:
        raise ValueError(f"{seeds[0]} and {seeds[1]} seeds are no pairs")
    sides = [{name: one[name] - other[name] for name in one}] if paired else [one, other]
    return [side for side in sides if len(_seed_means(side)) > 1]


def _rows(values: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
    """The values as arrays (seeds, queries); raise ValueError if seeds differ or a value is not finite."""
    arrays = {name: np.atleast_2d(np.asarray(each, dtype=np.float64)) for name, each in values.items()}
    if len({len(each) for each in arrays.values()}) != 1 or any(each.ndim != 2 for each in arrays.values()):
        raise ValueError("every test set needs an array (seeds, queries), with as many seeds")
    if not all(np.isfinite(each).all() for each in arrays.values()):
        raise ValueError("a value is not a finite number")
    return arrays


def _seed_means(values: Values) -> NDArray[np.float64]:
    """Each seed's mean over test sets of the mean over queries."""
    return np.mean([each.mean(axis=1) for each in values.values()], axis=0)


def _over_seeds(model: Mapping[str, ArrayLike], baseline: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
    """For each test set, each query's difference of the means over seeds; (queries,)."""
    one, other = _rows(model), _rows(baseline)
    return {name: one[name].mean(axis=0) - other[name].mean(axis=0) for name in one}


def _mean(differences: Mapping[str, ArrayLike]) -> float:
    return float(np.mean([np.asarray(each, dtype=np.float64).mean() for each in differences.values()]))


def _query_parts(values: Mapping[str, ArrayLike]) -> list[_Variance]:
    """For each test set, what its queries add to the variance of the mean over test sets."""
    arrays = [np.asarray(each, dtype=np.float64) for each in values.values()]
    return [
        _Variance(float(each.var(ddof=1)) / len(each) / len(arrays) ** 2, len(each) - 1)
        for each in arrays
        if len(each) > 1
    ]


def _reach_over_queries(differences: Mapping[str, ArrayLike]) -> float:
    """The half-width of the interval over queries.

    Test sets of few queries are not pooled with others: one that by chance has hardly any variance would count as
    known exactly. If all queries of each test set differ by the same amount, their variance says nothing, and the rule
    of three is used: with 95 %, no more than 3 of n queries are different from these, by 1 at most in each direction.
    """
    parts = _query_parts(differences)
    if sum(part.variance for part in parts) <= TIE**2:
        arrays = [np.asarray(each, dtype=np.float64) for each in differences.values()]
        return float(np.mean([3 / len(each) * (1 + abs(each.mean())) for each in arrays]))
    large = [part for part in parts if part.freedom >= FEWEST - 1]
    small = [part for part in parts if part.freedom < FEWEST - 1]
    return math.sqrt(sum(_reach(part) ** 2 for part in [_pooled(large), *small]))


def _square_over_both(over_queries: Numbers, over_seeds: Numbers, freedom: Numbers) -> NDArray[np.float64]:
    """The square of the half-width over queries and seeds, from the squares over each.

    It is nearly their sum for many seeds. With few, the seeds' t is so wide that it covers much of the queries too:
    adding all would hold the truth too often. So of the queries only the share 1 - 4 / S² is added (S: the seeds; none
    with 2 seeds), and the half-width is never below that over queries alone.
    """
    share = np.maximum(0.0, 1 - 4 / (np.asarray(freedom) + 1) ** 2)
    both: NDArray[np.float64] = np.maximum(over_queries, share * over_queries + over_seeds)
    return both


def _luck(values: Values, noise_share: float) -> _Variance:
    """What the choice of seeds adds to the variance of a mean over seeds, beyond what is in the variance over queries.

    Luck that moves single queries is in the variance over queries already (:func:`_noise`), so it is subtracted from
    the variance of the seeds' means. Subtracting all of it would leave nothing too often with few seeds, and the
    interval would be too narrow. So less is subtracted, the fewer the seeds and the larger the noise's share of the
    variance over queries: with 2 seeds a third of it, and a seventh if that variance is all noise.
    """
    means = _seed_means(values)
    seeds = len(means)
    own = float(means.var(ddof=1)) / seeds - (1 - (1.3 + 0.4 * noise_share) / seeds) * _noise(values)
    return _Variance(max(0.0, own), seeds - 1)


def _noise_share(sides: Iterable[Values], differences: Mapping[str, ArrayLike]) -> float:
    """The share of the variance over queries that is luck of single queries, from 0 to 1."""
    variance = sum(part.variance for part in _query_parts(differences))
    return min(1.0, sum(_noise(side) for side in sides) / variance) if variance > TIE**2 else 0.0


def _noise(values: Values) -> float:
    """What luck of single queries adds to the variance of the mean: from the residuals of a two-way table, seeds by
    queries."""
    total = 0.0
    for each in values.values():
        seeds, queries = each.shape
        if queries > 1:
            left = each - each.mean(axis=1, keepdims=True) - each.mean(axis=0) + each.mean()
            total += float((left**2).sum()) / ((seeds - 1) * (queries - 1)) / (seeds * queries)
    return total / len(values) ** 2


def _pooled(parts: Iterable[_Variance]) -> _Variance:
    """The sum of some variances, with Satterthwaite's degrees of freedom."""
    parts = [part for part in parts if part.variance > 0]
    total = sum(part.variance for part in parts)
    return (
        _Variance(total, total**2 / sum(part.variance**2 / part.freedom for part in parts))
        if parts
        else _Variance(0.0, 1)
    )


def _reach(part: _Variance) -> float:
    return float(_t(part.freedom)) * math.sqrt(part.variance)


def _t(freedom: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Student's quantile: :data:`SURE` of the values are between minus and plus this."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(freedom, (1 + SURE) / 2))


def _around(middle: float, reach: float) -> tuple[float, float]:
    return middle - reach, middle + reach
