"""The plan: which rows a step reads, and which of a row's passages."""

import time
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.data.plan.permute import permute
from tdro.data.plan.row_plans import HomogeneousPlan, MixedPlan, StepRows, pick
from tdro.data.plan.task_order import draw_tasks, step_counts

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=12)
SEEDS = st.integers(0, 2**31)
SAMPLING = st.sampled_from(["stratified", "random"])


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("task", "row", "visit"))


def rows_of(task, row=0, visit=0):
    """Rows from numbers or arrays of one shape."""
    return StepRows(*(np.asarray(x, dtype=np.int64) for x in np.broadcast_arrays(task, row, visit)))


# ---- permute


@given(st.integers(1, 3000), st.integers(0, 2**63))
def test_permute_is_a_bijection(size, key):
    assert sorted(permute(np.arange(size), size, key)) == list(range(size))


def test_permute_shuffles_each_key_anew():
    orders = {tuple(permute(np.arange(50), 50, key)) for key in range(200)}
    assert len(orders) == 200
    # The place of one element over many keys is about uniform: 4000 draws of 8 places, 500 ± 21 each.
    places = np.bincount(permute(np.full(4000, 3), 8, np.arange(4000)), minlength=8)
    assert places.min() > 400 and places.max() < 600


# ---- mixed plans


@given(SIZES, st.integers(1, 30), SEEDS, SAMPLING, st.data())
def test_a_step_depends_on_seed_and_step_only(sizes, batch, seed, sampling, data):
    plan = MixedPlan(sizes, batch, 12, seed, sampling)
    in_order = [plan.step(step) for step in range(12)]
    another = MixedPlan(sizes, batch, 99, seed, sampling)  # the number of steps does not matter either
    for step in data.draw(st.permutations(range(12))):
        assert same(another.step(step), in_order[step])


def test_seeds_differ():
    first, second = (MixedPlan([50, 50], 16, 3, seed) for seed in (1, 2))
    assert not np.array_equal(first.step(0).row, second.step(0).row)


@given(SIZES, st.integers(1, 30), SEEDS, SAMPLING)
def test_no_row_again_before_its_task_is_exhausted(sizes, batch, seed, sampling):
    plan = MixedPlan(sizes, batch, 40, seed, sampling)
    steps = [plan.step(step) for step in range(40)]
    task, row, visit = (np.concatenate([getattr(s, name) for s in steps]) for name in ("task", "row", "visit"))
    for number, size in enumerate(sizes):
        rows, visits = row[task == number], visit[task == number]
        assert visits.tolist() == [place // size for place in range(len(rows))]
        for start in range(0, len(rows), size):
            passed = rows[start : start + size]
            assert len(set(passed.tolist())) == len(passed)
            assert passed.min() >= 0 and passed.max() < size


@given(SIZES, st.integers(1, 30), SEEDS)
def test_stratified_gives_each_task_its_share(sizes, batch, seed):
    """Floor or ceiling of B / k rows in every step, and B rows each over k steps; also with more tasks than rows."""
    k = len(sizes)
    plan = MixedPlan(sizes, batch, 2 * k, seed)
    counts = np.stack([np.bincount(plan.step(step).task, minlength=k) for step in range(2 * k)])
    assert (counts.sum(axis=1) == batch).all()
    assert counts.min() >= batch // k and counts.max() <= -(-batch // k)
    assert (counts[:k].sum(axis=0) == batch).all() and (counts[k:].sum(axis=0) == batch).all()


def test_more_tasks_than_rows():
    plan = MixedPlan([5] * 7, 3, 7, 1)
    steps = [plan.step(step) for step in range(7)]
    assert all(len(set(rows.task.tolist())) == 3 for rows in steps)
    assert Counter(np.concatenate([rows.task for rows in steps]).tolist()) == dict.fromkeys(range(7), 3)


def test_random_draws_each_rows_task_uniformly():
    plan = MixedPlan([100] * 4, 100, 100, 3, "random")
    counts = np.stack([np.bincount(plan.step(step).task, minlength=4) for step in range(100)])
    assert (abs(counts.sum(axis=0) - 2500) < 5 * 43).all()  # 10 000 draws: 2500 ± 43 each
    assert 3 < counts.std(axis=0).mean() < 6  # binomial: 4.3; stratified: 0


def test_one_task_with_one_row():
    rows = MixedPlan([1], 4, 2, 0).step(1)
    assert rows.row.tolist() == [0] * 4 and rows.visit.tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize("sizes, batch, steps", [([], 4, 1), ([3, 0], 4, 1), ([3], 0, 1), ([3], 4, 0)])
def test_bad_plans_are_refused(sizes, batch, steps):
    with pytest.raises(ValueError, match="at least"):
        MixedPlan(sizes, batch, steps, 0)


@pytest.mark.parametrize("sampling", ["stratified", "random"])
def test_a_thousand_tasks_of_a_million_rows_cost_nothing(sampling):
    tracemalloc.start()
    plan = MixedPlan([1_000_000] * 1000, 2048, 100_000, 1, sampling)
    plan.step(0)
    started = time.perf_counter()
    for step in range(1, 11):
        rows = plan.step(step)
    seconds = (time.perf_counter() - started) / 10
    plan.step(99_999 if sampling == "stratified" else 50)  # any step can be read, not only the next
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(zip(rows.task.tolist(), rows.row.tolist(), strict=True))) == 2048
    assert peak < 20e6, f"{peak / 1e6:.0f} MB"
    assert seconds < 0.05  # measured: about 1 ms; ten times that for a busy machine, and tracing costs too


