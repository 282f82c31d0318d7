"""What a run tells TensorBoard and Trackio, read back from their files; and that nothing is told unasked."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import tiny
import tiny_mixture
from tdro import cli
from tdro.commands import recipe_stages
from tdro.dro.health import health_values
from tdro.errors import UserError
from tdro.files import read_json, read_jsonl
from tdro.recipe.schema import Recipe
from tdro.run import pipeline
from tdro.training import tracking
from tdro.training.tracking import TrackedRun, check_trackers
from tdro.training.trainer import PlannedTrainer
from tdro.weights import TaskWeights

INSTALLED = [name for name in ("tensorboard", "trackio") if importlib.util.find_spec(name)]
TRAININGS = ["reference", "weights", "weights/gain", "main/uniform-seed1", "main/top-50-seed1", "main/gain-seed1"]
VARIABLES = ("TENSORBOARD_LOGGING_DIR", "WANDB_PROJECT", "WANDB_RUN_GROUP", "MLFLOW_EXPERIMENT_NAME")


def recipe(folder: Path, /, **changes) -> Recipe:
    tasks = {name: tiny.task(name, seed=5) for name in ("dev", "other")}
    sets = {name: str(tiny_mixture.write_beir(folder / "dev" / name, task)) for name, task in tasks.items()}
    given = {
        "data__development_sets": sets,
        "finetune__evaluate_every": 3,
        "finetune__mixtures": ["uniform", "top-50", "gain"],
        "gain": {"rounds": 2, "trial_steps": 1},
    }
    return tiny_mixture.recipe(folder, **(given | changes))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole run that reports to whatever is installed; the folder of the run."""
    if not INSTALLED:
        pytest.skip("neither tensorboard nor trackio is installed")
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        for name in (*VARIABLES, "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
            patch.delenv(name, raising=False)
        patch.setenv("TDRO_CACHE", str(folder / "cache"))
        patch.setenv("TRACKIO_DIR", str(folder / "trackio"))  # before it is imported
        if "trackio" in INSTALLED:
            assert "trackio" not in sys.modules
        pipeline.run_recipe(recipe(folder, report_to=INSTALLED))
        assert not {*VARIABLES} & os.environ.keys()
    return folder / "run"


class TensorBoard:
    def __init__(self, run: Path) -> None:
        self.folder = run / "tensorboard"

    def names(self):
        return {path.parent.relative_to(self.folder).as_posix() for path in self.folder.rglob("events.*")}

    def series(self, name):
        """Tag to the values by step, and the texts."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(self.folder / name), size_guidance={"tensors": 0, "scalars": 0})
        events.Reload()
        tags = events.Tags()
        found = {tag: {each.step: each.value for each in events.Scalars(tag)} for tag in tags["scalars"]}
        return found | {
            tag.removesuffix("/text_summary"): {
                each.step: each.tensor_proto.string_val[0].decode() for each in events.Tensors(tag)
            }
            for tag in tags["tensors"]
        }


class Trackio:
    project = "tiny"

    def __init__(self, run: Path) -> None:
        from trackio.sqlite_storage import SQLiteStorage

        self.storage = SQLiteStorage
        assert (run.parent / "trackio" / "tiny.db").is_file()

    def names(self):
        return set(self.storage.get_runs(self.project))

    def series(self, name):
        found: dict = {}
        for entry in self.storage.get_logs(self.project, name):
            for tag, value in entry.items():
                found.setdefault(tag, {})[entry.get("train/global_step")] = value
        return found


@pytest.fixture(params=["tensorboard", "trackio"])
def tracker(request, run):
    if request.param not in INSTALLED:
        pytest.skip(f"{request.param} is not installed")
    return {"tensorboard": TensorBoard, "trackio": Trackio}[request.param](run)


def close(found, expected):
    return found == pytest.approx(expected, rel=1e-5)  # TensorBoard keeps float32


def test_a_run_is_a_group_and_each_training_a_run(tracker):
    assert tracker.names() == {*TRAININGS, "main/comparison"}


@pytest.mark.parametrize("name", TRAININGS)
def test_the_loss_is_that_of_the_log(name, tracker, run):
    folder = run / (name if name.split("/")[0] in ("reference", "weights") else f"models/{name}")
    expected = {line["step"]: line["loss"] for line in read_jsonl(folder / "log.jsonl")}
    assert len(expected) == 6 and close(tracker.series(name)["train/loss"], expected)


def test_every_task_has_its_alpha_measure_and_losses(tracker, run):
    found, weights = tracker.series("weights"), TaskWeights.load(run / "weights" / "weights.json")
    steps = read_jsonl(run / "weights" / "steps.jsonl")
    for place, name in enumerate(weights.names):
        assert close(found[f"train/alpha/{name}"][6], weights[name])
        for key in ("alpha", "measure", "proxy_loss", "reference_loss"):
            expected = {line["step"] + 1: line[key][place] for line in steps if line[key][place] is not None}
            told = found[f"train/{key}/{name}"]
            assert expected and close({step: told[step] for step in expected}, expected)


def test_the_health_is_told_at_the_end(tracker, run):
    found, health = tracker.series("weights"), read_json(run / "weights" / "health.json")
    assert close(found["train/health/effective_tasks"], {6: health["effective_tasks"]})
    for name, task in health["tasks"].items():
        for key, value in task.items():
            assert (f"train/health/{key}/{name}" in found) == (value is not None)
            assert value is None or close(found[f"train/health/{key}/{name}"], {6: value})
    (said,) = found["train/health/warnings"].values()
    assert said == ("\n".join(f"- {line}" for line in health["warnings"]) or "none")
    assert not any("health" in tag or "alpha" in tag for tag in tracker.series("reference"))


def test_the_weights_of_gain_are_told(tracker, run):
    alphas = read_json(run / "weights" / "gain" / "gain.json")
    found = tracker.series("weights/gain")
    for place, name in enumerate(alphas["names"]):
        assert close(found[f"train/alpha/{name}"][3], alphas["alphas"][0][place])
        assert close(found[f"train/alpha/{name}"][6], alphas["alphas"][1][place])


def test_each_development_set_has_its_curve(tracker, run):
    found = tracker.series("main/top-50-seed1")
    curve = read_json(run / "models/main/top-50-seed1/training.json")["development"]["curve"]
    assert close(found["eval/ndcg@10"], {each["step"]: each["score"] for each in curve})
    for name in ("dev", "other"):
        assert close(found[f"eval/{name}_ndcg@10"], {each["step"]: each["sets"][name] for each in curve})


def test_the_comparison_is_told_with_its_table(tracker, run):
    comparison, found = read_json(run / "comparison" / "main.json"), tracker.series("main/comparison")
    for row in comparison["rows"]:
        name = row["mixture"]
        assert close([*found[f"test/mean_ndcg@10/{name}"].values()], [row["ndcg@10"]["all"]])
        for test, mean in row["ndcg@10"]["tests"].items():
            assert close([*found[f"test/ndcg@10/{name}/{test}"].values()], [mean])
        versus = (row.get("versus") or {}).get("ndcg@10", {}).get("all") or {}
        for key in ("difference", "low", "high", "p"):
            if versus.get(key) is not None:
                assert close([*found[f"test/{key}/{name}"].values()], [versus[key]])
    (table,) = found["test/comparison"].values()
    assert table.startswith("```\n") and "top-50" in table and "unseen" in table


def test_a_finished_run_reports_nothing_again_and_trackers_are_no_inputs(run, monkeypatch):
    monkeypatch.setenv("TDRO_CACHE", str(run.parent / "cache"))
    monkeypatch.setattr(tracking, "get_reporting_integration_callbacks", lambda names: pytest.fail("reported"))
    before = (run / "run.json").read_text()
    pipeline.run_recipe(recipe(run.parent, report_to=INSTALLED))
    pipeline.run_recipe(recipe(run.parent))
    assert json.loads((run / "run.json").read_text())["stages"] == json.loads(before)["stages"]


def test_nothing_is_told_unasked_and_nothing_else_changes(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    made = []
    monkeypatch.setattr(PlannedTrainer, "run", lambda self, go_on=PlannedTrainer.run: (made.append(self), go_on(self)))
    pipeline.run_recipe(recipe(tmp_path), ["reference"])
    (trainer,) = made
    assert trainer.args.report_to == []
    callbacks = {type(each).__name__ for each in trainer.callback_handler.callbacks}
    assert not {"TensorBoardCallback", "TrackioCallback", "WandbCallback", "MLflowCallback"} & callbacks
    assert not (tmp_path / "run" / "tensorboard").exists()
    for name in ("model.safetensors", "log.jsonl"):
        assert (tmp_path / "run/reference" / name).read_bytes() == (run / "reference" / name).read_bytes()


# ---- refused, and asked for


def test_a_tracker_that_is_not_installed_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(tracking._AVAILABLE, "wandb", lambda: False)
    monkeypatch.setitem(tracking._AVAILABLE, "mlflow", lambda: True)
    check_trackers(["mlflow"])
    message = "report_to: wandb is not installed, or switched off in the environment; `pip install wandb`, or leave"
    with pytest.raises(UserError, match=message) as found:
        pipeline.run_recipe(recipe(tmp_path, report_to=["mlflow", "wandb"]))
    assert "\n" not in str(found.value) and not (tmp_path / "run" / "run.json").exists()


def test_names_are_checked_by_the_recipe(tmp_path):
    for wrong, message in ((["tensorbord"], "tensorboard"), (["wandb", "wandb"], "listed twice"), ("wandb", "tuple")):
        with pytest.raises(ValueError, match=message):
            recipe(tmp_path, report_to=wrong)
    assert recipe(tmp_path).report_to == ()


def test_the_commands_have_it_as_an_option(tmp_path, monkeypatch, capsys):
    file, found = tmp_path / "r.yaml", []
    file.write_text(recipe(tmp_path, report_to=["mlflow"]).to_yaml())
    monkeypatch.setattr(pipeline, "run_recipe", lambda made, *rest: found.append(made.report_to))
    for command in ("run", "reference", "learn", "finetune", "evaluate"):
        assert cli.main([command, str(file), "--report-to", "wandb", "--report-to", "trackio"]) == 0
        assert cli.main([command, str(file)]) == 0
    assert found == [("wandb", "trackio"), ("mlflow",)] * 5 and recipe_stages
    assert cli.main(["evaluate", "m", "--on", "nano-beir", "--report-to", "wandb"]) == 2
    assert "--report-to: is for a recipe" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["run", str(file), "--report-to", "weights"])


def test_what_the_user_says_to_a_tracker_is_respected(tmp_path, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    tracked = TrackedRun(("wandb",), "mine", "main/uniform-seed1", tmp_path)
    with tracked.environment():
        found = [os.environ[name] for name in VARIABLES]
    assert found == [str(tmp_path / "tensorboard/main/uniform-seed1"), "tdro", "mine", "mine"]
    assert not {*VARIABLES} & os.environ.keys()
    for name in VARIABLES:
        monkeypatch.setenv(name, "/theirs")
    with tracked.environment():
        found = [os.environ[name] for name in VARIABLES]
    assert found == ["/theirs/mine/main/uniform-seed1", "/theirs", "/theirs", "/theirs"]
    assert {os.environ[name] for name in VARIABLES} == {"/theirs"}
    with TrackedRun().environment():
        assert os.environ["WANDB_RUN_GROUP"] == "/theirs"


def test_each_training_is_a_run_of_its_own_in_weights_and_biases(monkeypatch):
    """transformers leaves its run open; one that the user has opened is theirs, and stays."""
    finished = []

    def opened(name):
        return SimpleNamespace(finish=lambda: (finished.append(name), setattr(wandb, "run", None)))

    wandb = SimpleNamespace(run=None)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for name in ("one", "two"):
        with TrackedRun(("wandb",), "mine", name).environment():
            assert wandb.run is None
            wandb.run = opened(name)
    with pytest.raises(KeyboardInterrupt), TrackedRun(("wandb",), "mine", "three").environment():
        wandb.run = opened("three")
        raise KeyboardInterrupt
    assert finished == ["one", "two", "three"]
    wandb.run = opened("theirs")
    with TrackedRun(("wandb",), "mine", "four").environment():
        pass
    assert finished == ["one", "two", "three"]


def test_what_is_no_number_is_left_out():
    tasks = {"a": {"measure_mean": None, "reference_loss": float("inf")}}
    summary = {"effective_tasks": 1.0, "entropy": None, "drift_per_100_steps": 0.0, "warnings": [], "tasks": tasks}
    assert health_values(summary) == {
        "health/effective_tasks": 1.0,
        "health/drift_per_100_steps": 0.0,
        "health/warnings": "none",
    }
