"""The learner of transfer gain against a plain version, its state, bad input; which rows are held out; the rounds."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.errors import UserError
from tdro.gain.held_out import hold_out
from tdro.gain.learner import GainLearner
from tdro.gain.rounds import Rounds
from tdro.gain.words import gains_sentence

NAMES = ["a", "b", "c", "d"]


def random_matrices(count, tasks=4, seed=0):
    return np.random.default_rng(seed).normal(0.01, 0.05, (count, tasks, tasks))


def plain(matrices, rounds, move, floor, counts):
    """The algorithm in plain Python; the mean of α over the rounds, and the α of the last one."""
    k, columns = len(matrices[0]), len(counts)
    share = [count / sum(counts) for count in counts]
    alpha, total = [1 / k] * k, [0.0] * k
    for matrix in matrices:
        gain = [sum(matrix[g][h] * share[h] for h in range(columns)) for g in range(k)]
        mean = sum(gain) / k
        deviation = math.sqrt(sum((x - mean) ** 2 for x in gain) / k)
        grown = [a * math.exp(move / rounds * (x - mean) / deviation) for a, x in zip(alpha, gain, strict=True)]
        alpha = [(1 - floor) * x / sum(grown) + floor / k for x in grown]
        total = [t + a for t, a in zip(total, alpha, strict=True)]
    return [t / len(matrices) for t in total], alpha


@pytest.mark.parametrize(
    "settings", [{}, {"move": 9.0}, {"floor": 0.0}, {"floor": 0.5, "counts": [1.0, 0.0, 2.0, 0.5]}]
)
def test_it_is_the_plain_algorithm(settings):
    learner = GainLearner(NAMES, rounds=7, **settings)
    matrices = random_matrices(7)
    for matrix in matrices:
        learner.update(matrix)
    defaults = {"move": 3.0, "floor": 0.02, "counts": [1.0] * 4, **settings}
    mean, last = plain(matrices.tolist(), 7, **defaults)
    assert learner.mean.values == pytest.approx(mean, abs=1e-12)
    assert learner.weights.values == pytest.approx(last, abs=1e-12)


@pytest.mark.parametrize("shares", [[0.5, 0.2, 0.3], [1.0], [0.1] * 10])
def test_towards_a_target_it_is_the_plain_algorithm(shares):
    """The columns are those of the target, more or fewer than there are tasks."""
    parts = [f"part{number}" for number in range(len(shares))]
    learner = GainLearner(NAMES, rounds=5, counts=shares, helped=parts)
    matrices = np.random.default_rng(4).normal(0.01, 0.05, (5, 4, len(shares)))
    for matrix in matrices:
        learner.update(matrix)
    mean, last = plain(matrices.tolist(), 5, 3.0, 0.02, shares)
    assert learner.mean.values == pytest.approx(mean, abs=1e-12)
    assert learner.weights.values == pytest.approx(last, abs=1e-12)
    with pytest.raises(ValueError, match=f"4 x {len(shares)} finite|all 5 rounds"):
        learner.update(np.zeros((4, len(shares) + 1)))


def test_a_golden_round():
    """Worked out by hand: gains 3, 1, 1, 1 (in hundredths) are √3, -1/√3, -1/√3, -1/√3 standard deviations."""
    learner = GainLearner(NAMES, rounds=1, move=1.0, floor=0.2)
    learner.update([[0.03] * 4, [0.01] * 4, [0.01] * 4, [0.01] * 4])
    large, small = math.exp(math.sqrt(3)), math.exp(-1 / math.sqrt(3))
    expected = 0.8 * large / (large + 3 * small) + 0.05
    assert learner.weights["a"] == pytest.approx(expected, abs=1e-12)
    assert learner.weights["b"] == learner.weights["c"] == pytest.approx((1 - expected) / 3, abs=1e-12)


def test_before_the_first_round_all_are_uniform():
    learner = GainLearner(NAMES)
    assert learner.weights.values.tolist() == learner.mean.values.tolist() == [0.25] * 4


@given(st.floats(-1, 1), st.integers(1, 5))
def test_tasks_that_help_equally_stay_equal(value, rounds):
    learner = GainLearner(NAMES, rounds)
    for _ in range(rounds):
        learner.update(np.full((4, 4), value))
    assert learner.mean.values == pytest.approx([0.25] * 4, abs=1e-9)


def test_the_floor_keeps_every_task_alive():
    learner = GainLearner(NAMES, rounds=50, move=5000.0, floor=0.02)
    for matrix in random_matrices(50):
        assert learner.update(matrix).values.min() >= 0.005 - 1e-15


def test_one_task_has_all_the_weight():
    learner = GainLearner(["only"], rounds=2)
    assert learner.update([[0.3]])["only"] == 1.0


def test_the_state_goes_through_json_to_the_bit():
    whole, first = GainLearner(NAMES, rounds=6), GainLearner(NAMES, rounds=6)
    matrices = random_matrices(6, seed=3)
    for matrix in matrices:
        whole.update(matrix)
    for matrix in matrices[:4]:
        first.update(matrix)
    second = GainLearner(NAMES, rounds=6)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for matrix in matrices[4:]:
        second.update(matrix)
    assert second.state_dict() == whole.state_dict() and second.mean == whole.mean


def test_the_state_of_other_tasks_is_refused():
    state = GainLearner(["a", "b", "d", "c"]).state_dict()
    with pytest.raises(UserError, match="start anew"):
        GainLearner(NAMES).load_state_dict(state)


@pytest.mark.parametrize(
    "settings",
    [
        *({"rounds": 0}, {"move": 0.0}, {"move": math.inf}, {"floor": 1.0}, {"floor": -0.1}),
        *({"counts": [1.0]}, {"counts": [0.0] * 4}, {"counts": [1, 1, 1, -1]}, {"counts": [1, 1, 1, math.nan]}),
    ],
)
def test_numbers_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="must be"):
        GainLearner(NAMES, **settings)


@pytest.mark.parametrize("matrix", [np.zeros((4, 3)), np.zeros(4), np.full((4, 4), np.nan), np.full((4, 4), np.inf)])
def test_a_wrong_matrix_changes_nothing(matrix):
    learner = GainLearner(NAMES)
    learner.update(random_matrices(1)[0])
    before = learner.state_dict()
    with pytest.raises(ValueError, match="4 x 4 finite"):
        learner.update(matrix)
    assert learner.state_dict() == before


def test_a_round_too_many_is_refused():
    learner = GainLearner(NAMES, rounds=1)
    learner.update(np.eye(4))
    with pytest.raises(ValueError, match="all 1 rounds"):
        learner.update(np.eye(4))


# ---- which rows are held out


def test_at_most_a_fifth_and_at_most_so_many_but_at_least_one():
    sizes = [10_000, 1280, 100, 7, 3, 2, 1]
    trained, held = hold_out(sizes, 256, seed=1)
    assert [len(rows) for rows in held] == [256, 256, 20, 1, 1, 1, 1]
    for size, own, kept in zip(sizes[:-1], held, trained, strict=False):
        assert sorted([*own, *kept]) == list(range(size))
    assert trained[-1].tolist() == held[-1].tolist() == [0]  # a row alone is in both


def test_what_is_held_out_depends_on_seed_and_task_alone():
    first, again, other = (hold_out([50, 50, 80], 256, seed)[1] for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0]) and not np.array_equal(first[0], first[1])
    assert np.array_equal(first[0], hold_out([50], 256, 1)[1][0])


# ---- the rounds


@given(st.integers(1, 60), st.integers(1, 60))
def test_the_rounds_cut_the_steps_into_parts(steps, count):
    count = min(count, steps)
    rounds = Rounds(steps, count, 1, 2, (5, 5), 0)
    begun = [(step, rounds.begins_at(step)) for step in range(steps)]
    assert [(step, number) for step, number in begun if number is not None] == [
        (rounds.first(number), number) for number in range(count)
    ]
    assert rounds.first(0) == 0 and rounds.first(count) == steps


def test_later_rounds_do_not_change_earlier_steps():
    """So a continued run reads what an uninterrupted one does, and a task's rows are gone through once before again."""
    rounds = Rounds(20, 4, 2, 3, (7, 9), 5)
    alphas = [np.array([0.5, 0.5]), np.array([0.9, 0.1]), np.array([0.1, 0.9]), np.array([0.5, 0.5])]
    whole, part = rounds.training(alphas), rounds.training(alphas[:2])
    assert part.steps == 10 and whole.steps == 20
    for step in range(10):
        assert np.array_equal(whole.step(step).row, part.step(step).row)
    assert np.bincount(whole.tasks[5:10]).tolist() in ([5], [4, 1])
    rows = np.concatenate([whole.step(step).row for step in np.flatnonzero(whole.tasks == 1)])
    assert sorted(rows[:9]) == list(range(9))


