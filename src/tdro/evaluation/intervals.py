"""Where a difference would lie with other queries, and with other seeds too: 95 % intervals that hold for few of both.

An interval over queries is Student's, with a variance for each test set and Satterthwaite's degrees of freedom for
their sum. An interval over queries and seeds has a half-width for each of the two, and they add up as the sides of a
right angle do: reach² = reach over queries² + reach over seeds² (a modified large-sample interval, after Graybill and
Wang 1980). ``benchmarks/coverage.py`` measures how often they hold.

Rejected, since measured on differences of nDCG@10 (many of them 0, few values) they held too seldom: the percentile
bootstrap (5 queries: 84 % instead of 95 %), BCa and the studentized bootstrap (below 90 % for 12 queries); for seeds,
one t for the sum of both variances (2 seeds: 87 %), and the hierarchical bootstrap, which of S seeds sees (S - 1) / S
of their variance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

SURE = 0.95  # what all intervals cover
FEWEST = 5  # queries with a difference; of fewer there is no interval, and a smaller test set is not pooled with others
TIE = 1e-9  # a smaller difference of a query's values is rounding
MOST_SEEDS = 100  # that are thought of
_NONE = (-math.inf, math.inf)

Values = Mapping[str, NDArray[np.float64]]


class _Part(NamedTuple):
    """What one source adds to the variance of a mean, and how well that is known."""

    variance: float
    freedom: float


def too_few(differences: Mapping[str, ArrayLike]) -> str:
    """Why there is no interval over these queries, in words; empty where there is one.

    Args:
        differences: for each test set, the model's value minus the baseline's, one a query.
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
    """A 95 % interval, for other queries of these test sets, of the mean over test sets of the mean difference.

    It holds from :data:`FEWEST` queries on. Without bounds where :func:`too_few` says why.

    Args:
        differences: for each test set, the model's value minus the baseline's, one a query.
    """
    if too_few(differences):
        return _NONE
    return _around(_mean(differences), _reach_over_queries(differences))


def seed_interval(
    model: Mapping[str, ArrayLike], baseline: Mapping[str, ArrayLike], paired: bool | None = None
) -> tuple[float, float]:
    """A 95 % interval of the difference for other queries of these test sets *and* other seeds of these trainings.

    Trainings of one seed read the same rows in the same order, in the tasks that they share, so much of their luck is
    the same, and gone from the difference of the two: where both sides have the same seeds, give them in the same
    order, and each seed's difference is one value. Else each side has its own luck, and both count.

    What a training's luck does to single queries also moves the means over queries, and part of it is not counted a
    second time. With 2 seeds the luck has one degree of freedom: the interval is wide, wider than it need be where
    seeds have no effect, and still cannot know of a rare bad training.

    Args:
        model: for each test set an array (seeds, queries). A side with one row counts as fixed: a model that has no
            seeds, such as an untrained one.
        baseline: likewise, of the same queries.
        paired: row k of both is of the same seed. By default where they have as many rows, more than one.
    """
    sides = _sides(model, baseline, paired)
    differences = _over_seeds(model, baseline)
    if too_few(differences):
        return _NONE
    noise = _noise_share(sides, differences)
    squares = _reach_over_queries(differences) ** 2 + _reach(_pooled(_luck(side, noise) for side in sides)) ** 2
    return _around(_mean(differences), math.sqrt(squares))


def seeds_needed(
    model: Mapping[str, ArrayLike], baseline: Mapping[str, ArrayLike], paired: bool | None = None
) -> int | None:
    """How many seeds a side it would take until :func:`seed_interval` leaves zero out, if the difference and the
    variances stay as they are. None for more than 100, and where more seeds cannot show it since the queries are too
    few.

    Arguments as there.
    """
    sides = _sides(model, baseline, paired)
    differences = _over_seeds(model, baseline)
    if not sides or too_few(differences):
        return None
    seeds = np.arange(2, MOST_SEEDS + 1)
    # By the number of seeds: what a query's mean still has of a training's luck, and the luck of the means.
    noise = sum(_noise(side) * len(_seed_means(side)) for side in sides)
    now = sum(variance for variance, _ in _query_parts(differences))
    queries = max(0.0, now - sum(_noise(side) for side in sides)) + noise / seeds
    share_now = _noise_share(sides, differences)
    luck = [_luck(side, share_now).variance * len(_seed_means(side)) for side in sides]
    sides_alike = sum(luck) ** 2 / sum(each**2 for each in luck) if any(luck) else 1.0
    freedom = np.asarray((seeds - 1) * sides_alike, dtype=np.float64)
    share = queries / now if now > TIE**2 else 1.0
    squares = _reach_over_queries(differences) ** 2 * share + _t(freedom) ** 2 * sum(luck) / seeds
    enough = np.flatnonzero(squares < _mean(differences) ** 2)
    return int(seeds[enough[0]]) if len(enough) else None


