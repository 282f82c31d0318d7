"""A recipe with the mixture gain: what is trained and what is not, plan, report, and what is refused."""

import re

import numpy as np
import pytest
from pydantic import ValidationError

import tiny_mixture
from tdro.cli import main
from tdro.errors import UserError
from tdro.files import read_json, write_json
from tdro.planning.page import page
from tdro.planning.plan import make_plan
from tdro.report.heat_map import heat_map, signed
from tdro.report.report_page import write_report
from tdro.run.pipeline import run_recipe
from tdro.run.training_data import mixture_on_disk

FEW = {"rounds": 2, "trial_steps": 1}


def recipe(folder, mixtures=("uniform", "gain"), **changes):
    return tiny_mixture.recipe(folder, finetune__mixtures=list(mixtures), **{"gain": FEW, **changes})


def stages(run):
    return [stage["name"] for stage in read_json(run / "run.json")["stages"]]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder with a finished run that needs the weights of gain alone."""
    folder = tmp_path_factory.mktemp("gain")
    run_recipe(recipe(folder))
    return folder


def test_gain_alone_needs_neither_reference_nor_stage_one(done):
    wanted = ["weights/gain", "models/main/uniform-seed1", "models/main/gain-seed1", "evaluation/main"]
    assert stages(done / "run") == wanted
    assert not (done / "run" / "reference").exists() and not (done / "run" / "weights" / "weights.json").exists()
    assert not (done / "run" / "weights" / "gain" / "training").exists()  # the checkpoints are gone


def test_the_models_are_trained_by_the_weights(done):
    weights = read_json(done / "run" / "weights" / "gain" / "weights.json")["weights"]
    assert read_json(done / "run" / "models" / "main" / "gain-seed1" / "training.json")["weights"] == weights


def test_the_same_recipe_again_does_nothing(done, capsys):
    before = (done / "run" / "weights" / "gain" / "weights.json").stat().st_mtime_ns
    run_recipe(recipe(done), ["learn", "finetune"])
    assert (done / "run" / "weights" / "gain" / "weights.json").stat().st_mtime_ns == before
    assert capsys.readouterr().out.count("done before") == 3


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"gain": {**FEW, "move": 1.0}}, "gain.move"),
        ({"gain": {**FEW, "steps": 5}}, "settings.steps"),
        ({"reference__learning_rate": 0.02}, "settings.learning_rate"),
    ],
)
def test_other_inputs_are_refused(done, changes, key):
    with pytest.raises(UserError, match=rf"'weights/gain' was made from other inputs \({re.escape(key)}.*\n.*--force"):
        run_recipe(recipe(done, **changes), ["learn"])


def test_settings_of_speed_are_no_inputs(done, capsys):
    run_recipe(recipe(done, reference__chunk_rows=3), ["learn"])
    assert "weights/gain: done before" in capsys.readouterr().out


def test_fine_tuning_wants_the_weights_first(tmp_path):
    with pytest.raises(UserError, match=r"'weights/gain' is not done yet; run `tdro learn"):
        run_recipe(recipe(tmp_path), ["finetune"])


def test_both_ways_to_learn_go_beside_each_other(tmp_path):
    run_recipe(recipe(tmp_path, ["top-50", "gain"]), ["reference", "learn", "finetune"])
    names = ["reference", "weights", "weights/gain", "models/main/top-50-seed1", "models/main/gain-seed1"]
    assert stages(tmp_path / "run") == names


def test_loaded_weights_do_not_stand_in_for_gain(tmp_path):
    weights = tmp_path / "w.json"
    write_json(weights, {f"task{number}": 0.25 for number in range(4)})
    found = recipe(tmp_path, ["top-50", "gain"], weights__load=str(weights))
    run_recipe(found, ["learn", "finetune"])
    assert stages(tmp_path / "run")[:2] == ["weights", "weights/gain"]


def test_a_recipe_without_gain_is_as_before(tmp_path):
    found = tiny_mixture.recipe(tmp_path, finetune__mixtures=["uniform"])
    assert found.learns_alpha and not found.learns_gain


# ---- the plan and the table


def test_the_plan_lists_the_proxy_with_its_trials(tmp_path):
    found = recipe(tmp_path)
    plan = make_plan(found, mixture_on_disk(found))
    training = plan.estimates[0].training
    assert [estimate.training.title for estimate in plan.estimates] == ["gain", "main uniform", "main gain"]
    assert training.settings.steps == 6 + 2 * 4 * 1 and training.reading.steps.sum() == training.settings.steps
    assert training.scored.tolist() == [2 * 5 * rows for rows in (2, 4, 7, 9)]  # a fifth of 12, 24, 36, 48
    assert (training.reading.available == np.array([10, 20, 29, 39])).all()
    assert plan.estimates[2].tokens is None
    text = page(plan)
    assert "held-out rows" in text and "as if its weights stayed uniform" in text


def test_after_the_run_the_plan_knows_the_weights(done):
    found = recipe(done)
    assert make_plan(found, mixture_on_disk(found)).estimates[2].tokens > 0


def test_the_weights_table_knows_the_rows(done, capsys):
    assert main(["weights", str(done / "run" / "weights" / "gain" / "weights.json")]) == 0
    assert "of 120 rows" in capsys.readouterr().out


# ---- the report


def test_the_report_shows_the_map_first(done):
    text = write_report(done / "run").read_text(encoding="utf-8")
    assert text.index('id="gain"') < text.index('id="comparison"')
    assert "helps the others" in text and 'aria-label="Which of 4 tasks helps which"' in text
    assert text.count("<title>task0 helps itself: ") == 1


def test_a_broken_matrix_is_named(done, tmp_path):
    content = read_json(done / "run" / "weights" / "gain" / "gain.json")
    folder = tmp_path / "broken"
    for broken in ({**content, "matrices": [[1.0]]}, {"names": ["a"]}, {**content, "names": ["a"]}):
        write_json(folder / "weights" / "gain" / "gain.json", broken)
        with pytest.raises(UserError, match=r"gain\.json: .*tdro learn --force"):
            write_report(folder)


@pytest.mark.parametrize("tasks", [1, 2, 16, 60])
def test_the_map_of_few_and_many_tasks(tasks):
    names = [f"<task {number}>" for number in range(tasks)]
    drawn = heat_map(names, np.linspace(-1, 1, tasks * tasks).reshape(tasks, tasks), np.full(tasks, 1 / tasks))
    assert "nan" not in drawn and "<task" not in drawn
    assert ("+100.0" in drawn or "−100.0" in drawn) and drawn.count("<rect") >= tasks * tasks
    assert all(float(share) <= 0.55 for share in re.findall(r'fill-opacity="([\d.]+)"', drawn))


def test_signs_are_read_without_colour():
    assert [signed(value) for value in (0.0123, -0.003, 0.0, -0.0001)] == ["+1.2", "−0.3", "0", "0"]


# ---- bad input


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"gain": {"rounds": 7}}, "7 rounds do not fit into 6 steps"),
        ({"gain": {"rounds": 0}}, "rounds"),
        ({"gain": {"floor": 1.0}}, "floor"),
        ({"gain": {"move": 0.0}}, "move"),
        ({"gain": {"trial_steps": 0}}, "trial_steps"),
        ({"gain": {"held_out_rows": 0}}, "held_out_rows"),
        ({"gain": {"target": 1}}, "target"),
        ({"gain": {**FEW, "steps": 2}, "reference__warmup_steps": 3.0}, "does not end within"),
    ],
)
def test_settings_that_cannot_work(tmp_path, changes, says):
    with pytest.raises(ValidationError, match=says):
        recipe(tmp_path, **changes)


def test_rounds_are_not_checked_where_nobody_asks_for_gain(tmp_path):
    assert recipe(tmp_path, ["uniform"], gain={"rounds": 7}).gain.rounds == 7