def test_trials_read_other_rows_each_round():
    rounds = Rounds(8, 4, 2, 3, (30, 24), 5)
    trial = rounds.trial(1)
    assert set(trial.tasks) == {1} and trial.steps == 8
    rows = np.concatenate([trial.step(step).row for step in range(8)])
    assert sorted(rows) == list(range(24))


# ---- in words


def test_the_sentence_names_the_giver_and_the_hurt():
    matrix = np.array([[0.9, 0.2, -0.1], [0.0, 0.9, -0.1], [0.1, 0.0, 0.9]])
    assert gains_sentence(["a", "b", "c"], matrix) == (
        "a helps the others most. Training on the others hurts c on average."
    )
    assert gains_sentence(["a", "b"], np.ones((2, 2))).endswith("No task is hurt by the others on average.")
    assert gains_sentence(["a", "b"], -np.ones((2, 2))) == (
        "No task helps the others on average. Training on the others hurts a and b on average."
    )
    assert "a, b and 1 more" in gains_sentence(["a", "b", "c"], -np.ones((3, 3)), most=2)
    shares = np.array([0.9, 0.1])
    towards = np.array([[0.1, 0.0], [0.2, -1.0], [0.0, -0.5]])
    assert gains_sentence(["a", "b", "c"], towards, shares) == "a helps the target most. Training on c hurts it."
    assert gains_sentence(["a"], -np.ones((1, 2)), shares).startswith("No task helps the target. Training on a hurts")
    assert gains_sentence(["a"], np.ones((1, 1))) == "One task alone has nobody to help."
