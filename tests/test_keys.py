"""Evaluated and reported is what the recipe says: every stage checks the keys of what it reads, before any work."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import again
import tiny
from tdro import cli
from tdro.files import read_json, write_jsonl
from tdro.run import base_models, compare_models, stages, training_data
from tdro.weights import TaskWeights


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of sources some of whose rows need negatives; ``other`` is another base."""
    folder = tmp_path_factory.mktemp("finished")
    again.write_data(folder, "some")
    again.recipe(folder, "sources", "bm25", prompts=True)
    tiny.static_model(dimension=8, seed=3).save(str(folder / "other"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDRO_CACHE", str(folder / "cache"))
        assert cli.main(["run", str(folder / "r.yaml")]) == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that may be spoilt, without its training data's files being others."""
    monkeypatch.setenv("TDRO_CACHE", str(finished / "cache"))
    shutil.copytree(finished, tmp_path / "a", ignore=shutil.ignore_patterns("cache"))
    changed(tmp_path / "a")
    return tmp_path / "a"


def changed(folder: Path, **changes: Any) -> str:
    return str(again.recipe(folder, "sources", "bm25", **({"prompts": True} | changes)))


OTHER = {"kind": "encoder", "source": "other"}
CHANGES = [  # of the recipe; the stage and the key that are named, and the command that mends it
    ({"finetune__base": OTHER}, "'models/main/uniform-seed1'", "base: ", "finetune"),
    ({"finetune__steps": 4}, "'models/main/uniform-seed1'", "settings.steps: 3 → 4", "finetune"),
    ({"finetune__negatives": 2}, "'models/main/uniform-seed1'", "settings.negatives: 1 → 2", "finetune"),
    ({"base": OTHER}, "'reference'", "base: ", "reference"),
    ({"weights__eta_times_steps": 5.0}, "'weights'", "settings.eta_times_steps: 20.0 → 5.0", "learn"),
    ({"reference__learning_rate": 0.02}, "'reference'", "settings.learning_rate: 0.01 → 0.02", "reference"),
    ({"prompts": False}, "'reference'", "data.prompts: True → False", "reference"),
    ({"data__query_tokens": 11}, "'reference'", "data.query_tokens: 12 → 11", "reference"),
    ({"data__tasks": ["task0"]}, "'reference'", "mixture: ", "reference"),
    ({"data__hard_negatives_only": ["task0"]}, "'reference'", "hard_negatives_only: ", "reference"),
    ({"negatives__per_row": 3}, "'reference'", "negatives.per_row: 2 → 3", "reference"),
    ({"seed": 14}, "'reference'", "seed: 13 → 14", "reference"),
]


@pytest.mark.parametrize(("changes", "stage", "key", "command"), CHANGES, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("called", ["evaluate", "report"])
def test_models_of_other_inputs_are_neither_evaluated_nor_reported(
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    stage: str,
    key: str,
    command: str,
    called: str,
) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(finished / "cache"))
    changes = {
        name: value if value is not OTHER else {**OTHER, "source": str(finished / "other")}
        for name, value in changes.items()
    }
    before = again.state(finished / "run")
    for force in ([], ["--force"]):  # which is no leave to mix
        assert cli.main([called, changed(finished, **changes), *force]) == 2
        said = capsys.readouterr().err
        assert key in said and "made from other inputs than the recipe's" in said and said.count("\n") == 2
        assert stage in said and f"`tdro {command} RECIPE --force`" in said
    assert again.state(finished / "run") == before


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluate__bm25": False},
        {"evaluate__permutations": 30},
        {"finetune__untrained": False},
        {"finetune__mixtures": ["uniform"]},
    ],
    ids=str,
)
def test_a_comparison_of_other_inputs_is_not_reported(
    run: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    recipe = changed(run, **changes)
    assert cli.main(["report", recipe]) == 2
    said = capsys.readouterr().err
    assert "'evaluation/main' was made from other inputs" in said and "Run `tdro evaluate RECIPE` to" in said
    for command in ("evaluate", "report"):
        assert cli.main([command, recipe]) == 0


def test_a_test_set_whose_texts_have_changed_is_evaluated_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, queries = str(run / "r.yaml"), run / "tests" / "task0" / "queries.jsonl"
    assert cli.main(["report", recipe]) == 0
    queries.write_text(queries.read_text().replace('"text": "w', '"text": "w7 w'))
    assert cli.main(["report", recipe]) == 2
    assert "'evaluation/main' was made from other inputs than the recipe's (tests.task0" in capsys.readouterr().err
    for command in ("evaluate", "report"):
        assert cli.main([command, recipe]) == 0


def test_a_training_by_weights_of_other_inputs_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = changed(run, weights__eta_times_steps=5.0)
    for force in ([], ["--force"]):
        assert cli.main(["finetune", recipe, *force]) == 2
        assert "'weights' was made from other inputs" in capsys.readouterr().err
    assert cli.main(["learn", recipe, "--force"]) == 0
    assert cli.main(["evaluate", recipe]) in (0, 2)  # whether the models' shares have changed
    assert cli.main(["finetune", recipe, "--force"]) == 0
    assert cli.main(["evaluate", recipe]) == 0


def test_what_has_changed_since_is_seen_by_the_comparison(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The models are made anew, and not evaluated yet: their results are the old ones'."""
    recipe = changed(run, finetune__steps=4)
    assert cli.main(["compare", str(run / "run")]) == 0
    assert cli.main(["finetune", recipe, "--force"]) == 0
    for place in (run / "run", run / "run/evaluation/main", run / "run/evaluation/main/uniform-seed1"):
        assert cli.main(["compare", str(place)]) == 2
        assert "results of an older model; run `tdro evaluate RECIPE`" in capsys.readouterr().err
    assert cli.main(["report", recipe]) == 2
    assert "'evaluation/main' was made from other inputs" in capsys.readouterr().err
    for command in ("evaluate", "report"):
        assert cli.main([command, recipe]) == 0
    assert cli.main(["compare", str(run / "run")]) == 0


def test_a_comparison_has_the_models_of_the_recipe_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = changed(run, finetune__mixtures=["uniform"], evaluate__bm25=False)
    assert cli.main(["evaluate", recipe]) == 0
    capsys.readouterr()
    assert cli.main(["compare", str(run / "run")]) == 0
    assert "uniform" in (said := capsys.readouterr().out) and "top-50" not in said


def test_training_data_that_are_gone_keep_no_model_from_being_evaluated(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(run / "r.yaml")
    assert cli.main(["reference", recipe]) == 0  # the copy's paths are noted
    monkeypatch.setenv("TDRO_CACHE", str(run / "cache"))  # nothing is built there
    shutil.rmtree(run / "train")
    shutil.rmtree(run / "run" / "negatives")
    shutil.rmtree(run / "run" / "evaluation")
    leaks = (run / "run" / "leaks.json").read_bytes()
    monkeypatch.setattr(training_data, "mine_mixture", lambda *_, **__: pytest.fail("mined"))
    assert cli.main(["evaluate", recipe]) == 0
    said = capsys.readouterr().out
    assert "leaks of test queries were not looked for: " in said and "task0.jsonl: no such file" in said
    assert "top-50" in said and (run / "run" / "leaks.json").read_bytes() == leaks
    assert cli.main(["report", recipe]) == 0
    for command in ("run", "reference", "learn", "finetune"):
        assert cli.main([command, recipe]) == 2
        assert "no such file or folder" in capsys.readouterr().err
    assert cli.main(["evaluate", changed(run, finetune__steps=4)]) == 2
    assert "settings.steps: 3 → 4" in capsys.readouterr().err
    assert cli.main(["evaluate", changed(run, data__tasks=["task0"])]) == 2  # other data than what was noted
    assert "no such file" in capsys.readouterr().err


def test_a_mixtures_training_files_may_be_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    again.write_data(tmp_path, "enough")
    recipe = str(again.recipe(tmp_path, "mixture", "bm25", prompts=False))
    assert cli.main(["run", recipe]) == 0
    shutil.rmtree(tmp_path / "train")
    assert cli.main(["evaluate", recipe]) == 0
    assert "leaks of test queries were not looked for" in capsys.readouterr().out


def test_training_data_that_have_changed_are_noticed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tiny.task("task0", rows=9, negatives=3).rows
    write_jsonl(run / "train" / "task0.jsonl", rows)
    for command in ("evaluate", "report", "run", "finetune", "learn", "reference"):
        assert cli.main([command, str(run / "r.yaml")]) == 2, command
        assert "mixture: " in capsys.readouterr().err


@pytest.mark.parametrize("command", ["learn", "finetune", "evaluate", "report"])
def test_what_is_missing_shows_before_any_work(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    again.write_data(tmp_path, "none")
    recipe = str(again.recipe(tmp_path, "sources", "bm25", prompts=False))
    for module, name in (
        (training_data, "source_mixture"),
        (base_models, "build_base"),
        (training_data, "mine_mixture"),
    ):
        monkeypatch.setattr(module, name, lambda *_, name=name, **__: pytest.fail(name))
    assert cli.main([command, recipe]) == 2
    needs = {"learn": "reference", "finetune": "learn", "evaluate": "finetune", "report": "run"}[command]
    assert f"`tdro {needs} RECIPE`" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_stage_2_lacks_shows_before_stage_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A base that is no model, a cap that leaves too few rows, a task of one passage, weights of other tasks."""
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    again.write_data(tmp_path, "none")
    for name in ("finetune", "learn_weights"):
        monkeypatch.setattr(stages, name, lambda *_, **__: pytest.fail("trained"))
    monkeypatch.setattr(training_data, "mine_mixture", lambda *_, **__: pytest.fail("mined"))
    (tmp_path / "empty").mkdir()
    TaskWeights.from_dict({"task0": 0.5, "nobody": 0.5}).save(tmp_path / "weights.json")
    for changes, message in (
        ({"finetune__base": {"kind": "encoder", "source": str(tmp_path / "empty")}}, "empty"),
        ({"finetune__max_epochs": 0.01}, "cap: 0.01 epochs"),
        ({"weights__load": str(tmp_path / "weights.json")}, "nobody"),
    ):
        assert cli.main(["run", str(again.recipe(tmp_path, "sources", "bm25", False, **changes))]) == 2
        assert message in capsys.readouterr().err
    rows = [{"id": str(n), "query": f"w{n}", "positives": ["the same"], "negatives": []} for n in range(4)]
    write_jsonl(tmp_path / "train" / "task1.jsonl", rows)
    assert cli.main(["run", str(again.recipe(tmp_path, "sources", "bm25", False))]) == 2
    assert "task 'task1' has 1 distinct passage(s): too few to mine" in capsys.readouterr().err


def test_cards_and_report_state_the_base_that_the_models_were_made_from(run: Path) -> None:
    """A second group of another base; then it leaves the recipe, whose own base is not what it was made from."""
    groups = yaml.safe_load((run / "r.yaml").read_text())["finetune"]
    second = {
        **groups[0],
        "name": "second",
        "base": {"kind": "encoder", "source": str(run / "other")},
        "mixtures": ["uniform"],
    }
    assert cli.main(["run", changed(run, finetune=[*groups, second])]) == 0
    card = (run / "run/models/second/uniform-seed1/README.md").read_text()
    assert "other, its own pooling" in card and ">other<" in (run / "run/report.html").read_text()
    recipe = changed(run)
    for command in ("evaluate", "report"):
        assert cli.main([command, recipe]) == 0
    assert ">other<" not in (run / "run/report.html").read_text()  # of the recipe, that group is none
    compare_models.write_card(run / "run", "main", "uniform-seed1")
    settings = read_json(run / "run/models/second/uniform-seed1/training.json")["settings"]["base"]
    assert settings["source"] == str(run / "other")


def test_a_base_that_was_trained_anew_in_its_folder_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And so is another project's of the same relative path, in the same cache."""
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    found = []
    for project, seed in (("one", 1), ("two", 2)):
        folder = tmp_path / project
        again.write_data(folder, "enough")
        tiny.static_model(dimension=8, seed=seed).save(str(folder / "base"))
        recipe = again.recipe(folder, "sources", "bm25", False, base={"kind": "encoder", "source": "base"})
        monkeypatch.chdir(folder)
        assert cli.main(["reference", str(recipe)]) == 0
        found.append(read_json(folder / "run" / "run.json")["stages"][0]["inputs"]["base"])
    assert found[0] != found[1]
    tiny.static_model(dimension=8, seed=1).save(str(folder / "base"))
    assert cli.main(["reference", str(recipe)]) == 2
    assert f"base: {found[1]} → {found[0]}" in capsys.readouterr().err