# ---- homogeneous plans


@given(SIZES, st.integers(1, 30), SEEDS, st.data())
def test_homogeneous_steps_hold_one_task_and_go_through_it(sizes, batch, seed, data):
    tasks = np.array(data.draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=20)))
    plan = HomogeneousPlan(sizes, batch, tasks, seed)
    steps = [plan.step(step) for step in range(len(tasks))]
    assert all((rows.task == task).all() and len(rows) == batch for rows, task in zip(steps, tasks, strict=True))
    for task in set(tasks.tolist()):
        rows = np.concatenate([s.row for s, of in zip(steps, tasks, strict=True) if of == task])
        for start in range(0, len(rows), sizes[task]):
            passed = rows[start : start + sizes[task]].tolist()
            assert len(set(passed)) == len(passed)
    again = HomogeneousPlan(sizes, batch, tasks, seed)
    assert same(again.step(len(tasks) - 1), steps[-1])


# ---- picked passages


@given(st.integers(1, 30), st.integers(0, 12), st.integers(1, 8), SEEDS)
def test_picked_places_are_distinct_where_there_are_enough(rows, count, wanted, seed):
    places = pick(seed, rows_of(0, np.arange(rows)), np.full(rows, count), wanted)
    assert places.shape == (rows, wanted)
    for row in places.tolist():
        if count >= wanted:
            assert len(set(row)) == wanted and min(row) >= 0 and max(row) < count
        elif count:
            assert row == [place % count for place in range(wanted)]  # all of them, then again
        else:
            assert row == [-1] * wanted


def test_picked_subsets_are_uniform():
    """2 of 5: ten subsets, 1000 ± 30 each in 10 000 picks."""
    places = pick(7, rows_of(0, np.arange(10_000)), np.full(10_000, 5), 2)
    counts = Counter(map(tuple, np.sort(places, axis=1).tolist()))
    assert len(counts) == 10
    assert min(counts.values()) > 850 and max(counts.values()) < 1150


def test_picks_depend_on_row_visit_and_use_but_not_on_the_batch():
    rows = rows_of(np.array([0, 1, 0, 0]), np.array([4, 4, 4, 5]), np.array([0, 0, 1, 0]))
    together = pick(1, rows, np.full(4, 50), 6)
    alone = [pick(1, rows_of(*values), np.full(1, 50), 6)[0] for values in ([[0], [4], [0]], [[1], [4], [0]])]
    assert np.array_equal(together[:2], alone)
    others = [*map(tuple, together.tolist()), tuple(pick(1, rows, np.full(4, 50), 6, column=1)[0].tolist())]
    assert len(set(others)) == 5


# ---- which task a homogeneous batch is drawn from


WEIGHTS = st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any)


@given(WEIGHTS, st.integers(1, 300), SEEDS)
def test_systematic_draws_keep_the_weights_within_one(weights, steps, seed):
    weights = np.array(weights) / sum(weights)
    tasks = draw_tasks(weights, steps, seed)
    counts = np.bincount(tasks, minlength=len(weights))
    assert len(tasks) == steps
    assert (abs(counts - weights * steps) < 1 + 1e-9).all()
    assert not counts[weights == 0].any()
    assert np.array_equal(counts, step_counts(weights, steps, seed))
    assert np.array_equal(tasks, draw_tasks(weights, steps, seed))


@given(WEIGHTS, SEEDS)
def test_systematic_draws_are_spread_over_the_run(weights, seed):
    """A task's batches come about evenly: after t of the steps it has had t / T of them, within a few."""
    weights = np.array(weights) / sum(weights)
    tasks = draw_tasks(weights, 200, seed)
    for task in np.unique(tasks):
        had = np.cumsum(tasks == task)
        due = np.arange(1, 201) / 200 * had[-1]
        assert abs(had - due).max() <= 1.5 + len(weights) * 0.5


@given(WEIGHTS, st.integers(1, 100), SEEDS)
def test_random_draws_never_give_a_task_of_weight_zero(weights, steps, seed):
    weights = np.array(weights, dtype=float)
    assert (weights[draw_tasks(weights, steps, seed, "random")] > 0).all()


def test_random_draws_follow_the_weights():
    counts = np.bincount(draw_tasks(np.array([0.5, 0.3, 0.2]), 10_000, 1, "random"))
    assert (abs(counts - [5000, 3000, 2000]) < 250).all()
