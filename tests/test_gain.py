"""The stage of transfer gain: trials leave no trace, resuming, ranks, bad input."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset

import tiny
from gain_worker import TASKS, job
from launch import in_ranks
from tdro.data.task import Task
from tdro.errors import UserError
from tdro.files import read_json
from tdro.gain.losses import HeldOutLosses, HeldOutSet
from tdro.gain.stage import learn_gain
from tdro.gain.target import TargetSet
from tdro.gain.trainer import GainTrainer
from tdro.gain.trials import TrainingState, gains
from tdro.machine import this_machine
from tdro.weights import TaskWeights

KINDS = ["static", "lora"]  # an encoder's trials are those of lora, with nothing frozen


def learn(folder, kind="static", **changes):
    return learn_gain(job(kind, folder, **changes), folder / "gain", {"method": "gain"})


# ---- a trial leaves no trace


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD, torch.optim.SparseAdam])
@pytest.mark.parametrize("steps_before", [0, 2])
def test_everything_is_put_back_to_the_bit(optimizer, steps_before):
    model = torch.nn.EmbeddingBag(12, 4, sparse=optimizer is torch.optim.SparseAdam)
    chosen = optimizer(model.parameters(), lr=0.1)

    def step():
        chosen.zero_grad()
        (model(torch.randint(0, 12, (3, 5))) ** 2).sum().backward()
        chosen.step()

    for _ in range(steps_before):
        step()
    state, expected = TrainingState(model, chosen), None
    for _ in range(3):
        step()
        chosen.param_groups[0]["lr"] = 7.0
        found = model.weight.detach().clone()
        assert expected is None or torch.equal(found, expected)  # the same random numbers, moments and rate
        expected = found
        state.put_back()
    assert model.weight.grad is None and chosen.param_groups[0]["lr"] == 0.1


def test_the_matrix_has_the_relative_changes_of_the_losses():
    """Rows are trained on, columns are helped; each trial starts from the same state."""
    model = torch.nn.Linear(1, 1)
    state = TrainingState(model, torch.optim.SGD(model.parameters()))
    now = []
    after = {0: [1.0, 4.0, 0.0], 1: [3.0, 3.0, 9.0], 2: [2.0, 4.0, 0.0]}
    found = gains(state, 3, np.array([2.0, 4.0, 1e-9]), now.append, lambda: np.array(after[now[-1]]))
    assert found.tolist() == [[0.5, 0.0, 0.0], [-0.5, 0.25, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("kind", KINDS)
def test_trials_do_not_touch_the_training(kind, tmp_path, monkeypatch):
    """With other trials, but the same α, the proxy ends as the same model."""
    kept = []
    monkeypatch.setattr(GainTrainer, "run", _keeping(kept))
    for number, trial_steps in enumerate((1, 2)):
        learn(tmp_path / str(number), kind, trial_steps=trial_steps, move=1e-9)
    one, other = (trainer.model.state_dict() for trainer in kept)
    assert all(torch.equal(one[key], other[key]) for key in one)


def _keeping(kept):
    run = GainTrainer.run

    def keep(trainer):
        kept.append(trainer)
        run(trainer)

    return keep


# ---- what it leaves


def test_what_the_stage_leaves(tmp_path, capsys):
    learner = learn(tmp_path)
    content = read_json(tmp_path / "gain" / "gain.json")
    assert content["names"] == [task.name for task in TASKS]
    assert content["held_out_rows"] == [max(1, len(task) // 5) for task in TASKS]
    assert np.array(content["matrices"]).shape == (3, 3, 3) and np.array(content["alphas"]).shape == (3, 3)
    assert np.array(content["losses"]).shape == (3, 3) and (np.array(content["losses"]) > 0).all()
    weights = TaskWeights.load(tmp_path / "gain" / "weights.json")
    assert weights == learner.mean and weights.provenance == {"method": "gain"}
    assert weights.values == pytest.approx(np.mean(content["alphas"], axis=0), abs=1e-12)
    assert np.abs(np.array(content["matrices"])).max() > 1e-4
    assert "helps the others" in capsys.readouterr().out


def test_a_task_of_one_row_and_no_negatives_is_solved_and_moves_nothing(tmp_path):
    tasks = [*TASKS[:2], tiny.task("alone", rows=1)]
    learn(tmp_path, tasks=tasks, negatives=0)
    matrices = np.array(read_json(tmp_path / "gain" / "gain.json")["matrices"])
    assert (matrices[:, :, 2] == 0).all() and np.isfinite(matrices).all()


def translations(name, first, rows=40):
    """A task in which the query "w3" is answered by "w13" and so on, always the same six words."""
    made = [
        {"id": f"{name}-{at}", "query": f"w{first + at % 6}", "positives": [f"w{first + 10 + at % 6}"], "negatives": []}
        for at in range(rows)
    ]
    return Task(name, Dataset.from_list(made))


def test_the_matrix_tells_who_helps_whom(tmp_path):
    """Two tasks have the same words: they help themselves and each other. The third is helped by itself alone."""
    tasks = [translations("one", 0), translations("same", 0), translations("other", 20)]
    learner = learn(tmp_path, tasks=tasks, negatives=0)
    mean = np.mean(learner.matrices, axis=0)
    assert mean[:2, :2].min() > 0.01 and mean[2, 2] > 0.01
    assert abs(mean[2, :2]).max() < 0.2 * mean[:2, :2].min() and abs(mean[:2, 2]).max() < 0.2 * mean[2, 2]
    assert learner.mean["other"] == min(learner.mean.values)


# ---- resuming and ranks


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """By kind of model, a folder with a stage that was never stopped; each is learned once for all tests here."""

    @functools.cache
    def learned(kind):
        folder = tmp_path_factory.mktemp(f"whole-{kind}")
        learn(folder, kind)
        return folder

    return learned


STOPS = [("static", 4), ("static", 5), ("static", 8), ("encoder", 8), ("target", 5)]
SLOW = [("encoder", 4), ("encoder", 5), ("lora", 4), ("lora", 5), ("lora", 8)]


@pytest.mark.parametrize(("kind", "stop"), [*STOPS, *(pytest.param(*stop, marks=pytest.mark.slow) for stop in SLOW)])
def test_a_stopped_stage_ends_as_one_that_was_never_stopped(kind, stop, whole, tmp_path, monkeypatch):
    """It is stopped in the middle of a round, at the first step of one, and within a round's trials."""
    step, seen = GainTrainer.training_step, [0]

    def stopping(trainer, model, inputs, number=None):
        if int(inputs["step"]) == stop:
            raise KeyboardInterrupt
        return step(trainer, model, inputs, number)

    def stopping_in_trial(trainer, model, task, number):
        seen[0] += 1
        if number == 2 and task == 1:
            raise KeyboardInterrupt
        return trial(trainer, model, task, number)

    trial = GainTrainer._try_task
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if stop == 8:
            patch.setattr(GainTrainer, "_try_task", stopping_in_trial)
        else:
            patch.setattr(GainTrainer, "training_step", stopping)
        learn(tmp_path / "cut", kind)
    assert list((tmp_path / "cut" / "gain" / "training").glob("checkpoint-*"))
    learn(tmp_path / "cut", kind)
    for file in ("gain.json", "weights.json", "log.jsonl"):
        assert (tmp_path / "cut" / "gain" / file).read_bytes() == (whole(kind) / "gain" / file).read_bytes()