def query_error(values: Mapping[str, ArrayLike]) -> float:
    """The standard error, over the choice of queries, of the unweighted mean over test sets of the mean over queries.

    Args:
        values: for each test set one value a query. A test set of one query says nothing of its error and adds none.
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
    """What has luck of its own, an array (seeds, queries) a test set each: the differences of the pairs, or the sides
    that have several seeds."""
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
    """Arrays (seeds, queries) of finite numbers, as many seeds in each test set."""
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
    """The difference of each query, the seeds averaged."""
    one, other = _rows(model), _rows(baseline)
    return {name: one[name].mean(axis=0) - other[name].mean(axis=0) for name in one}


def _mean(differences: Mapping[str, ArrayLike]) -> float:
    return float(np.mean([np.asarray(each, dtype=np.float64).mean() for each in differences.values()]))


def _query_parts(values: Mapping[str, ArrayLike]) -> list[_Part]:
    """What each test set's queries add to the variance of the mean over test sets."""
    arrays = [np.asarray(each, dtype=np.float64) for each in values.values()]
    return [
        _Part(float(each.var(ddof=1)) / len(each) / len(arrays) ** 2, len(each) - 1) for each in arrays if len(each) > 1
    ]


def _reach_over_queries(differences: Mapping[str, ArrayLike]) -> float:
    """Half of the interval's width.

    Test sets of few queries are not pooled with others: one that has, by chance, hardly any variance would count as
    known. Where all queries of each test set differ by the same amount, their variance says nothing; then the rule of
    three does: with 95 %, no more than 3 of n queries are otherwise, by 1 at most in each direction.
    """
    parts = _query_parts(differences)
    if sum(part.variance for part in parts) <= TIE**2:
        arrays = [np.asarray(each, dtype=np.float64) for each in differences.values()]
        return float(np.mean([3 / len(each) * (1 + abs(each.mean())) for each in arrays]))
    large = [part for part in parts if part.freedom >= FEWEST - 1]
    small = [part for part in parts if part.freedom < FEWEST - 1]
    return math.sqrt(sum(_reach(part) ** 2 for part in [_pooled(large), *small]))


def _luck(values: Values, noise_share: float) -> _Part:
    """What the choice of seeds adds to the variance of a mean over them, beyond what the queries' means show of it.

    That would be the variance of the seeds' means less :func:`_noise`. With few seeds too often nothing would be left,
    and the interval too narrow, so not all of the noise is taken off: the less, the fewer the seeds and the larger its
    share of the error over queries (with 2 seeds: half of it at most, nothing where all of the error is noise).
    """
    means = _seed_means(values)
    seeds = len(means)
    own = float(means.var(ddof=1)) / seeds - (1 - (1 + noise_share**2) / seeds) * _noise(values)
    return _Part(max(0.0, own), seeds - 1)


def _noise_share(sides: Iterable[Values], differences: Mapping[str, ArrayLike]) -> float:
    """How much of the variance over queries is single queries' luck with the seeds, from 0 to 1."""
    variance = sum(part.variance for part in _query_parts(differences))
    return min(1.0, sum(_noise(side) for side in sides) / variance) if variance > TIE**2 else 0.0


def _noise(values: Values) -> float:
    """What single queries' luck with the seeds adds to the variance of the mean over all: the residual's, two-way."""
    total = 0.0
    for each in values.values():
        seeds, queries = each.shape
        if queries > 1:
            left = each - each.mean(axis=1, keepdims=True) - each.mean(axis=0) + each.mean()
            total += float((left**2).sum()) / ((seeds - 1) * (queries - 1)) / (seeds * queries)
    return total / len(values) ** 2


def _pooled(parts: Iterable[_Part]) -> _Part:
    """The sum of variances, with Satterthwaite's degrees of freedom."""
    parts = [part for part in parts if part.variance > 0]
    total = sum(part.variance for part in parts)
    return _Part(total, total**2 / sum(part.variance**2 / part.freedom for part in parts)) if parts else _Part(0.0, 1)


def _reach(part: _Part) -> float:
    return float(_t(part.freedom)) * math.sqrt(part.variance)


def _t(freedom: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Student's quantile that :data:`SURE` of the values are below, on either side of zero."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(freedom, (1 + SURE) / 2))


def _around(middle: float, reach: float) -> tuple[float, float]:
    return middle - reach, middle + reach
