"""A run that is killed and continued ends as one that was never killed, to the bit."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

import tdro.dro.stage_one.scoring
import tiny
from launch import in_fork
from resume_worker import STEPS, Run, drive_all, make_models
from tdro.data.plan.row_plans import MixedPlan
from tdro.dro.stage_one.learn import StepLog
from tdro.dro.stage_one.scoring import score_plan
from tdro.files import read_jsonl
from tdro.machine import Machine
from tdro.recipe.training_sections import Training
from tdro.training.in_batch_loss import InBatchLoss
from tdro.training.steps import PlannedSteps
from tdro.training.trainer import PlannedTrainer

FEW = [
    ("learn", "static", 1, ["event 60", "step 5", "late"]),
    ("learn", "encoder", 2, ["other 3", "torn", "line"]),
    ("learn", "lora", 1, ["step 5", "end"]),
    ("finetune", "dropout", 1, ["step 2", "torn", "late"]),
    ("finetune", "static", 1, ["event 61", "end"]),
    ("finetune", "lora-dropout", 2, ["other 3"]),
]


def drive(runs, place):
    """The driver's results, one dict per run. It is a fork: its processes are killed, and this one is not."""
    make_models(place / "models")
    code = in_fork(lambda: drive_all([Run(*run) for run in runs], place), place / "output", seconds=None)
    assert code == 0
    return list(read_jsonl(place / "results.jsonl"))


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return drive(FEW, tmp_path_factory.mktemp("resume"))


@pytest.mark.parametrize("number", range(len(FEW)), ids=[f"{stage}-{kind}-{world}" for stage, kind, world, _ in FEW])
def test_a_killed_run_ends_as_one_that_was_never_killed(number, few):
    result = few[number]
    assert result["kills"] == FEW[number][3]  # each of them did kill
    assert result["killed"] == result["whole"]
    models = {rank["model"] for rank in result["whole"]}
    assert len(models) == 1  # and all ranks hold the same


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
def test_many_random_kills(world, tmp_path):
    draw = random.Random(world)
    runs = []
    trained = [("learn", "encoder"), ("learn", "static"), ("learn", "lora")]
    trained += [("finetune", "dropout"), ("finetune", "static"), ("finetune", "lora-dropout")]
    for stage, kind in trained + [("finetune", "sharded")] * (world > 1):
        for _ in range(2 if kind in ("static", "dropout") else 3):
            kills = [f"event {draw.randint(1, 200)}" for _ in range(3)]
            kills += [f"time {draw.uniform(0.1, 0.95):.2f}", f"step {draw.randint(1, STEPS - 1)}", "torn"]
            kills += ["line"] if stage == "learn" else []
            kills += [f"other {draw.randint(1, STEPS - 1)}"] if world > 1 else []
            draw.shuffle(kills)
            runs.append((stage, kind, world, [*kills[:4], "late"]))
    results = drive(runs, tmp_path)
    killed = [kill for result in results for kill in result["kills"]]
    print(f"{world} rank(s): {len(results)} runs, {len(killed)} kills: {killed}")
    assert len(killed) >= 20
    assert [result["killed"] for result in results] == [result["whole"] for result in results]


def test_the_log_is_cut_back_without_losing_what_is_kept(tmp_path):
    """Half a line at the end, and lines beyond the checkpoint, go; the rest stays, even if killed right then."""
    path = tmp_path / "steps.jsonl"
    lines = [json.dumps({"step": step, "alpha": [0.1, 0.9]}) + "\n" for step in range(5)]
    path.write_text("".join(lines) + '{"step": 5, "al')
    StepLog(path, None, tmp_path / "checkpoint-3")
    assert path.read_text() == "".join(lines[:3])
    StepLog(path, None, None)
    assert path.read_text() == ""


@pytest.mark.parametrize("every, window", [(0, 10), (100, 10), (25, 5), (7, 1)])
def test_no_window_of_the_log_straddles_a_checkpoint(every, window, steps, tmp_path):
    """It would be averaged over its later part only where a run continues."""
    settings = Training(steps=200, batch=8, checkpoint_steps=every)
    model = tiny.static_model()
    trainer = PlannedTrainer(model, InBatchLoss(model), steps, settings, tmp_path, 1, device="cpu")
    assert trainer.args.logging_steps == window


# ---- the reference's scores


@pytest.fixture
def steps(monkeypatch):
    """Five blocks of two steps each."""
    monkeypatch.setattr(tdro.dro.stage_one.scoring, "_TEXTS_PER_BLOCK", 64)
    tasks = [tiny.task("a"), tiny.task("b")]
    data = tiny.tokenized(tiny.static_model(), tasks)
    return PlannedSteps(data, MixedPlan([20, 20], 8, 10, 1), 2, lambda *args: None)


def score(steps, folder, load=lambda: tiny.static_model(seed=3), name="r", machine=Machine(), **more):  # noqa: B008
    return np.array(score_plan({name: load}, steps, folder, machine, **more))


def no_model():
    pytest.fail("a model was loaded although everything is scored")


