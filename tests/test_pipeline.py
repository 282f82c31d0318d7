"""Whole runs: stages in order, skipped when done, never over another's work, continued after Ctrl-C."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import tiny_mixture
from tdro.errors import UserError
from tdro.evaluation.compare.compare import compare_places
from tdro.files import read_json, read_jsonl
from tdro.run import in_workers, pipeline, stages
from tdro.training.steps import PlannedSteps
from tdro.weights import TaskWeights


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDRO_CACHE", str(folder / "cache"))
        pipeline.run_recipe(tiny_mixture.recipe(folder))
    return folder


def fingerprints(folder: Path) -> dict[str, str]:
    return {stage["name"]: stage["fingerprint"] for stage in read_json(folder / "run" / "run.json")["stages"]}


def test_a_run_leaves_everything_it_needs_to_be_repeated(finished: Path) -> None:
    run = finished / "run"
    for name in (
        "recipe.yaml", "versions.json", "run.log", "reference/modules.json", "weights/weights.json",
        "weights/steps.jsonl", "weights/health.json", "weights/alphas.json", "models/main/uniform-seed1/training.json",
        "models/main/top-50-seed1/modules.json", "evaluation/main/untrained/unseen.json",
        "comparison/main.json", "report.html",
    ):  # fmt: skip
        assert (run / name).exists(), name
    assert not list(run.rglob("*.pt")) and not list(run.rglob("*.pkl")) and not list(run.rglob("*.bin"))
    assert list(fingerprints(finished)) == [
        "reference",
        "weights",
        "models/main/uniform-seed1",
        "models/main/top-50-seed1",
        "evaluation/main",
    ]


def test_weights_are_the_last_step_of_the_log_and_say_where_they_come_from(finished: Path) -> None:
    weights = TaskWeights.load(finished / "run" / "weights" / "weights.json")
    steps = read_jsonl(finished / "run" / "weights" / "steps.jsonl")
    assert [step["step"] for step in steps] == list(range(6))
    assert weights.values.tolist() == steps[-1]["alpha"]
    assert weights.provenance["recipe"] == "tiny" and weights.provenance["seed"] == 13
    health = read_json(finished / "run" / "weights" / "health.json")
    assert set(health["tasks"]) == set(weights.names)
    assert all(task["untrained_loss"] > 0 for task in health["tasks"].values())


def test_the_selection_trains_on_its_tasks_only(finished: Path) -> None:
    record = read_json(finished / "run" / "models" / "main" / "top-50-seed1" / "training.json")
    kept = TaskWeights.load(finished / "run" / "weights" / "weights.json").top(50).names
    assert {task for task, rows in record["rows_drawn"].items() if rows} == set(kept)
    assert sum(record["rows_drawn"].values()) == 6 * 8


def test_a_finished_run_trains_nothing_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(finished / "cache"))
    monkeypatch.setattr(stages, "finetune", lambda *a, **k: pytest.fail("trained again"))
    monkeypatch.setattr(stages, "learn_weights", lambda *a, **k: pytest.fail("learned again"))
    before = fingerprints(finished)
    pipeline.run_recipe(tiny_mixture.recipe(finished))
    assert fingerprints(finished) == before


def test_settings_of_speed_do_not_count_as_changes(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(finished / "cache"))
    monkeypatch.setattr(stages, "finetune", lambda *a, **k: pytest.fail("trained again"))
    pipeline.run_recipe(
        tiny_mixture.recipe(finished, reference__chunk_rows=3, reference__checkpoint_steps=2), ["reference"]
    )


def test_other_test_sets_ask_for_no_other_training(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(finished / "cache"))
    monkeypatch.setattr(stages, "finetune", lambda *a, **k: pytest.fail("trained again"))
    pipeline.run_recipe(tiny_mixture.recipe(finished, data__tests=["task0"]), ["reference", "finetune"])


def test_more_seeds_are_added_and_the_rest_is_kept(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    before = fingerprints(tmp_path)
    pipeline.run_recipe(tiny_mixture.recipe(tmp_path, finetune__seeds=[1, 2]))
    after = fingerprints(tmp_path)
    assert after.pop("evaluation/main") != before.pop("evaluation/main")
    assert {name: after[name] for name in before} == before
    assert "models/main/uniform-seed2" in after
    row = read_json(tmp_path / "run" / "comparison" / "main.json")["rows"]
    assert next(r for r in row if r["mixture"] == "uniform")["seeds"] == 2


def test_what_other_settings_made_is_not_overwritten_without_force(tmp_path: Path) -> None:
    pipeline.run_recipe(tiny_mixture.recipe(tmp_path), ["reference"])
    changed = tiny_mixture.recipe(tmp_path, reference__learning_rate=0.02)
    with pytest.raises(UserError, match=r"settings.learning_rate: 0.01 → 0.02(.|\n)*--force"):
        pipeline.run_recipe(changed, ["reference"])
    before = fingerprints(tmp_path)["reference"]
    pipeline.run_recipe(changed, ["reference"], force=True)
    assert fingerprints(tmp_path)["reference"] != before


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "changes",
    [
        {"reference__learning_rate": 0.02},
        {"weights__eta": 3.0},
        {"negatives__per_row": 2},
        {"finetune__mixtures": ["top-25", "uniform"], "finetune__learning_rate": 0.02},  # top-25 is new, uniform is not
    ],
)
@pytest.mark.parametrize("stage", [None, ["finetune"]])
def test_a_refused_run_changes_nothing(
    finished: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], stage: list[str] | None
) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(finished / "cache"))
    before = everything(finished / "run")
    with pytest.raises(UserError, match="made from other inputs"):
        pipeline.run_recipe(tiny_mixture.recipe(finished, **changes), stage)
    assert everything(finished / "run") == before


@pytest.mark.parametrize(("stage", "target"), [("reference", "finetune"), ("learn", "learn_weights")])
def test_a_run_killed_before_its_record_is_written_trains_nothing_again(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, target: str
) -> None:
    """The weights are known by what they say of themselves; a fine-tuning goes on from its last checkpoint."""
    recipe = tiny_mixture.recipe(tmp_path, reference__checkpoint_steps=4)
    if stage == "learn":
        pipeline.run_recipe(recipe, ["reference"])
    real = getattr(stages, target)

    def killed(*arguments: object) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stages, target, killed)
        pipeline.run_recipe(recipe, [stage])
    monkeypatch.setattr(PlannedSteps, "__getitem__", lambda steps, step: pytest.fail("trained again"))
    pipeline.run_recipe(recipe, [stage])
    assert not list((tmp_path / "run").rglob("checkpoint-*"))
    result = {"reference": "reference/model.safetensors", "learn": "weights/steps.jsonl"}[stage]
    assert (tmp_path / "run" / result).read_bytes() == (finished / "run" / result).read_bytes()


def test_another_recipes_folder_is_refused(tmp_path: Path) -> None:
    pipeline.run_recipe(tiny_mixture.recipe(tmp_path), ["reference"])
    with pytest.raises(UserError, match="holds the run 'tiny', not 'other'"):
        pipeline.run_recipe(tiny_mixture.recipe(tmp_path, name="other"))
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="not empty and not a run folder"):
        pipeline.run_recipe(tiny_mixture.recipe(tmp_path, folder=str(stranger)))
    assert [path.name for path in stranger.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("stage", "command"), [("learn", "reference"), ("finetune", "learn"), ("evaluate", "finetune")]
)
def test_a_stage_alone_says_which_command_it_needs_first(tmp_path: Path, stage: str, command: str) -> None:
    with pytest.raises(UserError, match=f"tdro {command}"):
        pipeline.run_recipe(tiny_mixture.recipe(tmp_path), [stage])


@pytest.mark.parametrize("trusted", [False, True])
def test_code_of_models_is_run_only_if_the_recipe_says_so_and_this_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], trusted: bool
) -> None:
    with pytest.raises(UserError):
        pipeline.run_recipe(tiny_mixture.recipe(tmp_path, trust_remote_code=trusted), ["learn"])
    assert ("code that comes with a model is run here" in capsys.readouterr().out) == trusted


def test_a_run_stopped_at_any_stage_continues_to_the_same_result(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_mixture.recipe(tmp_path)
    for place, target in ((stages, "learn_weights"), (in_workers, "evaluate_all")):
        real = getattr(place, target)
        calls: list[int] = []

        def interrupted(*args: object, real: object = real, calls: list[int] = calls, **kwargs: object) -> object:
            calls.append(1)
            if len(calls) == 1:
                raise KeyboardInterrupt
            return real(*args, **kwargs)  # type: ignore[operator]

        monkeypatch.setattr(place, target, interrupted)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run_recipe(recipe)
    pipeline.run_recipe(recipe)
    ours, theirs = (read_json(f / "run" / "comparison" / "main.json") for f in (tmp_path, finished))
    assert json.dumps(ours) == json.dumps(theirs)


@pytest.mark.parametrize("stage", ["reference", "learn"])
def test_checkpoints_of_other_settings_are_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Stopped after a checkpoint, then run with another learning rate: as if it had been run with that at once."""
    section = {"reference": "reference", "learn": "weights"}[stage]
    changes = [{f"{section}__checkpoint_steps": 2, f"{section}__learning_rate": rate} for rate in (0.01, 0.02)]
    for folder in (tmp_path / "a", tmp_path / "b"):
        if stage == "learn":
            pipeline.run_recipe(tiny_mixture.recipe(folder), ["reference"])
    read = PlannedSteps.__getitem__
    with monkeypatch.context() as patch:

        def stopped(steps: PlannedSteps, step: int) -> dict:
            if step == 4:
                raise KeyboardInterrupt
            return read(steps, step)

        patch.setattr(PlannedSteps, "__getitem__", stopped)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run_recipe(tiny_mixture.recipe(tmp_path / "a", **changes[0]), [stage])
    assert list((tmp_path / "a" / "run").rglob("checkpoint-4"))
    logs = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        pipeline.run_recipe(tiny_mixture.recipe(folder, **changes[1]), [stage])
        logs.append((folder / "run" / section / "log.jsonl").read_text())
    assert logs[0] == logs[1] and logs[0].count("\n") == 6


