"""The p-value of a difference between two models, by a paired permutation test over queries, and Holm's correction.

If both models were equally good, the sign of each query's difference would be as good as a coin flip. So the signs are
flipped at random many times; p is the share of flips whose mean difference is at least as large as the real one
(Smucker, Allan and Carterette 2007 say why this test suits retrieval). See docs/decisions.md, sign-flips.

A p-value is about these two models on these test sets: it says what other *queries* would give, not what another test
set or another *seed* would give. For seeds see :func:`tdro.evaluation.intervals.seed_interval`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tdro.evaluation.intervals import query_error, query_interval, seed_interval, seed_spread, seeds_needed, too_few

# The functions of tdro.evaluation.intervals may be imported from here too, as scripts do.
__all__ = ["holm", "least_p", "paired", "query_error", "seed_interval", "seed_spread", "seeds_needed", "too_few"]

_VALUES_AT_ONCE = 1 << 22


def paired(
    differences: Mapping[str, ArrayLike], *, permutations: int = 10_000, resamples: int = 0, seed: int = 0
) -> dict[str, float]:
    """Test whether the mean difference of two models is more than chance.

    The mean is over test sets, each counting the same, of the mean over queries.

    Args:
        differences: for each test set, the model's value minus the baseline's, one for each query; shape (queries,).
            If there are several seeds, average them for each query before.
        permutations: how often the signs are flipped; the smallest p is 1 / (permutations + 1).
        resamples: has no effect; it is here for callers from when the interval was drawn at random.
        seed: of the sign flips; the same input and seed give the same numbers.

    Returns:
        ``difference``; ``low`` and ``high``, its 95 % interval over queries
        (:func:`tdro.evaluation.intervals.query_interval`; infinite if there are too few queries); and ``p``, two-sided.
        The observed signs count as one of the flips, so p is never 0, and if both models are equally good it is below
        0.05 in no more than 5 % of comparisons.

    Raises:
        ValueError: there is no test set, one has no queries, or a difference is not finite.

    Example::

        paired({"scifact": model_ndcg - baseline_ndcg})["p"]
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
    """The smallest p that sign flips can give if so many queries differ: two of their 2^queries signs are extreme."""
    return min(1.0, 2.0 ** (1 - queries))  # 2 / 2**queries would overflow from 1,024 queries on


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's correction of p-values for how many there are, in the order given.

    With a chance of 95 %, none of those below 0.05 after the correction is a false alarm.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def _sign_flips(shares: NDArray[np.float64], permutations: int, random: np.random.Generator) -> float:
    """The two-sided p of the sum of ``shares``, if each one's sign is a coin flip."""
    observed = abs(shares.sum())
    shares = shares[shares != 0]  # many queries have no difference, and the sign of 0 does not matter
    # Sums of the same numbers in another order differ in the last bits; they must count as equal.
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
