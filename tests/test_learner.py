"""The learner: the released trajectories, an independent slow version, absence, resuming, bad input."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.dro.learner import WeightLearner
from tdro.errors import UserError
from tdro.weights import TaskWeights

GOLDENS = Path(__file__).parent / "goldens"
NAN = math.nan


def rounds(k, low=0.0, high=50.0):
    """Random measures: steps × k, some absent, never all of a step."""
    value = st.one_of(st.floats(low, high), st.just(NAN))
    step = st.lists(value, min_size=k, max_size=k).filter(lambda row: not all(math.isnan(x) for x in row))
    return st.lists(step, min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("alpha_paper_script", {}),
        ("alpha_no_grad_norm", {"max_norm": None}),
        ("alpha_absent_tasks_zero", {"absent": "zero"}),
    ],
)
def test_goldens(file, settings):
    golden = json.loads((GOLDENS / f"{file}.json").read_text())
    learner = WeightLearner([f"t{i}" for i in range(golden["n_groups"])], eta=golden["eta"], **settings)
    for name in ("weights", "mean", "ema"):
        assert getattr(learner, name).values == pytest.approx(golden["initial"]["val"], abs=1e-6)
    for measures, step in zip(golden["measurements"], golden["steps"], strict=True):
        alpha = learner.update([NAN if m is None else m for m in measures])
        assert alpha.values == pytest.approx(step["val"], abs=1e-6)
        assert learner.mean.values == pytest.approx(step["mean"], abs=1e-6)
        assert learner.ema.values == pytest.approx(step["ema"], abs=1e-6)
    assert learner.step == len(golden["steps"]) and learner.weights == alpha


def slow(k, steps, eta, max_norm, absent, start):
    """The algorithm in plain Python, on α rather than log α."""
    alpha, last, total, ema = list(start), [None] * k, [0.0] * k, list(start)
    for measures in steps:
        known = [x for x in measures]
        if absent == "zero":
            known = [0.0 if math.isnan(x) else x for x in known]
        else:
            last = [old if math.isnan(x) else x for old, x in zip(last, known, strict=True)]
            seen = [x for x in last if x is not None]
            known = [sum(seen) / len(seen) if x is None else x for x in last]
        length = math.sqrt(sum(x * x for x in known))
        if max_norm is not None and length > max_norm:
            known = [x * max_norm / length for x in known]
        raised = [a * math.exp(eta * x) for a, x in zip(alpha, known, strict=True)]
        alpha = [x / sum(raised) for x in raised]
        total = [t + a for t, a in zip(total, alpha, strict=True)]
        ema = [0.9 * e + 0.1 * a for e, a in zip(ema, alpha, strict=True)]
    return alpha, [t / len(steps) for t in total], ema


@given(st.data(), st.integers(1, 8), st.sampled_from([None, 0.5, 1.0]), st.sampled_from(["last", "zero"]))
def test_slow_version(data, k, max_norm, absent):
    steps = data.draw(rounds(k))
    raw = data.draw(st.lists(st.floats(0.01, 1), min_size=k, max_size=k))
    start = TaskWeights(tuple(f"t{i}" for i in range(k)), np.array(raw) / sum(raw))
    eta = data.draw(st.floats(0.001, 0.5))
    learner = WeightLearner(start.names, eta, max_norm, initial=start, absent=absent)
    for measures in steps:
        learner.update(np.array(measures))
    alpha, mean, ema = slow(k, steps, eta, max_norm, absent, start.values.tolist())
    assert learner.weights.values == pytest.approx(alpha, abs=1e-10)
    assert learner.mean.values == pytest.approx(mean, abs=1e-10)
    assert learner.ema.values == pytest.approx(ema, abs=1e-10)


@given(st.data(), st.integers(1, 5))
def test_resumes_to_the_bit_through_json(data, k):
    steps = data.draw(rounds(k))
    cut = data.draw(st.integers(0, len(steps)))
    names = [f"t{i}" for i in range(k)]
    whole, before = WeightLearner(names), WeightLearner(names)
    for measures in steps:
        whole.update(measures)
    for measures in steps[:cut]:
        before.update(measures)
    after = WeightLearner(names)
    after.load_state_dict(json.loads(json.dumps(before.state_dict(), allow_nan=False)))
    for measures in steps[cut:]:
        after.update(measures)
    assert after.state_dict() == whole.state_dict()
    assert (after.weights, after.mean, after.ema) == (whole.weights, whole.mean, whole.ema)


def test_more_headroom_gains():
    learner = WeightLearner("abc")
    alpha = learner.update([2.0, 1.0, 1.0])
    assert alpha.values[0] > 1 / 3 > alpha.values[1] == alpha.values[2]


def test_an_absent_task_keeps_its_last_measure():
    absent, present = WeightLearner("ab"), WeightLearner("ab")
    for learner, second in ((absent, [NAN, 1.0]), (present, [3.0, 1.0])):
        learner.update([3.0, 1.0])
        learner.update(second)
    assert absent.weights == present.weights


def test_a_task_never_seen_neither_gains_nor_loses_against_the_mean():
    learner = WeightLearner("abc", max_norm=None)
    a, b, c = learner.update([2.0, 1.0, NAN]).values
    assert c == pytest.approx(math.sqrt(a * b))


def test_huge_eta_is_stable_and_a_task_can_return():
    learner = WeightLearner("ab", eta=1e6)
    assert learner.update([1.0, 0.0]).as_dict() == {"a": 1.0, "b": 0.0}
    learner.update([0.0, 1.0])
    assert learner.update([0.0, 1.0]).as_dict() == {"a": 0.0, "b": 1.0}


def test_huge_measures_do_not_overflow():
    assert WeightLearner("ab").update([1e300, 1e300]).as_dict() == {"a": 0.5, "b": 0.5}


def test_one_task_keeps_everything():
    learner = WeightLearner(["only"])
    assert learner.update([7.0]).as_dict() == learner.mean.as_dict() == {"only": 1.0}


def test_initial_weights_in_another_order():
    initial = TaskWeights.from_dict({"b": 0.75, "a": 0.25})
    learner = WeightLearner("ab", initial=initial)
    assert learner.weights.as_dict() == pytest.approx({"a": 0.25, "b": 0.75})
    assert learner.mean == learner.weights and learner.ema.values == pytest.approx([0.25, 0.75])


def test_initial_weights_must_name_every_task():
    with pytest.raises(UserError, match="task 'c' has 0"):
        WeightLearner("abc", initial=TaskWeights.uniform("ab"))
    with pytest.raises(UserError, match="'c' not among the tasks"):
        WeightLearner("ab", initial=TaskWeights.uniform("abc"))


@pytest.mark.parametrize(
    ("measures", "message"),
    [
        ([NAN, NAN], "no task has a measure"),
        ([math.inf, 1.0], "task 'a' is infinite"),
        ([1.0, -math.inf], "task 'b' is infinite"),
        ([1.0], r"\(2,\), one a task"),
        ([[1.0, 2.0]], r"\(2,\), one a task"),
    ],
)
def test_bad_measures_leave_the_state_alone(measures, message):
    learner = WeightLearner("ab")
    learner.update([2.0, 1.0])
    before = learner.state_dict()
    with pytest.raises(ValueError, match=message):
        learner.update(measures)
    assert learner.state_dict() == before


@pytest.mark.parametrize(
    "settings",
    [{"eta": 0}, {"eta": -1}, {"eta": NAN}, {"eta": math.inf}, {"max_norm": 0}, {"absent": "mean"}],
)
def test_bad_settings(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        WeightLearner("ab", **settings)


def test_state_of_other_tasks_is_refused():
    with pytest.raises(UserError, match="start anew"):
        WeightLearner("ab").load_state_dict(WeightLearner("ba").state_dict())
