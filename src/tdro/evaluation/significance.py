"""Is one model better than another on these queries, or could it be chance? Paired over queries.

Permutation: if both models were equally good, the sign of each query's difference would be a coin's, so signs are
flipped within each test set (Smucker, Allan and Carterette 2007 on why this one for retrieval). Bootstrap: queries
are drawn again with replacement within each test set. The test sets themselves are fixed: neither says what another
test set would give. Rejected: the t-test over test sets, which has no more than 20 values, and Wilcoxon's, which
tests another question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_VALUES_AT_ONCE = 1 << 22


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
    low, high = np.quantile(means, [0.025, 0.975])
    return {"difference": float(shares.sum()), "low": float(low), "high": float(high), "p": p}


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down adjustment: those below 0.05 hold together with 95 %. The order is kept."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


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
