"""The paired tests: exact where it can be counted, honest under the null, the same for the same seed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tdro.evaluation.intervals import (
    query_error,
    query_interval,
    seed_interval,
    seed_spread,
    seeds_needed,
    too_few,
)
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


def test_interval_of_many_queries_is_near_the_normal_one():
    random = np.random.default_rng(1)
    tests = {"small": random.normal(0, 1, 100), "large": random.normal(1, 1, 900)}
    found = paired(tests, permutations=10)
    error = np.sqrt(sum(values.var() / len(values) for values in tests.values())) / 2
    assert found["low"] == pytest.approx(found["difference"] - 1.96 * error, abs=0.15 * error)
    assert found["high"] == pytest.approx(found["difference"] + 1.96 * error, abs=0.15 * error)


def test_a_large_difference_has_the_smallest_p_and_never_0():
    found = paired({"a": np.full(50, 0.1)}, permutations=999)
    assert found["p"] == 1 / 1000
    assert (found["low"], found["high"]) == pytest.approx((0.1 - 3 / 50 * 1.1, 0.1 + 3 / 50 * 1.1)), "the rule of three"


def test_the_same_model_twice_is_no_difference_and_nothing_to_make_an_interval_of():
    nothing = {"difference": 0, "low": -np.inf, "high": np.inf, "p": 1}
    assert paired({"a": np.zeros(30), "b": np.zeros(3)}) == nothing


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
        rejected[0] += paired(differences, permutations=permutations)["p"] <= 0.05
        single = [paired({0: each}, permutations=permutations)["p"] for each in differences.values()]
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


@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize("seeds", [2, 3])
def test_the_interval_over_seeds_covers_what_the_one_over_queries_misses(seeds, pairs):
    random = np.random.default_rng(5)
    covered = np.zeros(2, int)
    for _ in range(250):
        one, other = two_mixtures(random, seeds)
        low, high = seed_interval({"a": one}, {"a": other}, pairs)
        covered[0] += low <= 0 <= high
        over_queries = paired({"a": one.mean(axis=0) - other.mean(axis=0)}, permutations=1)
        covered[1] += over_queries["low"] <= 0 <= over_queries["high"]
    assert covered[0] / 250 > 0.93
    assert covered[1] / 250 < 0.6


def test_seed_interval_by_hand_and_of_models_without_seeds():
    random = np.random.default_rng(6)
    one, fixed = random.normal(0.5, 0.1, (3, 50)), random.normal(0.4, 0.1, (1, 50))
    low, high = seed_interval({"a": one}, {"a": fixed})
    queries = (one.mean(axis=0) - fixed[0]).var(ddof=1) / 50
    left = one - one.mean(axis=1, keepdims=True) - one.mean(axis=0) + one.mean()
    noise = (left**2).sum() / (2 * 49) / 150
    taken = 1 - (1.3 + 0.4 * noise / queries) / 3
    seeds = max(0, one.mean(axis=1).var(ddof=1) / 3 - taken * noise)
    over_queries, over_seeds = stats.t.ppf(0.975, 49) ** 2 * queries, stats.t.ppf(0.975, 2) ** 2 * seeds
    reach = np.sqrt(max(over_queries, (1 - 4 / 9) * over_queries + over_seeds))
    assert (high - low) / 2 == pytest.approx(reach)
    assert (high + low) / 2 == pytest.approx(one.mean() - fixed.mean())
    same = {"a": np.full((2, 3), 0.5)}
    assert seed_interval(same, same) == (-np.inf, np.inf), "no query differs"


def test_pairs_of_seeds_narrow_the_interval_by_the_luck_that_both_share():
    random = np.random.default_rng(7)
    shared, own = random.normal(0, 0.05, (4, 1)), random.normal(0, 0.002, (2, 4, 1))
    queries = random.normal(0.4, 0.2, 60) + random.normal(0, 0.02, (2, 1, 60))
    one, other = queries + shared + own + np.array([0.01, 0])[:, None, None]

    def width(pairs=None):
        low, high = seed_interval({"a": one}, {"a": other}, pairs)
        return high - low

    assert width() == width(True) < width(False) / 4, "as many seeds are pairs, unless they are said to be none"
    assert width(True) < 0.03
    assert seeds_needed({"a": one}, {"a": other}) <= 3
    assert seeds_needed({"a": one}, {"a": other}, paired=False) > 50


def test_seeds_needed_are_those_of_the_interval():
    """With the answer's number of seeds, of the same kind, the interval just leaves zero out; None where none can."""
    random = np.random.default_rng(8)
    one = 0.5 + random.normal(0, 0.01, (200, 1)) + random.normal(0, 0.02, (200, 80))
    other = 0.49 + random.normal(0, 0.01, (200, 1)) + random.normal(0, 0.02, (200, 80))
    answers = [seeds_needed({"a": one[at : at + 4]}, {"a": other[at : at + 4]}, False) for at in range(0, 200, 4)]
    needed = int(np.median([answer or 100 for answer in answers]))
    assert 6 <= needed <= 14
    reached = [
        seed_interval({"a": one[at : at + needed]}, {"a": other[at : at + needed]}, False)[0] > 0
        for at in range(0, 200 - needed, needed)
    ]
    assert 0.2 < np.mean(reached) < 0.9, "about one in two"
    noisy = {"a": random.normal(0.5, 0.4, (3, 20))}
    assert seeds_needed(noisy, {"a": noisy["a"][:, ::-1] + 1e-4}) is None, "the queries are too few"
    assert seeds_needed({"a": one[:1]}, {"a": other[:1]}) is None


