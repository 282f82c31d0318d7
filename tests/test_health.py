"""Health: what is said, when, once, and that it survives a restart."""

import json
import math

import numpy as np
import pytest

import tiny
from tdro.dro.health import HealthMonitor, collapse_warning
from tdro.dro.learner import WeightLearner
from tdro.dro.loss import TDROLoss
from tdro.dro.reference_health import memorisation_warnings, reference_warnings, weak_reference
from tdro.files import write_json
from tdro.report.learning_section import health_view
from tdro.report.run_contents import read_run_folder
from tdro.weights import TaskWeights

NAMES = ("quiz", "news", "code", "dialog")
UNIFORM = np.full(4, 0.25)
ONES = np.ones(4)


def run(monitor, steps, alpha=UNIFORM, measures=ONES, proxy=ONES, reference=ONES):
    """Feed ``steps`` steps; an argument may be a function of the step."""
    said = []
    for step in range(steps):
        values = [x(step) if callable(x) else x for x in (alpha, measures, proxy, reference)]
        said += monitor.update(step, *values)
    return said


def test_a_healthy_run_says_nothing():
    random = np.random.default_rng(0)
    said = run(HealthMonitor(NAMES), 300, measures=lambda _: 1 + 0.2 * random.random(4))
    assert said == []


def test_collapse_is_said_once_with_the_task_and_the_cure():
    said = run(HealthMonitor(NAMES), 50, alpha=np.array([0.85, 0.05, 0.05, 0.05]))
    collapse, one = said
    assert "step 0" in collapse and "1.8 effective tasks of 4" in collapse
    assert "'quiz'" in collapse and "top-70" in collapse
    assert "task 'quiz' has 85% of all weight" in one
    assert all("\n" not in line for line in said)


def test_a_task_on_its_way_to_zero():
    said = run(HealthMonitor(NAMES), 30, alpha=np.array([0.33, 0.33, 0.33, 0.01]))
    assert len(said) == 1 and "task 'dialog' is on its way to zero" in said[0]


def test_drift():
    def swing(step):
        share = 0.1 + 0.8 * step / 59
        return np.array([share / 2, share / 2, (1 - share) / 2, (1 - share) / 2])

    monitor = HealthMonitor(NAMES)
    said = run(monitor, 60, alpha=swing)
    assert any("moved by" in line and "'quiz'" in line for line in said)
    assert monitor.drift_per_100_steps == pytest.approx(80 / 59)  # total variation 0.8 in 59 steps


def test_noise_names_the_heavy_tailed_task():
    def tail(step):
        return np.array([40.0 if step % 10 == 0 else 1.0, 1.0, 1.0, math.nan])

    said = run(HealthMonitor(NAMES), 100, measures=tail)
    assert len(said) == 1
    assert "task 'quiz' is noisy (mean 4.9, median 1" in said[0]


def test_a_falling_measure_is_no_noise():
    said = run(HealthMonitor(NAMES), 100, measures=lambda step: 1 + 9 * np.exp(-step / 8) * ONES)
    assert said == []


def test_solved_task():
    losses = np.array([1.0, 5e-4, 1.0, 1.0])
    said = run(HealthMonitor(NAMES), 40, proxy=losses, reference=losses)
    assert len(said) == 1 and "task 'news' is solved" in said[0]


def test_no_reference_and_one_task():
    monitor = HealthMonitor(["only"])
    said = []
    for step in range(40):
        said += monitor.update(step, [1.0], [2.0], [0.0], None)
    assert said == []
    assert monitor.summary()["tasks"]["only"]["reference_loss"] is None


def test_summary_is_json_and_holds_what_the_report_reads():
    random = np.random.default_rng(1)
    measures = random.random((50, 4))
    measures[::3, 1] = np.nan
    monitor = HealthMonitor(NAMES, window=20)
    for step, row in enumerate(measures):
        monitor.update(step, UNIFORM, row, ONES, 2 * ONES)
    summary = monitor.summary(untrained={"quiz": 1.0}, seen={"code": 0.14}, unseen={"code": 2.87})
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["effective_tasks"] == pytest.approx(4)
    assert summary["entropy"] == pytest.approx(math.log(4))
    assert summary["drift_per_100_steps"] == 0
    task = summary["tasks"]["news"]
    assert task["measure_mean"] == pytest.approx(np.nanmean(measures[:, 1]))
    assert task["measure_std"] == pytest.approx(np.nanstd(measures[:, 1]))
    assert task["reference_loss"] == 2 and task["untrained_loss"] is None
    assert summary["tasks"]["code"]["unseen_loss"] == 2.87
    assert any("weak reference on task 'quiz'" in line for line in summary["warnings"])
    assert any("memorised task 'code'" in line for line in summary["warnings"])


def test_summary_before_the_first_step():
    summary = HealthMonitor(NAMES).summary()
    assert summary["effective_tasks"] is None and summary["warnings"] == []
    json.dumps(summary, allow_nan=False)


