"""Is one model better than another on these queries, or could it be chance? Paired over queries.

Permutation: if both models were equally good, the sign of each query's difference would be a coin's, so signs are
flipped within each test set (Smucker, Allan and Carterette 2007 on why this one for retrieval). Bootstrap: queries
are drawn again with replacement within each test set. The test sets themselves are fixed: neither says what another
test set would give. Rejected: the t-test over test sets, which has no more than 20 values, and Wilcoxon's, which
tests another question.

Both are about the models at hand. What other seeds would give is another variance, estimated apart by
:func:`seed_interval`. Rejected for it: the hierarchical bootstrap (draw seeds, then queries). Of S seeds it gives
(S - 1) / S of their variance, half of it for two, and its interval knows nothing of how uncertain that is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_VALUES_AT_ONCE = 1 << 22
_SURE = 0.95  # what all intervals cover


def paired(
    differences: Mapping[str, ArrayLike], *, permutations: int = 10_000, resamples: int = 2_000, seed: int = 0
) -> dict[str, float]:
    """Test the unweighted mean over test sets of the mean difference over queries.

    Args:
        differences: for each test set, the model's value minus the baseline's, one a query. Several seeds are
            averaged per query before.
        permutations: sign flips of all queries; the smallest p is 1 / (permutations + 1).
        resamples: of the bootstrap.
        seed: of both; the same input and seed give the same numbers.

    Returns:
        ``difference``, ``low`` and ``high`` (95 % percentile interval), and ``p`` (two-sided, with the +1
        that counts the observed signs among the flipped: never 0, and no more than 5 % of null comparisons
        are below 0.05).

    Raises:
        ValueError: no test set, one without queries, or a difference that is not finite.
    """
    values = [np.asarray(each, dtype=np.float64) for each in differences.values()]
    if not values or any(each.ndim != 1 or not len(each) for each in values):
        raise ValueError("every test set needs a list of differences, one a query")
    if not all(np.isfinite(each).all() for each in values):
        raise ValueError("a difference is not a finite number")
    random = np.random.default_rng(seed)
    # A query's share of the mean over test sets of means over queries.
    shares = np.concatenate([each / (len(each) * len(values)) for each in values])
    p = _sign_flips(shares, permutations, random)
    means = np.mean([_resampled(each, resamples, random) for each in values], axis=0)
    low, high = np.quantile(means, [(1 - _SURE) / 2, (1 + _SURE) / 2])
    return {"difference": float(shares.sum()), "low": float(low), "high": float(high), "p": p}


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down adjustment: those below 0.05 hold together with 95 %. The order is kept."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def query_error(values: Mapping[str, ArrayLike]) -> float:
    """The standard error, over the choice of queries, of the unweighted mean over test sets of the mean over queries.

    Args:
        values: for each test set one value a query. A test set of one query says nothing of its error and adds none.
    """
    return float(np.sqrt(sum(variance for variance, _ in _query_variances(values))))


def seed_spread(values: Mapping[str, ArrayLike]) -> float | None:
    """The standard deviation over seeds of the mean over test sets of the mean over queries; None for one seed.

    Args:
        values: for each test set an array (seeds, queries).
    """
    means = _seed_means(values)
    return float(means.std(ddof=1)) if len(means) > 1 else None


def seed_interval(model: Mapping[str, ArrayLike], baseline: Mapping[str, ArrayLike]) -> tuple[float, float]:
    """A 95 % interval of the difference for other queries of these test sets *and* other seeds of these trainings.

    The variances of three means add up: of the difference over queries (seeds averaged), of the model over its seeds,
    and of the baseline over its own; t with Satterthwaite's degrees of freedom. Assumed: seeds are drawn at random,
    the two sides' without regard to each other, and a training's luck is about normal. Seeds are on the same queries,
    so what a seed does to single queries is counted in two of the variances: the interval is rather too wide.

    With 2 or 3 seeds the luck of a training is hardly known: its standard deviation may be half or several times of
    what was seen. The degrees of freedom say so and make the interval wide; it cannot say whether a rare bad training
    exists, and one that contains 0 does not say that the mixtures are equally good.

    Args:
        model: for each test set an array (seeds, queries). A side with one row counts as fixed: a model that has no
            seeds, such as an untrained one.
        baseline: likewise, of the same queries.
    """
    from scipy.special import stdtrit

    sides = {name: (np.atleast_2d(model[name]), np.atleast_2d(baseline[name])) for name in model}
    parts = _query_variances({name: one.mean(axis=0) - other.mean(axis=0) for name, (one, other) in sides.items()})
    for side in (model, baseline):
        means = _seed_means(side)
        if len(means) > 1:
            parts.append((float(means.var(ddof=1)) / len(means), len(means) - 1))
    difference = float(_seed_means(model).mean() - _seed_means(baseline).mean())
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return difference, difference
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    reach = float(stdtrit(freedom, (1 + _SURE) / 2)) * variance**0.5
    return difference - reach, difference + reach


def _query_variances(values: Mapping[str, ArrayLike]) -> list[tuple[float, int]]:
    """What each test set's queries add to the variance of the mean over test sets, and the degrees of freedom."""
    arrays = [np.asarray(each, dtype=np.float64) for each in values.values()]
    return [(float(each.var(ddof=1)) / len(each) / len(arrays) ** 2, len(each) - 1) for each in arrays if len(each) > 1]


def _seed_means(values: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
    """Each seed's mean over test sets of the mean over queries."""
    return np.mean([np.atleast_2d(each).mean(axis=1) for each in values.values()], axis=0)


def _sign_flips(shares: NDArray[np.float64], permutations: int, random: np.random.Generator) -> float:
    """The two-sided p of the sum of ``shares``, whose signs are coins under the null."""
    observed = abs(shares.sum())
    shares = shares[shares != 0]  # their sign does not matter, and many queries have no difference
    # Sums of the same numbers in another order differ in the last bits; such a tie counts as a tie.
    bound = observed - 1e-12 * np.abs(shares).sum()
    extreme = 0
    for count in _parts(permutations, len(shares)):
        bits = np.frombuffer(random.bytes(count * (len(shares) // 8 + 1)), dtype=np.uint8).reshape(count, -1)
        positive = np.unpackbits(bits, axis=1, count=len(shares))
        extreme += int((np.abs(2 * (positive @ shares) - shares.sum()) >= bound).sum())
    return (1 + extreme) / (1 + permutations)


def _resampled(values: NDArray[np.float64], resamples: int, random: np.random.Generator) -> NDArray[Any]:
    """Means of ``values`` drawn again with replacement, shape (resamples,)."""
    parts = [
        values[random.integers(0, len(values), (count, len(values)))].mean(axis=1)
        for count in _parts(resamples, len(values))
    ]
    return np.concatenate(parts)


def _parts(total: int, width: int) -> Iterator[int]:
    """Cut ``total`` rows of ``width`` values into parts that are small in memory."""
    at_once = max(1, _VALUES_AT_ONCE // max(1, width))
    for start in range(0, total, at_once):
        yield min(at_once, total - start)