@pytest.mark.parametrize("rows", ["held_out", "cross_fit"])
def test_rows_that_the_reference_has_not_seen(tmp_path: Path, rows: str) -> None:
    pipeline.run_recipe(tiny_mixture.recipe(tmp_path, weights__stage1_rows=rows), ["reference", "learn"])
    health = read_json(tmp_path / "run" / "weights" / "health.json")["tasks"]
    assert all(task["unseen_loss"] is not None for task in health.values())
    assert all(task["seen_loss"] is None for task in health.values())
    assert (tmp_path / "run" / "reference-2").exists() == (rows == "cross_fit")


def test_loaded_weights_skip_stages_0_and_1(tmp_path: Path) -> None:
    given = TaskWeights.from_dict({"task0": 0.1, "task1": 0.2, "task2": 0.3, "task3": 0.4})
    given.save(tmp_path / "given.json")
    pipeline.run_recipe(tiny_mixture.recipe(tmp_path, weights__load=str(tmp_path / "given.json")))
    assert not (tmp_path / "run" / "reference").exists()
    record = read_json(tmp_path / "run" / "models" / "main" / "top-50-seed1" / "training.json")
    assert {task for task, rows in record["rows_drawn"].items() if rows} == {"task2", "task3"}


TEMPERED = ["uniform", "proportional^0.5", "reweight^0.5", "top-50^0.5", "bottom-50^2"]