@pytest.mark.parametrize(
    ("differences", "says"),
    [
        ({"a": [0.3]}, "1 query"),
        ({"a": [0.1, 0.3]}, "2 queries"),
        ({name: [0.3] for name in "abcd"}, "4 queries"),
        ({name: [0.3 + 0.1 * at] for at, name in enumerate("abcdefg")}, "1 query in test set 'a'"),
        ({"a": [0.1, -0.2] + [0.0] * 50}, "2 of 52 queries differ"),
        ({"a": [0.1] + [1e-12] * 50}, "1 of 51 queries differs"),
        ({"a": [0.0] * 50}, "none of 50 queries differ"),
        ({"a": [0.1, -0.2, 0.3, 0.1, 0.2]}, ""),
    ],
)
def test_too_few_queries_have_no_interval_and_say_why(differences, says):
    assert too_few(differences) == says
    found = paired(differences, permutations=10)
    assert np.isfinite(found["high"]) == np.isfinite(found["low"]) == (says == "")


def of_ndcg(random, count, queries):
    """Differences of nDCG@10 with one right passage a query, (count, queries): half of them 0, few values."""
    log_rank = random.normal(1.0, 1.5, (count, queries)) + random.normal(0, 0.6, (2, count, queries))
    rank = np.floor(np.exp(log_rank))
    values = np.where(rank < 10, 1 / np.log2(2 + rank), 0)
    return values[0] - values[1]


@pytest.mark.parametrize("sets", [[5], [8], [12], [40], [5] * 20, [5, 50, 500], [3, 50, 500]])
@pytest.mark.parametrize("kind", ["normal", "ndcg"])
def test_an_interval_over_queries_holds_from_five_queries_on(sets, kind):
    """Of 300 comparisons; benchmarks/coverage.py has 2,000 of more kinds. A percentile bootstrap: 0.84 of [5]."""
    random = np.random.default_rng(9)
    count = 6_000 if kind == "ndcg" and sets == [5] else 300  # all 5 queries differ in a twentieth of them
    drawn = [random.normal(0, 0.2, (count, n)) if kind == "normal" else of_ndcg(random, count, n) for n in sets]
    intervals = [query_interval({str(at): each[number] for at, each in enumerate(drawn)}) for number in range(count)]
    given = [(low, high) for low, high in intervals if np.isfinite(low)]
    held = np.mean([low <= 0 <= high for low, high in given])
    assert 0.915 <= held <= (0.985 if kind == "normal" else 1.0)
    assert len(given) == 300 or (kind == "ndcg" and max(sets) < 40)


@pytest.mark.parametrize(
    ("seeds", "pairs", "luck"),
    [
        *[(2, True, 0), (2, False, 0.01), (2, True, 0.04)],
        *[(3, False, 0), (3, True, 0.01), (3, False, 0.04)],
        *[(8, True, 0), (8, False, 0.01), (8, True, 0.04)],
    ],
)
def test_an_interval_over_seeds_holds_with_and_without_luck(seeds, pairs, luck):
    """Each number of seeds with each luck, as pairs or not; benchmarks/coverage.py has all of them, and more."""
    random = np.random.default_rng(10)
    held = 0
    for _ in range(200):
        quality = random.normal(0.5, 0.3, (2, 50)) + random.normal(0, 0.11, (2, 1, 2, 50))
        shared = random.normal(0, luck, (seeds, 1, 1)) * pairs
        values = quality + shared + random.normal(0, luck, (2, seeds, 1, 1)) + random.normal(0, 0.1, (2, seeds, 2, 50))
        one, other = ({"a": side[:, 0], "b": side[:, 1]} for side in values)
        low, high = seed_interval(one, other, pairs)
        held += low <= 0 <= high
    assert 0.915 <= held / 200 <= (0.985 if seeds > 3 else 1)


def test_sides_that_do_not_fit_are_refused():
    one, two = np.ones((3, 5)), np.ones((2, 5))
    for model, baseline, pairs in (
        ({"a": one, "b": two}, {"a": one, "b": one}, None),
        ({"a": one}, {"a": np.ones((3, 6))}, None),
        ({"a": one, "b": one}, {"a": one}, None),
        ({"a": one}, {"a": two}, True),
        ({"a": one * np.nan}, {"a": one}, None),
    ):
        with pytest.raises(ValueError, match=r"need|pairs|finite"):
            seed_interval(model, baseline, pairs)


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


def test_scripts_may_give_the_seed_and_the_resamples_of_before():
    values = {"x": np.random.default_rng(3).normal(0.1, 1, 40)}
    first = paired(values, permutations=99, resamples=10, seed=1)
    assert first == paired(values, permutations=99, seed=1)
    assert first["p"] != paired(values, permutations=99, seed=2)["p"]
