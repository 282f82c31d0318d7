"""The paired tests: exact where it can be counted, honest under the null, the same for the same seed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.evaluation.significance import holm, paired


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


def test_false_positives_of_a_model_against_itself_under_resampling():
    """300 comparisons of two noisy readings of one model: within the 99 % binomial interval."""
    random = np.random.default_rng(3)
    quality = random.beta(1, 2, (2, 60))
    rejected = 0
    for _ in range(300):
        picked = random.integers(0, 60, 60)
        first, second = (quality[:, picked] + random.normal(0, 0.1, (2, 60)) for _ in range(2))
        difference = first - second
        rejected += paired(dict(enumerate(difference)), permutations=399, resamples=1)["p"] <= 0.05
    assert 6 <= rejected <= 25


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