def test_resumes_as_if_never_stopped():
    random = np.random.default_rng(2)
    steps = [(random.dirichlet(np.ones(4) / 2), *random.exponential(size=(3, 4))) for _ in range(90)]
    steps = [(a, np.where(random.random(4) < 0.2, np.nan, m), p, r) for a, m, p, r in steps]
    whole, before, after = (HealthMonitor(NAMES, window=30) for _ in range(3))
    said = [whole.update(i, *step) for i, step in enumerate(steps)]
    first = [before.update(i, *step) for i, step in enumerate(steps[:47])]
    after.load_state_dict(json.loads(json.dumps(before.state_dict(), allow_nan=False)))
    second = [after.update(47 + i, *step) for i, step in enumerate(steps[47:])]
    assert first + second == said and sum(map(len, said)) > 0
    assert after.summary() == whole.summary() and after.state_dict() == whole.state_dict()


@pytest.mark.parametrize(
    ("values", "collapsed"),
    [
        ([1.0], False),
        ([0.9, 0.1], False),
        ([0.98, 0.01, 0.01], True),
        ([0.5, 0.3, 0.2], False),
        ([0.6, 0.3] + [0.1 / 14] * 14, True),  # 16 tasks, about 3 effective
        ([1 / 16] * 16, False),
    ],
)
def test_collapse_before_training_on_ratios(values, collapsed):
    weights = TaskWeights(tuple(f"t{i}" for i in range(len(values))), np.array(values))
    warning = collapse_warning(weights)
    assert (warning is not None) == collapsed
    assert warning is None or "'t0'" in warning


def test_the_papers_weights_are_not_collapsed():
    assert collapse_warning(TaskWeights.paper()) is None


def test_weak_reference():
    untrained = {"quiz": 2.0, "news": 2.0, "code": 1e-5, "dialog": 1.0}
    said = reference_warnings({"quiz": 0.5, "news": 1.99, "code": 1e-5, "dialog": math.nan}, untrained)
    assert [name for line in said for name in NAMES if f"'{name}'" in line] == ["news", "dialog"]
    assert reference_warnings({}, untrained) == []


def test_health_weighs_rows_and_not_steps():
    """A step with one row of a task counts a ninth of one with nine, as in what stage 1 says before it begins."""
    monitor = HealthMonitor(NAMES)
    monitor.update(0, UNIFORM, ONES, ONES, 0.1 * ONES, [9, 4, 4, 4])
    monitor.update(1, UNIFORM, ONES, ONES, ONES, [1, 4, 4, 4])
    summary = monitor.summary(untrained={"quiz": 0.5, "news": 0.5})
    assert summary["tasks"]["quiz"]["reference_loss"] == pytest.approx(0.19)
    assert summary["tasks"]["news"]["reference_loss"] == pytest.approx(0.55)
    (said,) = summary["warnings"]
    assert said.startswith("weak reference on task 'news'")


def test_solved_below_is_the_recipes():
    losses = np.array([1.0, 0.04, 1.0, 1.0])
    assert run(HealthMonitor(NAMES), 40, proxy=losses, reference=losses) == []
    monitor = HealthMonitor(NAMES, solved_below=0.05)
    (said,) = run(monitor, 40, proxy=losses, reference=losses)
    assert "task 'news' is solved (proxy and reference below 0.05 nats)" in said
    summary = monitor.summary(untrained={"news": 0.04, "quiz": 1.0})
    assert summary["solved_below"] == 0.05
    assert [line.split("'")[1] for line in summary["warnings"]] == ["news", "quiz"], "solved before is not weak"


@pytest.mark.parametrize(
    ("reference", "untrained", "weak"),
    [
        (0.94, 1.0, False),
        (0.96, 1.0, True),
        (1.2, 1.0, True),
        (1e-5, 1e-5, False),
        (None, 1.0, False),
        (1.0, None, False),
    ],
)
def test_report_and_health_mark_the_same_references_as_weak(tmp_path, reference, untrained, weak):
    assert weak_reference(reference, untrained) == weak
    loss = {"reference_loss": reference, "untrained_loss": untrained}
    write_json(tmp_path / "run.json", {"name": "r", "tasks": [{"name": "quiz", "rows": 9}]})
    write_json(tmp_path / "weights" / "health.json", {"warnings": [], "tasks": {"quiz": loss}})
    (row,) = health_view(read_run_folder(tmp_path))["rows"]
    assert row["weak"] == weak
    known = {key: {"quiz": value} if value is not None else {} for key, value in loss.items()}
    assert bool(reference_warnings(known["reference_loss"], known["untrained_loss"])) == weak


def test_the_loss_tells_health_its_floor_and_its_rows():
    loss = TDROLoss(tiny.static_model(), WeightLearner(["a", "b"], 0.1), measure="raw", floor=0.25)
    assert loss.health.solved_below == 0.25


def test_memorisation():
    said = memorisation_warnings({"quiz": 0.14, "news": 0.5, "code": 0.001}, {"quiz": 2.87, "news": 0.6, "code": 0.05})
    assert len(said) == 1
    assert "'quiz'" in said[0] and "held_out" in said[0]


def test_bad_input():
    with pytest.raises(ValueError, match="window"):
        HealthMonitor(NAMES, window=5)
    with pytest.raises(ValueError, match="must not be empty"):
        HealthMonitor([])
    with pytest.raises(ValueError, match="expected 4 values"):
        HealthMonitor(NAMES).update(0, UNIFORM, ONES[:3], ONES, ONES)
    with pytest.raises(ValueError, match="saved health is of tasks"):
        HealthMonitor(NAMES).load_state_dict(HealthMonitor(["a"]).state_dict())