@pytest.mark.parametrize("chunk_rows", [None, 5])
def test_only_missing_blocks_are_scored(chunk_rows, steps, tmp_path, monkeypatch):
    if chunk_rows is not None:  # blocks are a tenth as large then
        monkeypatch.setattr(tdro.dro.stage_one.scoring, "_TEXTS_PER_BLOCK", 640)
    expected = score(steps, tmp_path / "whole", chunk_rows=chunk_rows)
    name = "_score_distinct_texts" if chunk_rows is None else "_score_micro_batches"
    work, scored = getattr(tdro.dro.stage_one.scoring, name), []

    def interrupted(*args):
        scored.append(args[3])
        if len(scored) == 3:
            raise KeyboardInterrupt
        return work(*args)

    monkeypatch.setattr(tdro.dro.stage_one.scoring, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        score(steps, tmp_path / "cut", chunk_rows=chunk_rows)
    found = score(steps, tmp_path / "cut", chunk_rows=chunk_rows)
    assert scored == [range(0, 2), range(2, 4), range(4, 6), range(4, 6), range(6, 8), range(8, 10)]
    assert np.array_equal(found, expected)


def test_a_second_run_over_the_plan_loads_nothing(steps, tmp_path):
    first = score(steps, tmp_path)
    assert np.array_equal(score(steps, tmp_path, no_model), first)


def test_another_model_plan_or_text_is_scored_anew(steps, tmp_path):
    score(steps, tmp_path)
    plan, data = steps.plan, steps.data
    other_tasks = [tiny.task("a"), tiny.task("c")]
    others = [
        PlannedSteps(data, MixedPlan([20, 20], 8, 10, 2), 2, None),
        PlannedSteps(data, MixedPlan([20, 20], 8, 10, 1, "random"), 2, None),
        PlannedSteps(data, MixedPlan([20, 20], 8, 9, 1), 2, None),
        PlannedSteps(data, plan, 1, None),
        PlannedSteps(data, MixedPlan([10, 10], 8, 10, 1), 2, None, subset=[np.arange(10)] * 2),
        PlannedSteps(data, MixedPlan([10, 10], 8, 10, 1), 2, None, subset=[np.arange(10, 20)] * 2),
        PlannedSteps(tiny.tokenized(tiny.static_model(), other_tasks), plan, 2, None),
    ]
    for other in others:
        score(other, tmp_path)
    score(steps, tmp_path, name="s")
    score(steps, tmp_path, machine=Machine(bf16=True))
    score(steps, tmp_path, chunk_rows=4)
    assert len(list(tmp_path.iterdir())) == 4 + len(others)


@pytest.mark.parametrize("chunk_rows", [None, 5])
def test_scores_that_other_code_or_blocks_made_are_not_taken(chunk_rows, steps, tmp_path, monkeypatch):
    """The files that say which block is done count blocks of one size; another size has others, and other padding."""
    score(steps, tmp_path, chunk_rows=chunk_rows)
    for number, (name, value) in enumerate([("_TEXTS_PER_BLOCK", 1280), ("_CODE", -1), ("__version__", "0.0.0")]):
        monkeypatch.setattr(tdro.dro.stage_one.scoring, name, value)
        loaded = []
        score(
            steps, tmp_path, lambda loaded=loaded: loaded.append(1) or tiny.static_model(seed=3), chunk_rows=chunk_rows
        )
        assert loaded and len(list(tmp_path.iterdir())) == 2 + number


def test_ranks_share_the_blocks_whoever_comes_first(steps, tmp_path):
    """A rank that starts when another has already finished some blocks still scores its own, and no other."""
    expected = score(steps, tmp_path / "alone")
    scored = {}
    for rank in (1, 0):
        scored[rank] = score(steps, tmp_path / "shared", machine=Machine(rank=rank, world=2))
    assert np.array_equal(scored[0], expected)
    assert len(list((tmp_path / "shared").glob("*/block-*.done"))) == 5


def test_two_ranks_that_make_the_store_at_once_write_to_one_file(steps, tmp_path, monkeypatch):
    """The second finds no file, makes one, and must not put it over the first's, which already holds scores."""
    expected = score(steps, tmp_path / "alone")
    exists = Path.exists
    score(steps, tmp_path / "shared", machine=Machine(rank=0, world=2))
    monkeypatch.setattr(Path, "exists", lambda path: path.suffix != ".npy" and exists(path))
    assert np.array_equal(score(steps, tmp_path / "shared", machine=Machine(rank=1, world=2)), expected)
    assert [path.suffix for path in tmp_path.rglob("*.npy")] == [".npy"] * 2


def test_two_references_score_the_rows_that_they_are_chosen_for(steps, tmp_path):
    one, other = (score(steps, tmp_path / str(seed), lambda seed=seed: tiny.static_model(seed=seed)) for seed in (3, 4))
    models = {"one": lambda: tiny.static_model(seed=3), "other": lambda: tiny.static_model(seed=4)}
    for chunk_rows in (None, 5):
        found = score_plan(models, steps, tmp_path, Machine(), lambda rows: rows.row % 2, chunk_rows=chunk_rows)
        for step in range(10):
            odd = steps.plan.step(step).row % 2 == 1
            np.testing.assert_allclose(found[step], np.where(odd[:, None], other[step], one[step]), atol=1e-6)