@pytest.mark.parametrize("kind", ["encoder", "target"])  # the target's proxy is static
def test_two_ranks_learn_what_one_does(kind, whole, tmp_path):
    stage = job(kind, tmp_path / "two")
    in_ranks(2, lambda machine: learn_gain(replace(stage, machine=machine), tmp_path / "two" / "gain", {}), tmp_path)
    one, two = (read_json(folder / "gain" / "gain.json") for folder in (whole(kind), tmp_path / "two"))
    assert np.array(two["matrices"]) == pytest.approx(np.array(one["matrices"]), abs=5e-5)
    assert np.array(two["alphas"]) == pytest.approx(np.array(one["alphas"]), abs=1e-3)
    assert np.array(two["losses"]) == pytest.approx(np.array(one["losses"]), abs=1e-5)


# ---- towards a target


def test_with_a_target_the_columns_are_its_parts(whole):
    content = read_json(whole("target") / "gain" / "gain.json")
    assert content["target"] == {"names": ["shop", "t2", "help"], "shares": [0.5, 0.2, 0.3], "rows": [11, 4, 14]}
    assert np.array(content["matrices"]).shape == (3, 3, 3) and len(content["names"]) == 3
    plain = read_json(whole("static") / "gain" / "gain.json")
    first, same = np.array(content["matrices"][0])[:, 1], np.array(plain["matrices"][0])[:, 2]
    assert first == pytest.approx(same, abs=1e-12)  # in the first round both proxies are the same: t2's own rows
    assert "target" not in plain and plain["alphas"] != content["alphas"]


