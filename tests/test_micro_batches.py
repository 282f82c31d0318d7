"""Cutting a sorted batch: as many parts as equal cuts, never more padding or memory, and the least there is."""

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tdro.training.micro_batches import micro_batches


def padded(lengths, rows):
    starts = np.cumsum([0, *rows])[:-1]
    return (lengths[starts] * np.array(rows)).tolist()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=9), st.integers(1, 10))
def test_never_worse_than_equal_cuts(values, size):
    lengths = np.array(sorted(values, reverse=True))
    rows = micro_batches(lengths, size)
    equal = np.diff([*range(0, len(lengths), size), len(lengths)])
    assert len(rows) == len(equal) and sum(rows) == len(lengths) and min(rows) >= 1
    assert sum(padded(lengths, rows)) <= sum(padded(lengths, equal))
    assert max(padded(lengths, rows)) <= size * lengths[0]


@given(st.sets(st.integers(1, 40), min_size=1, max_size=9), st.integers(1, 10))
def test_the_best_of_all_ways_to_cut(values, size):
    lengths = np.array(sorted(values, reverse=True))
    rows = micro_batches(lengths, size)
    cuts = combinations(range(1, len(lengths)), len(rows) - 1)
    ways = [padded(lengths, np.diff([0, *cut, len(lengths)])) for cut in cuts]
    assert sum(padded(lengths, rows)) == min(sum(way) for way in ways if max(way) <= size * lengths[0])


def test_a_huge_batch_is_cut_equally():
    assert set(micro_batches(np.sort(np.arange(20_000) % 128)[::-1] + 1, 50)) == {50}
