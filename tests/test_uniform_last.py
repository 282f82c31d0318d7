"""Mixtures whose last steps are uniform: which tasks the steps read, what is refused, and what is trained again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import tiny_mixture
from tdro.data.plan.row_plans import HomogeneousPlan
from tdro.data.plan.task_order import draw_tasks, step_counts
from tdro.files import read_json
from tdro.gain.learned_weights import LearnedWeights
from tdro.planning.trainings import planned_trainings
from tdro.run.pipeline import run_recipe
from tdro.training.finetune import FinetuneJob
from tdro.weights import TaskWeights

HOW = st.sampled_from(["systematic", "random"])
WEIGHTS = np.array([0.6, 0.3, 0.1, 0.0])
EVEN = np.full(4, 0.25)


@given(st.integers(1, 60), st.integers(0, 2**31), HOW, st.data())
def test_the_last_steps_are_uniforms_own_and_the_others_the_mixtures(steps, seed, how, data):
    last = data.draw(st.integers(1, steps))
    tasks = draw_tasks(WEIGHTS, steps, seed, how, uniform_last=last)
    assert np.array_equal(tasks[steps - last :], draw_tasks(EVEN, steps, seed, how)[steps - last :])
    assert np.array_equal(tasks[: steps - last], draw_tasks(WEIGHTS, steps - last, seed, how))
    assert 3 not in tasks[: steps - last]


@given(st.integers(1, 60), st.integers(0, 2**31), HOW, st.data())
def test_uniform_itself_does_not_change(steps, seed, how, data):
    last = data.draw(st.integers(1, steps))
    assert np.array_equal(draw_tasks(EVEN, steps, seed, how, uniform_last=last), draw_tasks(EVEN, steps, seed, how))


def test_both_parts_have_their_exact_shares():
    tasks = draw_tasks(WEIGHTS, 400, 7, uniform_last=120)
    assert np.bincount(tasks[:280], minlength=4).tolist() == step_counts(WEIGHTS, 280, 7).tolist() == [168, 84, 28, 0]
    assert np.abs(np.bincount(tasks[280:], minlength=4) - 30).max() <= 1


def test_no_row_is_read_twice_before_all_of_its_task_were_read():
    sizes, batch = [40, 24, 60, 32], 8
    plan = HomogeneousPlan(sizes, batch, draw_tasks(WEIGHTS, 20, 3, uniform_last=8), 3)
    seen = [[] for _ in sizes]
    for step in (*range(12, 20), *range(12)):  # in any order: a step depends on (seed, step) only
        rows = plan.step(step)
        seen[plan.tasks[step]] += list(zip(rows.visit.tolist(), rows.row.tolist(), strict=True))
    for task, size in enumerate(sizes):
        assert len(set(seen[task])) == len(seen[task])
        first = [row for visit, row in seen[task] if visit == 0]
        assert len(first) == min(size, len(seen[task]))


@pytest.mark.parametrize(("last", "most"), [(5, None), (-1, None), (2, np.full(4, 9))])
def test_impossible_numbers_of_steps(last, most):
    with pytest.raises(ValueError, match="uniform_last"):
        draw_tasks(WEIGHTS, 4, 1, most=most, uniform_last=last)


# ---- recipes and runs


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"uniform_last": 1.0}, "less than 1"),
        ({"uniform_last": -0.1}, "greater than or equal to 0"),
        ({"uniform_last": 0.05}, "0.05 of 6 steps is 0; it must be at least 1"),
        ({"uniform_last": 0.95}, "0.95 of 6 steps is 6; it must be at least 1 and fewer than 6"),
        ({"uniform_last": 0.5, "max_epochs": 2.0}, "together with max_epochs"),
    ],
)
def test_what_is_refused(tmp_path, changes, said):
    with pytest.raises(ValidationError, match=said):
        tiny_mixture.recipe(tmp_path, **{f"finetune__{key}": value for key, value in changes.items()})


def tiny_run(folder: Path, **changes):
    weights = TaskWeights.from_dict({"task0": 0.4, "task1": 0.3, "task2": 0.2, "task3": 0.1})
    weights.save(folder / "w.json")
    mixtures = ["uniform", "top-50", "loss-reweight"]
    return tiny_mixture.recipe(
        folder, weights__load=str(folder / "w.json"), finetune__mixtures=mixtures, finetune__steps=8, **changes
    )


def test_a_run_trains_the_last_steps_uniformly_and_uniform_not_again(tmp_path, capsys):
    run_recipe(tiny_run(tmp_path), ["learn", "finetune"])
    capsys.readouterr()
    recipe = tiny_run(tmp_path, finetune__uniform_last=0.5)
    run_recipe(recipe, ["learn", "finetune"], force=True)
    said = capsys.readouterr().out
    assert "uniform-seed1: done before" in said and "top-50-seed1: done before" not in said
    trained = read_json(tmp_path / "run" / "models" / "main" / "top-50-seed1" / "training.json")
    assert trained["rows_drawn"] == {"task0": 24, "task1": 24, "task2": 8, "task3": 8}
    cards = [tmp_path / "run" / "models" / "main" / f"{name}-seed1" / "README.md" for name in ("top-50", "uniform")]
    said = ["In the last 50 % of the steps all tasks were sampled equally." in card.read_text() for card in cards]
    assert said == [True, False]
    sizes = {f"task{n}": 12 * (n + 1) for n in range(4)}
    weights = LearnedWeights(TaskWeights.load(tmp_path / "w.json"))
    (planned,) = [one for one in planned_trainings(recipe, sizes, weights) if one.mixture == "top-50"]
    assert planned.reading is not None
    assert planned.reading.rows.tolist() == list(trained["rows_drawn"].values())


def test_gradients_are_not_multiplied_in_the_last_steps(tmp_path):
    settings = tiny_run(tmp_path, finetune__uniform_last=0.25).finetune[0]
    factors = np.array([4.0, 3.0, 2.0, 0.5])
    job = FinetuneJob("x", "loss-reweight", EVEN, settings, 1, factors=factors)
    plan = HomogeneousPlan([12, 24, 36, 48], 8, draw_tasks(EVEN, 8, 1, uniform_last=2), 1)
    found = job.step_factors(plan)
    assert found is not None
    assert found[:6].tolist() == factors[plan.tasks[:6]].tolist() and found[6:].tolist() == [1.0, 1.0]
    assert factors.tolist() == [4.0, 3.0, 2.0, 0.5]  # not written to