def test_tempered_mixtures_go_through_all_stages_killed_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after a checkpoint of a tempered mixture, then finished: as if it had never been killed."""
    read = PlannedSteps.__getitem__
    recipes = [
        tiny_mixture.recipe(tmp_path / name, finetune__mixtures=TEMPERED, finetune__checkpoint_steps=2)
        for name in ("killed", "whole")
    ]
    pipeline.run_recipe(recipes[0], ["reference", "learn"])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        started: set[int] = set()

        def stopped(steps: PlannedSteps, step: int) -> dict:
            started.add(id(steps))
            if len(started) == 4 and step == 4:  # the fourth training: top-50^0.5
                raise KeyboardInterrupt
            return read(steps, step)

        patch.setattr(PlannedSteps, "__getitem__", stopped)
        pipeline.run_recipe(recipes[0], ["finetune"])
    left = list((recipes[0].folder / "models").rglob("checkpoint-4"))
    assert [path.parent.name for path in left] == ["top-50^0.5-seed1.training"]
    for recipe in recipes:
        pipeline.run_recipe(recipe)
        monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "another cache"))
    runs = [recipe.folder for recipe in recipes]
    comparisons = [read_json(run / "comparison" / "main.json") for run in runs]
    assert comparisons[0] == comparisons[1]
    assert [row["mixture"] for row in comparisons[0]["rows"]][:2] == ["untrained", "bm25"]
    order = ["uniform", "proportional^0.5", "top-50^0.5", "bottom-50^2", "reweight^0.5"]
    assert [row["mixture"] for row in comparisons[0]["rows"]][2:] == order
    learned = TaskWeights.load(runs[0] / "weights" / "weights.json")
    sizes = {f"task{number}": 12 * (number + 1) for number in range(4)}
    for name in TEMPERED:
        folder = runs[0] / "models" / "main" / f"{name}-seed1"
        record, wanted = read_json(folder / "training.json"), learned.transfer(name, sizes).on(sizes)
        assert list(record["weights"].values()) == wanted.tolist()
        assert name in (folder / "README.md").read_text()
        assert name in (runs[0] / "report.html").read_text()
    monkeypatch.setattr(stages, "finetune", lambda *a, **k: pytest.fail("trained again"))
    pipeline.run_recipe(recipes[0])
    compared = compare_places([runs[0] / "evaluation" / "main"], "uniform")
    assert [row["mixture"] for row in compared["rows"]] == [row["mixture"] for row in comparisons[0]["rows"]]


@pytest.mark.parametrize("alpha", ["mean", "ema"])
def test_another_alpha_learns_nothing_again(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alpha: str
) -> None:
    """A change of ``weights.alpha`` takes what stage 1 kept; there and back it is the same to the bit."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "run" / "weights"
    before, steps = (weights / "weights.json").read_bytes(), read_jsonl(weights / "steps.jsonl")
    alphas = np.array([step["alpha"] for step in steps])
    wanted = {"mean": alphas.mean(axis=0), "ema": np.full(4, 0.25)}
    for row in alphas:
        wanted["ema"] = 0.9 * wanted["ema"] + 0.1 * row
    monkeypatch.setattr(stages, "learn_weights", lambda *a, **k: pytest.fail("learned again"))
    changed = tiny_mixture.recipe(tmp_path, weights__alpha=alpha, finetune__mixtures=["uniform", "reweight"])
    pipeline.run_recipe(changed, ["learn", "finetune"])
    used = TaskWeights.load(weights / "weights.json")
    np.testing.assert_allclose(used.values, wanted[alpha], rtol=1e-12)
    assert used.provenance["alpha"] == alpha and used.provenance["steps"] == 6
    record = read_json(tmp_path / "run" / "models" / "main" / "reweight-seed1" / "training.json")
    assert list(record["weights"].values()) == used.values.tolist()
    with pytest.raises(UserError, match=r"reweight-seed1' was made from other inputs (.|\n)*weights.task"):
        pipeline.run_recipe(tiny_mixture.recipe(tmp_path, finetune__mixtures=["uniform", "reweight"]))
    assert TaskWeights.load(weights / "weights.json") == used
    pipeline.run_recipe(tiny_mixture.recipe(tmp_path), ["learn"])
    assert (weights / "weights.json").read_bytes() == before


