"""Evaluation while a model trains: the curve, the best step kept, early stopping, and all of it after a kill."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers.base.evaluation import BaseEvaluator

import tiny
import tiny_mixture
from fake_run_folder import fake_run
from launch import in_ranks
from tdro.data.task import Task, TestSet
from tdro.errors import UserError
from tdro.evaluation.scoring.development import DevelopmentSets
from tdro.evaluation.scoring.evaluate import evaluate_all
from tdro.files import read_json, read_jsonl
from tdro.machine import Machine
from tdro.models.base_tokens import base_tokens
from tdro.models.load import load_model
from tdro.models.saving import Saving
from tdro.planning.flops import UTILISATION
from tdro.planning.page import page
from tdro.planning.plan import make_plan
from tdro.planning.plan_numbers import plan_numbers
from tdro.recipe.finetune_section import Finetune
from tdro.report.development_section import development_view
from tdro.report.report_page import write_report
from tdro.report.run_contents import read_run_folder
from tdro.run import pipeline, stages
from tdro.run.development import check_apart, refuse_shards
from tdro.run.training_data import development_on_disk, mixture_on_disk
from tdro.study.settings import make_setup
from tdro.training import finetune as finetune_module
from tdro.training.ahead import AheadOfTraining
from tdro.training.checkpoints import checkpoints
from tdro.training.finetune import FinetuneJob, finetune

TASKS = [tiny.task("a"), tiny.task("b")]
RISES_THEN_FALLS = [0.1, 0.3, 0.3, 0.2, 0.5, 0.1]


class Scripted(BaseEvaluator):
    """Gives the scores of a list, by the step, and remembers the model's weights at each."""

    def __init__(self, scores, every=2):
        super().__init__()
        self.scores, self.every, self.seen = scores, every, {}

    def __call__(self, model, output_path=None, epoch=-1, steps=-1):
        self.seen[steps] = {name: value.clone() for name, value in model.state_dict().items()}
        score = self.scores[-(-steps // self.every) - 1]
        return {"x_ndcg@10": score + 0.1, "y_ndcg@10": score - 0.1, "ndcg@10": score}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A static model and an encoder with dropout, on disk, with the tokens of the tasks."""
    folder = tmp_path_factory.mktemp("bases")
    tiny.static_model().save_pretrained(str(folder / "static"), create_model_card=False)
    tiny.encoder(folder / "e", dropout=0.1).save_pretrained(str(folder / "dropout"), create_model_card=False)
    return folder


def train(base: Path, folder: Path, evaluator=None, saving=Saving(), machine=Machine(), **settings):  # noqa: B008
    """Twelve steps, evaluated every second one; returns ``training.json``."""
    settings = {"evaluate_every": 2 if evaluator else 0, "steps": 12, "batch": 4, "temperature": 0.05} | settings
    group = Finetune(name="g", mixtures=("uniform",), learning_rate=5e-3, **settings)
    job = FinetuneJob("test", "uniform", np.full(2, 0.5), group, 1)
    data = tiny.tokenized(load_model(base, device="cpu"), TASKS)
    finetune(lambda: load_model(base, device="cpu"), data, job, folder / "model", machine, saving, evaluator)
    return read_json(folder / "model" / "training.json")


def weights(folder):
    return load_model(folder / "model", device="cpu").state_dict()


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


# ---- the best step


def test_the_model_is_kept_as_it_was_at_its_best_step(bases, tmp_path, capsys):
    evaluator = Scripted([0.1, 0.3, 0.3, 0.2, 0.1, 0.1])
    record = train(bases / "static", tmp_path, evaluator)
    assert "test: kept as it was after step 4 of 12, with ndcg@10 30.0 on the dev" in "".join(capsys.readouterr())
    found = record["development"]
    assert [(each["step"], each["score"]) for each in found["curve"]] == [
        (2, 0.1), (4, 0.3), (6, 0.3), (8, 0.2), (10, 0.1), (12, 0.1),
    ]  # fmt: skip
    assert found["curve"][1]["sets"] == {"x": pytest.approx(0.4), "y": pytest.approx(0.2)}
    assert (found["best_step"], found["last_step"]) == (4, 12)  # the first of equal ones
    assert same(weights(tmp_path), evaluator.seen[4]) and not same(weights(tmp_path), evaluator.seen[12])
    assert sum(record["rows_drawn"].values()) == 4 * 4  # of the model that is kept
    assert sum(record["epochs"].values()) == pytest.approx(4 * 4 / 20)


def test_adapters_are_kept_as_they_were_at_the_best_step(tmp_path):
    tiny.decoder(tmp_path / "d").save_pretrained(str(tmp_path / "decoder"), create_model_card=False)
    lora = type("Lora", (), {"r": 4, "alpha": 8.0, "dropout": 0.1})
    job = FinetuneJob("test", "uniform", np.full(2, 0.5), _group(), 1)
    evaluator = Scripted([0.1, 0.3, 0.2])

    def load():
        return load_model(tmp_path / "decoder", device="cpu", lora=lora)

    finetune(load, tiny.tokenized(load(), TASKS), job, tmp_path / "model", Machine(), evaluator=evaluator)
    saved = load_model(tmp_path / "model", device="cpu").state_dict()
    adapters = {name for name in saved if "lora" in name}
    assert adapters and all(torch.equal(saved[name], evaluator.seen[4][name]) for name in adapters)


def _group():
    return Finetune(name="g", mixtures=("uniform",), steps=6, batch=4, evaluate_every=2, learning_rate=5e-3)


def test_the_last_step_is_evaluated_too(bases, tmp_path):
    evaluator = Scripted([0.1, 0.2, 0.3], every=5)
    found = train(bases / "static", tmp_path, evaluator, evaluate_every=5)["development"]
    assert [each["step"] for each in found["curve"]] == [5, 10, 12] and found["best_step"] == 12
    assert same(weights(tmp_path), evaluator.seen[12])


def test_a_training_whose_score_rises_no_more_ends(bases, tmp_path):
    evaluator = Scripted(RISES_THEN_FALLS)
    record = train(bases / "static", tmp_path, evaluator, patience=2)
    assert (record["development"]["best_step"], record["development"]["last_step"]) == (4, 8)
    assert same(weights(tmp_path), evaluator.seen[4])
    record = train(bases / "static", tmp_path / "patient", Scripted(RISES_THEN_FALLS), patience=3)
    assert (record["development"]["best_step"], record["development"]["last_step"]) == (10, 12)


def test_evaluations_change_nothing_in_the_training(bases, tmp_path):
    """With dropout, which draws random numbers."""
    train(bases / "dropout", tmp_path / "without")
    train(bases / "dropout", tmp_path / "with", Scripted([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    assert same(weights(tmp_path / "with"), weights(tmp_path / "without"))
    assert read_jsonl(tmp_path / "with/model/log.jsonl") == read_jsonl(tmp_path / "without/model/log.jsonl")
    assert "development" not in read_json(tmp_path / "without/model/training.json")


# ---- after a kill


class Killed(BaseException):
    pass


KILLS = {
    "before an evaluation": (5, 0),
    "after one": (6, 3),
    "long after the best": (9, 0),
    "at the last step": (11, 3),
}


@pytest.fixture(scope="module")
def whole(bases, tmp_path_factory):
    """Uninterrupted trainings of an encoder with dropout, by whether they end early."""
    found = {}
    for patience in (None, 2):
        folder = tmp_path_factory.mktemp("whole")
        train(bases / "dropout", folder, Scripted(RISES_THEN_FALLS), patience=patience)
        found[patience] = ended(folder)
    return found


def ended(folder):
    """What must be the same: the model's bytes, its log and its record with the curve."""
    record = read_json(folder / "model" / "training.json") | {"seconds": 0}
    files = {"log.jsonl", "model.safetensors"}
    digests = {name: hashlib.sha256((folder / "model" / name).read_bytes()).hexdigest() for name in files}
    return json.dumps([record, digests], sort_keys=True)


@pytest.mark.parametrize(("step", "every"), KILLS.values(), ids=KILLS)
def test_a_killed_training_ends_with_the_same_model_and_curve(step, every, bases, whole, tmp_path, monkeypatch):
    ask = AheadOfTraining.__getitem__

    def killed(self, wanted):
        if wanted == step:
            raise Killed
        return ask(self, wanted)

    with monkeypatch.context() as patch:
        patch.setattr(AheadOfTraining, "__getitem__", killed)
        with pytest.raises(Killed):
            train(bases / "dropout", tmp_path, Scripted(RISES_THEN_FALLS), checkpoint_steps=every)
    evaluator = Scripted(RISES_THEN_FALLS)
    train(bases / "dropout", tmp_path, evaluator, checkpoint_steps=every)
    assert min(evaluator.seen) > 2  # it did go on
    expected = json.loads(whole[None])
    expected[0]["settings"]["checkpoint_steps"] = every
    assert json.loads(ended(tmp_path)) == expected


@pytest.mark.parametrize("when", ["stopping", "writing"])
def test_a_training_that_was_killed_as_it_ended_early_ends_there_again(when, bases, whole, tmp_path, monkeypatch):
    """Also where a checkpoint of the last step is due."""
    evaluator = Scripted(RISES_THEN_FALLS)
    with monkeypatch.context() as patch:
        if when == "writing":
            patch.setattr(finetune_module, "_write", lambda *_: (_ for _ in ()).throw(Killed))
        else:
            patch.setattr(finetune_module.PlannedTrainer, "load_best", lambda self: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            train(bases / "dropout", tmp_path, evaluator, patience=2, checkpoint_steps=4)
    assert [path.name for path in checkpoints(tmp_path / "model.training")] == ["checkpoint-2", "checkpoint-4"]
    train(bases / "dropout", tmp_path, again := Scripted(RISES_THEN_FALLS), patience=2, checkpoint_steps=4)
    assert sorted(again.seen) == [6, 8]
    expected = json.loads(whole[2])
    expected[0]["settings"]["checkpoint_steps"] = 4
    assert json.loads(ended(tmp_path)) == expected


def test_the_best_checkpoint_stays_and_no_training_goes_on_without_it(bases, tmp_path, caplog):
    """Steps 2, 4 and so on have checkpoints; the best is the first."""
    scores = [0.9, 0.1, 0.1, 0.1, 0.1, 0.1]
    whole_run = train(bases / "static", tmp_path / "whole", Scripted(scores), checkpoint_steps=2)
    train(bases / "static", tmp_path / "cut", Scripted(scores), checkpoint_steps=2)
    folder = tmp_path / "cut" / "model.training"
    assert [path.name for path in checkpoints(folder)] == ["checkpoint-2", "checkpoint-10", "checkpoint-12"]
    (folder / "checkpoint-2" / "model.safetensors").unlink()
    (folder.with_name("model") / "model.safetensors").unlink()
    evaluator = Scripted(scores)
    record = train(bases / "static", tmp_path / "cut", evaluator, checkpoint_steps=2)
    assert sorted(evaluator.seen) == [2, 4, 6, 8, 10, 12]
    assert f"checkpoint-12 is not used, for {folder / 'checkpoint-2'} is damaged: model.safe" in caplog.text
    assert record | {"seconds": 0} == whole_run | {"seconds": 0}
    assert same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


# ---- the scores of development sets


@pytest.mark.parametrize("prompts", [{}, {"query": "w1 w2 ", "faq": "w3 "}], ids=["plain", "prompts"])
@pytest.mark.parametrize("base", ["static", "dropout"])
def test_the_scores_are_those_of_the_saved_model(base, prompts, bases, tmp_path):
    """So with its prompts and its similarity, not with those of the base."""
    folders = {name: tiny_mixture.write_beir(tmp_path / name, tiny.task(name, seed=1)) for name in ("faq", "b")}
    sets = [TestSet(name, str(folder)) for name, folder in folders.items()]
    evaluator = DevelopmentSets(sets, tmp_path / "scratch", Machine(), tokens_folder=tmp_path / "tokens")
    found = train(bases / base, tmp_path, evaluator, Saving(prompts=prompts))["development"]
    results = evaluate_all(tmp_path / "model", sets, tmp_path / "results", model_name="m", bf16=False, device="cpu")
    best = next(each for each in found["curve"] if each["step"] == found["best_step"])
    assert best["sets"] == {result["test"]: result["mean"]["ndcg@10"] for result in results}
    assert best["score"] == sum(best["sets"].values()) / 2 == max(each["score"] for each in found["curve"])
    assert not list((tmp_path / "scratch").iterdir())


def test_two_ranks_keep_the_same_step(bases, tmp_path):
    """The first rank alone scores the model; both stop where it says."""
    folder = tiny_mixture.write_beir(tmp_path / "faq", tiny.task("faq", seed=1))

    def work(machine):
        sets = DevelopmentSets([TestSet("faq", str(folder))], tmp_path / "scratch", machine)
        train(bases / "dropout", tmp_path, sets, machine=machine, patience=1)

    in_ranks(2, work, tmp_path / "output")
    found = read_json(tmp_path / "model" / "training.json")["development"]
    (result,) = evaluate_all(
        *(tmp_path / "model", [TestSet("faq", str(folder))], tmp_path / "results"),
        model_name="m",
        bf16=False,
        device="cpu",
    )
    assert max(each["score"] for each in found["curve"]) == pytest.approx(result["mean"]["ndcg@10"], abs=1e-12)
    assert found["last_step"] in (found["best_step"], found["best_step"] + 2)


def test_a_development_set_is_not_warned_of_at_every_evaluation(bases, tmp_path, caplog):
    words = " ".join(["w1"] * 200)
    task = tiny.task("long", rows=6)
    long = task.rows.map(lambda row: {"positives": [f"{row['positives'][0]} {words}"]})
    folder = tiny_mixture.write_beir(tmp_path / "long", Task("long", long))
    evaluator = DevelopmentSets([TestSet("long", str(folder))], tmp_path / "scratch", Machine())
    model = load_model(bases / "dropout", device="cpu")
    evaluator(model)
    said = len(caplog.records)
    evaluator(model)
    assert said and len(caplog.records) == said


# ---- in a recipe


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path_factory.mktemp("cache")))


def recipe(folder, /, **changes):
    """Two development sets; a group that is evaluated every second of six steps."""
    tasks = {name: tiny.task(name, seed=5) for name in ("task0", "z")}
    sets = {name: str(tiny_mixture.write_beir(folder / "dev" / name, task)) for name, task in tasks.items()}
    given = {"data__development_sets": sets, "finetune__evaluate_every": 2}
    return tiny_mixture.recipe(folder, **(given | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDRO_CACHE", str(folder / "cache"))
        pipeline.run_recipe(recipe(folder))
    return folder


def test_the_plan_counts_what_is_scored_while_a_model_trains(tmp_path):
    made = recipe(tmp_path, finetune__evaluate_every=4)  # after steps 4 and 6
    plan = make_plan(made, mixture_on_disk(made), ranks=2, development=development_on_disk(made))
    reference, *_, uniform, by_weights = plan.estimates
    assert (reference.evaluated, reference.scored) == (0, 0)
    texts = [
        row[side] for name in ("task0", "z") for row in tiny.task(name, seed=5).rows for side in ("query", "positives")
    ]
    texts = [text if isinstance(text, str) else text[0] for text in texts]
    assert uniform.evaluated == by_weights.evaluated == 2 * len(texts)
    assert uniform.scored == pytest.approx(2 * base_tokens(made.base).count(texts).sum())
    lines = [line.split() for line in page(plan, tflops=1).splitlines() if "2 evaluations" in line]
    assert [line[2:4] for line in lines] == [["1", f"{2 * len(texts):,}"]] * 2
    an_hour = replace(uniform, scoring=3600e12 * UTILISATION)  # a static model has no FLOPs of its own
    numbers = plan_numbers(replace(plan, estimates=[an_hour]), tflops=1)
    assert numbers["trainings"][0]["scoring_hours"] == pytest.approx(1)  # one of the two ranks scores alone
    assert "takes 1.00 hours" in page(replace(plan, estimates=[an_hour]), tflops=1)


def test_a_run_evaluates_its_fine_tunings_alone(finished):
    run = finished / "run"
    for model in ("uniform-seed1", "top-50-seed1"):
        found = read_json(run / "models" / "main" / model / "training.json")["development"]
        assert [each["step"] for each in found["curve"]] == [2, 4, 6]
        assert all(set(each["sets"]) == {"task0", "z"} for each in found["curve"])
        card = (run / "models" / "main" / model / "README.md").read_text()
        assert f"kept as it was at step {found['best_step']}, its best on development sets." in card
    assert "development" not in read_json(run / "reference" / "training.json")
    assert not list(run.rglob("*.training")) and not list(run.rglob("checkpoint-*"))
    inputs = {stage["name"]: stage["inputs"] for stage in read_json(run / "run.json")["stages"]}
    assert inputs["models/main/uniform-seed1"]["development"]["every"] == 2
    assert "development_sets" not in inputs["reference"]["data"] and "development" not in inputs["weights"]


def test_a_finished_run_is_not_made_again_and_other_sets_are_noticed(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("TDRO_CACHE", str(finished / "cache"))
    monkeypatch.setattr(stages, "finetune", lambda *a, **k: pytest.fail("trained again"))
    pipeline.run_recipe(recipe(finished))
    for changes, key in (
        ({"finetune__evaluate_every": 3}, "development.every: 2 → 3"),
        ({"finetune__patience": 1}, "development.patience: None → 1"),
        ({"finetune__evaluate_every": 0, "data__development_sets": None}, "development: "),
    ):
        with pytest.raises(UserError, match=key):
            pipeline.run_recipe(recipe(finished, **changes), ["finetune"])


def test_recipes_without_evaluations_have_the_inputs_that_they_had(tmp_path):
    """Runs from before there were such keys are not made again."""
    pipeline.run_recipe(tiny_mixture.recipe(tmp_path), ["reference"])
    (stage,) = read_json(tmp_path / "run" / "run.json")["stages"]
    keys = stage["inputs"].keys() | stage["inputs"]["settings"].keys()
    assert not {"evaluate_every", "patience", "development"} & keys
    assert set(stage["inputs"]["data"]) == {"query_tokens", "passage_tokens", "prompts"}


def test_a_development_set_takes_the_instruction_of_its_task(tmp_path):
    from tdro.run.training_data import RunData

    made = recipe(tmp_path, data__prompts=True)
    content = read_json(tmp_path / "mixture" / "mixture.json")
    content["tasks"][0] |= {"instruction": "Find the answer", "symmetric": True}
    (tmp_path / "mixture" / "mixture.json").write_text(json.dumps(content))
    folder = made.data.development_sets["task0"].folder
    sets = {"a": {"folder": folder, "task": "task0"}, "b": folder, "c": {"folder": folder, "instruction": "Look"}}

    def development(**changes):
        changed = recipe(tmp_path, **({"data__development_sets": sets, "data__prompts": True} | changes))
        return [(test.prompt, test.passage_prompt) for test in RunData(changed, tmp_path, Machine()).development]

    own = "Instruct: Find the answer\nQuery: "
    assert development() == [(own, own), ("", ""), ("Instruct: Look\nQuery: ", "")]
    assert development(data__prompts=False) == [("", "")] * 3
    with pytest.raises(UserError, match=r"data.development_sets.a.task: no task 'nobody'; there are task0, task1"):
        development(data__development_sets={"a": {"folder": folder, "task": "nobody"}})


def test_queries_of_a_test_set_are_refused_before_any_work(tmp_path, monkeypatch):
    """Of the same words, in whatever writing."""
    plain, task = recipe(tmp_path), tiny.task("task0", seed=5)
    known = read_jsonl(tmp_path / "mixture/tests/unseen/queries.jsonl")[3]["text"]
    queries = [f"  {known.upper()}?", *task.rows["query"][1:]]
    rows = task.rows.remove_columns("query").add_column("query", queries)
    sets = {"copied": str(tiny_mixture.write_beir(tmp_path / "copied", Task("copied", rows)))}
    monkeypatch.setattr(stages, "finetune", lambda *a, **k: pytest.fail("trained"))
    message = r"data.development_sets.copied: 1 of its 20 queries are in the test set 'unseen' too, as '  W"
    with pytest.raises(UserError, match=message):
        pipeline.run_recipe(recipe(tmp_path, data__development_sets=sets))
    apart = [TestSet(name, each.folder) for name, each in plain.data.development_sets.items()]
    check_apart(apart, [TestSet("unseen", str(tmp_path / "mixture/tests/unseen"))])
    check_apart([TestSet("copied", sets["copied"])], [])


def test_a_new_test_set_with_development_queries_is_not_evaluated(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("TDRO_CACHE", str(finished / "cache"))
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    made = recipe(tmp_path)
    shutil.copytree(tmp_path / "dev" / "z", tmp_path / "mixture" / "tests" / "unseen", dirs_exist_ok=True)
    with pytest.raises(UserError, match=r"data.development_sets.z: 20 of its 20 queries are in the test set 'unseen'"):
        pipeline.run_recipe(made, ["evaluate"])


def test_what_cannot_be_is_refused_by_its_key(tmp_path):
    for changes, key, message in (
        ({"data__development_sets": None}, "finetune.0.evaluate_every", "there is nothing to evaluate on"),
        ({"finetune__evaluate_every": 0}, "data.development_sets", "no fine-tuning is evaluated on them"),
        ({"finetune__evaluate_every": 6}, "finetune.0.evaluate_every", "fewer than the 6 steps"),
        ({"finetune__evaluate_every": 0, "finetune__patience": 2}, "finetune.0.patience", "set evaluate_every"),
        ({"finetune__uniform_longer": [2.0]}, "finetune.0.evaluate_every", "uniform_longer"),
        ({"data__development_sets": {"x": str(tmp_path / "none")}}, "data.development_sets.x", "no such folder"),
    ):
        with pytest.raises(ValueError, match=message) as found:
            recipe(tmp_path, **changes)
        error = found.value.errors()[0]
        place = (*error["loc"], *(error["ctx"].get("key") or ()))
        assert ".".join(map(str, place)).startswith(key), (key, place)


def test_studies_keep_the_last_step(tmp_path):
    """Also of a group whose neighbour alone is evaluated, and with fewer steps than there are between evaluations."""
    one = recipe(tmp_path).finetune[0].model_dump(mode="json")
    made = recipe(tmp_path, finetune=[one, {**one, "name": "other", "evaluate_every": 0}])
    for group in (0, 1):
        setup = make_setup(made, {"finetune.steps": 2}, group)
        assert setup.training.finetune[0].evaluate_every == 0 and setup.training.data.development_sets is None
    with pytest.raises(UserError, match=r"finetune.evaluate_every: is no key of a study; a study keeps the last step"):
        make_setup(made, {"finetune.evaluate_every": 1})


def test_models_in_shards_are_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("WORLD_SIZE", "2")
    refuse_shards([Finetune(name="g")])
    with pytest.raises(UserError, match=r"finetune.evaluate_every: a model in shards \(FSDP\)"):
        refuse_shards([_group()])


# ---- in the report


def scored(folder, models, sets=("dev", "other")):
    """Give models of a made-up run a curve: step to mean score, for each; the sets are 5 points apart."""
    for name, scores in models.items():
        path = folder / "models" / name / "training.json"
        curve = [
            {"step": step, "score": score, "sets": {each: score - 0.05 * at for at, each in enumerate(sets)}}
            for step, score in scores.items()
        ]
        best = max(scores, key=scores.get)
        about = {"best_step": best, "last_step": max(scores), "curve": curve}
        path.write_text(json.dumps(read_json(path) | {"development": about}))


def test_the_report_has_the_curve_of_each_set(tmp_path):
    folder = fake_run(tmp_path, seeds=(1, 2))
    group = next((folder / "models").glob("*/uniform-seed2")).parent.name
    first = {10: 0.31, 20: 0.35, 30: 0.33}
    scored(folder, {f"{group}/uniform-seed1": first, f"{group}/uniform-seed2": {10: 0.3, 20: 0.29}})
    (view,) = development_view(read_run_folder(folder))
    assert [chart["title"] for chart in view["charts"]] == ["mean of the sets", "dev", "other"]
    assert view["rows"] == [{"mixture": "uniform", "seeds": [1, 2], "best_step": [20, 10], "last_step": [30, 20]}]
    assert "32.0</tspan>" in view["charts"][0]["wide"]  # the mean of both seeds at step 20, which both have reached
    assert "27.0</tspan>" in view["charts"][2]["wide"]
    page = write_report(folder).read_text()
    assert 'href="#development"' in page and "Each model is kept as it was at its best step" in page
    assert "Each line is the mean over its seeds" in page and "20, 10" in page


def test_one_set_has_one_curve_and_what_is_no_number_is_left_out(tmp_path):
    folder = fake_run(tmp_path, seeds=(1,))
    group = next((folder / "models").iterdir()).name
    scored(folder, {f"{group}/uniform-seed1": {10: 0.3, 20: 0.4}, f"{group}/top-70-seed1": {10: 0.2}}, ["<dev>"])
    path = folder / "models" / group / "uniform-seed1" / "training.json"
    content = read_json(path)
    content["development"]["curve"] += [{"step": None, "score": "x", "sets": {"<dev>": None}}, 7]
    path.write_text(json.dumps(content))
    (view,) = development_view(read_run_folder(folder))
    assert [chart["title"] for chart in view["charts"]] == ["<dev>"] and view["seeds"] == 1
    assert "<dev>" not in write_report(folder).read_text()
    assert development_view(read_run_folder(fake_run(tmp_path / "plain"))) == []