def test_a_target_of_one_tasks_queries_lifts_that_task(tmp_path):
    """Three tasks of other words each; the queries of a development set have the words of the second."""
    tasks = [translations("one", 0), translations("two", 20), translations("three", 40)]
    stage = job("static", tmp_path, tasks=tasks, negatives=0)
    rows = asked([*translations("asked", 20, rows=12).rows], stage.load_proxy(), negatives=0)
    learner = learn_gain(replace(stage, target=[TargetSet("asked", 1.0, rows)]), tmp_path / "gain", {})
    assert learner.mean["two"] > 0.6 and learner.mean["one"] == pytest.approx(learner.mean["three"], rel=0.2)


def asked(rows, model, negatives):
    data = tiny.tokenized(model, [Task("asked", Dataset.from_list(rows))])
    return HeldOutSet("asked", data, 0, np.arange(len(rows)), negatives, all_answers=True)


def test_no_answer_of_a_query_is_its_negative():
    """The positive of the second query answers the first one too. The losses are those of a plain version."""
    model = tiny.static_model()
    rows = [
        {"id": "1", "query": "w1 w2", "positives": ["w3", "w4"], "negatives": ["w5 w6", "w7"]},
        {"id": "2", "query": "w8", "positives": ["w4"], "negatives": ["w9", "w10"]},
    ]
    hard = ["w5 w6", "w7", "w9", "w10"]

    def plain(query, positive, others):
        scores = (
            model.encode([query], normalize_embeddings=True)
            @ model.encode([positive, *others], normalize_embeddings=True).T
        )
        scores = scores[0].astype(float) / 0.1
        return np.log(np.exp(scores).sum()) - scores[0]

    expected = [
        (plain("w1 w2", "w3", hard) + plain("w8", "w4", [*hard, "w3"])) / 2,
        (plain("w1 w2", "w4", hard) + plain("w8", "w4", hard)) / 2,
    ]
    found = set()
    for seed in range(6):  # which of its two answers the first query gets
        losses = HeldOutLosses([asked(rows, model, 2)], 0.1, 8, seed, this_machine("cpu", "fp32"))
        losses.prepare(lambda batch: batch, lambda batch: GainTrainer.collect_features(None, batch))
        loss = losses.measure(model)[0]
        found.add(int(np.argmin(np.abs(loss - np.array(expected)))))
        assert min(abs(loss - each) for each in expected) < 1e-5
    assert found == {0, 1}


# ---- bad input


def test_a_loss_that_is_not_finite_names_the_task(tmp_path):
    with pytest.raises(UserError, match="not finite"):
        learn(tmp_path, learning_rate=1e38)


def test_fsdp_is_refused_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr("tdro.gain.stage.wants_shards", lambda: True)
    with pytest.raises(UserError, match="FSDP"):
        learn(tmp_path)