def test_a_run_without_the_three_alphas_says_what_to_do(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (tmp_path / "run" / "weights" / "alphas.json").unlink()
    with pytest.raises(UserError, match=r"only the last α is known.\nGive the recipe another folder"):
        pipeline.run_recipe(tiny_mixture.recipe(tmp_path, weights__alpha="mean"))


def test_weights_of_other_tasks_are_refused(tmp_path: Path) -> None:
    TaskWeights.from_dict({"task0": 0.5, "nobody": 0.5}).save(tmp_path / "given.json")
    with pytest.raises(UserError, match="nobody"):
        pipeline.run_recipe(tiny_mixture.recipe(tmp_path, weights__load=str(tmp_path / "given.json")))


def test_loaded_weights_that_lack_a_task_are_refused_unless_they_are_a_selection(tmp_path: Path) -> None:
    """Uniform is all tasks, whatever the selection has left out."""
    weights = TaskWeights.from_dict({"task2": 0.4, "task1": 0.6})
    weights.save(tmp_path / "given.json")
    recipe = tiny_mixture.recipe(
        tmp_path, weights__load=str(tmp_path / "given.json"), finetune__mixtures=["uniform", "reweight"]
    )
    with pytest.raises(UserError, match="no weight for task 'task0' and 1 more, only for 'task2', 'task1'"):
        pipeline.run_recipe(recipe)
    weights.top(100).save(tmp_path / "given.json")
    pipeline.run_recipe(recipe, ["learn", "finetune"])
    uniform, reweight = (
        read_json(recipe.folder / "models" / "main" / f"{mixture}-seed1" / "training.json")["rows_drawn"]
        for mixture in ("uniform", "reweight")
    )
    assert all(uniform.values())
    assert reweight == {"task0": 0, "task1": 24, "task2": 24, "task3": 0}


def test_another_licence_stands_in_the_data_card(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    described = tmp_path / "mixture" / "mixture.json"
    described.write_text(described.read_text().replace("CC0-1.0", "MIT", 1))
    pipeline.run_recipe(tiny_mixture.recipe(tmp_path), ["learn"])
    licences = [task["licence"] for task in read_json(tmp_path / "run" / "data.json")["tasks"]]
    assert licences == ["MIT", "CC0-1.0", "CC0-1.0", "CC0-1.0"]


def test_a_small_task_is_capped(tmp_path: Path) -> None:
    recipe = tiny_mixture.recipe(tmp_path, finetune__max_epochs=0.8, finetune__mixtures=["uniform"])
    pipeline.run_recipe(recipe, ["reference", "learn", "finetune"])
    record = read_json(tmp_path / "run" / "models" / "main" / "uniform-seed1" / "training.json")
    assert record["rows_drawn"]["task0"] == 8  # whole batches of 8: one, for 0.8 × 12 rows are 9.6
    assert record["weights"]["task0"] == pytest.approx(12 * 0.8 / 48)


def test_uniform_weights_reweight_no_loss_and_others_do(tmp_path: Path) -> None:
    """Loss reweighting is uniform sampling: with uniform weights, to the bit; with others, by other losses."""
    names = [f"task{number}" for number in range(4)]
    models = {}
    for case, weights in (("even", TaskWeights.uniform(names)), ("odd", TaskWeights(names, [0.1, 0.2, 0.3, 0.4]))):
        weights.save(tmp_path / f"{case}.json")
        recipe = tiny_mixture.recipe(
            tmp_path / case,
            weights__load=str(tmp_path / f"{case}.json"),
            finetune__mixtures=["uniform", "loss-reweight"],
        )
        pipeline.run_recipe(recipe, ["learn", "finetune"])
        trained = [recipe.folder / "models" / "main" / f"{name}-seed1" for name in ("uniform", "loss-reweight")]
        drawn = [read_json(folder / "training.json")["rows_drawn"] for folder in trained]
        assert drawn[0] == drawn[1]
        models[case] = [(folder / "model.safetensors").read_bytes() for folder in trained]
    assert models["even"][0] == models["even"][1] == models["odd"][0] != models["odd"][1]


def test_tasks_of_hard_negatives_only(tmp_path: Path) -> None:
    pipeline.run_recipe(tiny_mixture.recipe(tmp_path, data__hard_negatives_only=["task0"]), ["reference"])
    first = read_jsonl(tmp_path / "run" / "reference" / "log.jsonl")
    pipeline.run_recipe(tiny_mixture.recipe(tmp_path), ["reference"], force=True)
    assert first != read_jsonl(tmp_path / "run" / "reference" / "log.jsonl")
    recipe = tiny_mixture.recipe(tmp_path, data__hard_negatives_only=["task0"], data__tasks=["task1", "task2"])
    with pytest.raises(UserError, match="hard_negatives_only: no task 'task0'"):
        pipeline.run_recipe(recipe, ["reference"], force=True)
