"""The paired tests: exact where it can be counted, honest under the null, the same for the same seed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tdro.evaluation.significance import holm, paired, query_error, seed_interval, seed_spread


def test_permutation_p_is_near_the_exact_one():
    random = np.random.default_rng(0)
    tests = {"a": random.normal(0.4, 1, 5), "b": random.normal(0.4, 1, 7)}
    shares = np.concatenate([values / len(values) / 2 for values in tests.values()])
    signs = np.array(list(itertools.product([-1, 1], repeat=12)))
    exact = (np.abs(signs @ shares) >= abs(shares.sum()) - 1e-12).mean()
    found = paired(tests, permutations=40_000)
    assert found["p"] == pytest.approx(exact, abs=0.012)
    assert found["difference"] == pytest.approx((tests["a"].mean() + tests["b"].mean()) / 2)


def test_bootstrap_interval_is_near_the_normal_one():
    random = np.random.default_rng(1)
    tests = {"small": random.normal(0, 1, 100), "large": random.normal(1, 1, 900)}
    found = paired(tests, permutations=10)
    error = np.sqrt(sum(values.var() / len(values) for values in tests.values())) / 2
    assert found["low"] == pytest.approx(found["difference"] - 1.96 * error, abs=0.15 * error)
    assert found["high"] == pytest.approx(found["difference"] + 1.96 * error, abs=0.15 * error)


def test_a_large_difference_has_the_smallest_p_and_never_0():
    found = paired({"a": np.full(50, 0.1)}, permutations=999)
    assert found["p"] == 1 / 1000
    assert found["low"] == found["high"] == pytest.approx(0.1)


def test_the_same_model_twice_is_no_difference():
    assert paired({"a": np.zeros(30), "b": np.zeros(3)}) == {"difference": 0, "low": 0, "high": 0, "p": 1}


def test_same_input_same_numbers_and_symmetric_in_sign():
    values = np.random.default_rng(2).normal(0.1, 1, 40)
    assert paired({"a": values}) == paired({"a": values})
    assert paired({"a": -values})["p"] == pytest.approx(paired({"a": values})["p"], abs=0.02)


def false_positives(comparisons, tests, queries, permutations, seed):
    """In how many of the comparisons of a model with itself, under resampling, p (and Holm's least p) is below 0.05.

    Every query has a quality that both readings of the model share, and each reading its own noise around it; as of
    nDCG@10, many values are exactly 0. Queries are drawn again for each comparison."""
    random = np.random.default_rng(seed)
    quality = random.beta(1, 2, (tests, queries)) * (random.random((tests, queries)) > 0.3)
    rejected = np.zeros(2, int)
    for _ in range(comparisons):
        picked = random.integers(0, queries, queries)
        noise = random.normal(0, 0.1, (2, tests, queries)) * (quality[:, picked] > 0)
        differences = dict(enumerate(noise[0] - noise[1]))
        rejected[0] += paired(differences, permutations=permutations, resamples=1)["p"] <= 0.05
        single = [paired({0: each}, permutations=permutations, resamples=1)["p"] for each in differences.values()]
        rejected[1] += holm(single).min() <= 0.05
    return rejected


def binomial_interval(comparisons, share=0.05):
    """Where 95 % of the counts lie if each has this chance; the exact quantiles."""
    return stats.binom.ppf(0.025, comparisons, share), stats.binom.ppf(0.975, comparisons, share)


def test_false_positives_of_a_model_against_itself_are_as_many_as_promised():
    low, high = binomial_interval(1000)
    rejected, _ = false_positives(1000, tests=1, queries=40, permutations=199, seed=3)
    assert low <= rejected <= high


@pytest.mark.slow
def test_false_positives_over_15_test_sets():
    """The mean over test sets as often as promised; any of the 15 after Holm's correction no more often."""
    low, high = binomial_interval(1000)
    rejected, any_of_them = false_positives(1000, tests=15, queries=150, permutations=999, seed=4)
    assert low <= rejected <= high
    assert any_of_them <= high


def two_mixtures(random, seeds, queries=100, luck=0.03):
    """Values of two equally good mixtures, (seeds, queries) each: a training's luck moves all of its queries."""
    quality = random.normal(0.4, 0.2, queries)
    noise = random.normal(0, 0.05, (2, seeds, queries))
    return quality + random.normal(0, luck, (2, seeds, 1)) + noise


@pytest.mark.parametrize("seeds", [2, 3])
def test_the_interval_over_seeds_covers_what_the_one_over_queries_misses(seeds):
    random = np.random.default_rng(5)
    covered = np.zeros(2, int)
    for _ in range(400):
        one, other = two_mixtures(random, seeds)
        low, high = seed_interval({"a": one}, {"a": other})
        covered[0] += low <= 0 <= high
        over_queries = paired({"a": one.mean(axis=0) - other.mean(axis=0)}, permutations=1, resamples=200)
        covered[1] += over_queries["low"] <= 0 <= over_queries["high"]
    assert covered[0] / 400 > 0.93
    assert covered[1] / 400 < 0.6


def test_seed_interval_by_hand_and_of_models_without_seeds():
    random = np.random.default_rng(6)
    one, fixed = random.normal(0.5, 0.1, (3, 50)), random.normal(0.4, 0.1, (1, 50))
    low, high = seed_interval({"a": one}, {"a": fixed})
    queries = (one.mean(axis=0) - fixed[0]).var(ddof=1) / 50
    seeds = one.mean(axis=1).var(ddof=1) / 3
    freedom = (queries + seeds) ** 2 / (queries**2 / 49 + seeds**2 / 2)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, freedom) * np.sqrt(queries + seeds))
    assert (high + low) / 2 == pytest.approx(one.mean() - fixed.mean())
    same = {"a": np.full((2, 3), 0.5)}
    assert seed_interval(same, same) == (0, 0)


def test_spread_and_error_are_of_the_mean_over_test_sets():
    values = {"a": np.array([[0.1, 0.3], [0.2, 0.2]]), "b": np.array([[0.5], [0.9]])}
    assert seed_spread(values) == pytest.approx(np.std([0.35, 0.55], ddof=1))
    assert seed_spread({"a": np.array([[0.1, 0.3]])}) is None
    assert query_error({"a": np.array([0.1, 0.3]), "b": np.array([0.7])}) == pytest.approx(0.1 / 2)


@pytest.mark.parametrize("wrong", [{}, {"a": []}, {"a": [0.1, np.nan]}, {"a": [[0.1]]}])
def test_input_without_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="difference"):
        paired(wrong)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1, 1]
    assert len(holm([])) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_between_p_and_bonferroni_and_keeps_the_order(p):
    adjusted, p = holm(p), np.array(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(p * len(p), 1) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
