"""A damaged checkpoint is named and passed over; training goes on from the whole one beside it, to the same end."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

import tiny
from tdro.data.plan.row_plans import HomogeneousPlan
from tdro.recipe.training_sections import Training
from tdro.training.checkpoints import FILE_LIST, checkpoints, newest_checkpoint
from tdro.training.in_batch_loss import InBatchLoss
from tdro.training.steps import PlannedSteps, text_labels
from tdro.training.trainer import PlannedTrainer


def train(folder):
    """Six steps with a checkpoint every two; returns the model's table."""
    model = tiny.static_model()
    tasks = [tiny.task("a"), tiny.task("b")]
    plan = HomogeneousPlan([20, 20], 4, np.array([0, 1, 0, 1, 1, 0]), 1)
    steps = PlannedSteps(tiny.tokenized(model, tasks), plan, 2, text_labels)
    settings = Training(steps=6, batch=4, negatives=2, checkpoint_steps=2)
    trainer = PlannedTrainer(model, InBatchLoss(model), steps, settings, folder, 1, device="cpu")
    trainer.run()
    return model[0].embedding.weight.detach().clone(), trainer


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A training's folder with its last two checkpoints, and how it ended."""
    folder = tmp_path_factory.mktemp("training")
    end, _ = train(folder)
    assert [path.name for path in checkpoints(folder)] == ["checkpoint-4", "checkpoint-6"]
    return folder, end


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


FILES = ["model.safetensors", "optimizer.pt", "trainer_state.json", "rng_state.pth", "scheduler.pt"]
DAMAGES = {
    "is cut": cut,
    "is empty": lambda path: path.write_bytes(b""),
    "is missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.pt", "trainer_state.json", "rng_state.pth", "scheduler.pt"]
)
def test_the_whole_one_beside_a_damaged_one_is_taken(name, how, stopped, tmp_path, caplog):
    folder, end = stopped
    shutil.copytree(folder, tmp_path / "t")
    DAMAGES[how](tmp_path / "t" / "checkpoint-6" / name)
    assert newest_checkpoint(tmp_path / "t").name == "checkpoint-4"
    (said,) = {record.getMessage() for record in caplog.records}
    assert said == f"{tmp_path / 't' / 'checkpoint-6'} is damaged and not used: {name} {how}"
    if how == "is cut":
        again, trainer = train(tmp_path / "t")
        assert torch.equal(again, end)
        assert trainer.state.global_step == 6
        assert newest_checkpoint(tmp_path / "t").name == "checkpoint-6", "made anew"


def test_with_no_whole_checkpoint_training_starts_anew(stopped, tmp_path):
    folder, end = stopped
    shutil.copytree(folder, tmp_path / "t")
    for checkpoint in checkpoints(tmp_path / "t"):
        cut(checkpoint / "model.safetensors")
    again, _ = train(tmp_path / "t")
    assert torch.equal(again, end)
    assert [path.name for path in checkpoints(tmp_path / "t")] == ["checkpoint-4", "checkpoint-6"]


@pytest.mark.parametrize("how", ["cut", "garbage", "a list"])
def test_a_list_of_files_that_is_damaged_itself(how, stopped, tmp_path):
    shutil.copytree(stopped[0], tmp_path / "t")
    path = tmp_path / "t" / "checkpoint-6" / FILE_LIST
    path.write_text({"cut": path.read_text()[:40], "garbage": "\x00\x00", "a list": "[1]"}[how])
    assert newest_checkpoint(tmp_path / "t").name == "checkpoint-4"


def test_a_checkpoint_of_before_that_has_no_list_is_taken_unless_it_is_plainly_damaged(stopped, tmp_path):
    shutil.copytree(stopped[0], tmp_path / "t")
    newest = tmp_path / "t" / "checkpoint-6"
    (newest / FILE_LIST).unlink()
    assert newest_checkpoint(tmp_path / "t") == newest
    state = (newest / "trainer_state.json").read_text()
    (newest / "trainer_state.json").write_text(state[:-9])
    assert newest_checkpoint(tmp_path / "t").name == "checkpoint-4"
    (newest / "trainer_state.json").write_text(state)
    (newest / "optimizer.pt").write_bytes(b"")
    assert newest_checkpoint(tmp_path / "t").name == "checkpoint-4"


def test_the_list_has_every_file(stopped):
    newest = newest_checkpoint(stopped[0])
    there = {path.relative_to(newest).as_posix() for path in newest.rglob("*") if path.is_file()}
    assert set(json.loads((newest / FILE_LIST).read_text())) == there - {FILE_LIST}
