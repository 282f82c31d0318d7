"""Is one model better than another on these queries, or could it be chance? Paired over queries.

Permutation: if both models were equally good, the sign of each query's difference would be a coin's, so signs are
flipped within each test set (Smucker, Allan and Carterette 2007 on why this one for retrieval). The interval is of
:mod:`tdro.evaluation.intervals`. The test sets themselves are fixed: neither says what another test set would give.
Rejected: the t-test over test sets, which has no more than 20 values, and Wilcoxon's, which tests another question.

Both are about the models at hand. What other seeds would give is another variance: see :func:`seed_interval`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tdro.evaluation.intervals import query_error, query_interval, seed_interval, seed_spread, seeds_needed, too_few

__all__ = ["holm", "least_p", "paired", "query_error", "seed_interval", "seed_spread", "seeds_needed", "too_few"]

_VALUES_AT_ONCE = 1 << 22


def paired(
    differences: Mapping[str, ArrayLike], *, permutations: int = 10_000, resamples: int = 0, seed: int = 0
) -> dict[str, float]:
    """Test the unweighted mean over test sets of the mean difference over queries.

    Args:
        differences: for each test set, the model's value minus the baseline's, one a query. Several seeds are
            averaged per query before.
        permutations: sign flips of all queries; the smallest p is 1 / (permutations + 1).
        resamples: has no effect; the interval was drawn once, and is computed now.
        seed: of the sign flips; the same input and seed give the same numbers.

    Returns:
        ``difference``, ``low`` and ``high`` (95 %, see :func:`tdro.evaluation.intervals.query_interval`; infinite where
        the queries are too few for an interval), and ``p`` (two-sided, with the +1 that counts the observed signs
        among the flipped: never 0, and no more than 5 % of null comparisons are below 0.05).

    Raises:
        ValueError: no test set, one without queries, or a difference that is not finite.
    """
    values = [np.asarray(each, dtype=np.float64) for each in differences.values()]
    if not values or any(each.ndim != 1 or not len(each) for each in values):
        raise ValueError("every test set needs a list of differences, one a query")
    if not all(np.isfinite(each).all() for each in values):
        raise ValueError("a difference is not a finite number")
    # A query's share of the mean over test sets of means over queries.
    shares = np.concatenate([each / (len(each) * len(values)) for each in values])
    p = _sign_flips(shares, permutations, np.random.default_rng(seed))
    low, high = query_interval(differences)
    return {"difference": float(shares.sum()), "low": low, "high": high, "p": p}


def least_p(queries: int) -> float:
    """The smallest p that sign flips can give for so many queries with a difference: two of all their signs."""
    return min(1.0, 2.0 ** (1 - queries))  # a power of more than 1,023 is too large for a float; one of less is 0


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


def _parts(total: int, width: int) -> Iterator[int]:
    """Cut ``total`` rows of ``width`` values into parts that are small in memory."""
    at_once = max(1, _VALUES_AT_ONCE // max(1, width))
    for start in range(0, total, at_once):
        yield min(at_once, total - start)
