"""What a user of a GPU meets first: no memory left, and a loss that is NaN. Each is said in two lines."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import tdro.planning.memory
import tiny
import tiny_lm
import tiny_mixture
from tdro import cli
from tdro.data.plan.row_plans import HomogeneousPlan
from tdro.errors import UserError
from tdro.machine import Machine, fp32_for_want_of_bf16, ran_out_of_memory, this_machine
from tdro.planning.fitting import peak_memory, what_fits
from tdro.planning.lengths import TaskLengths
from tdro.planning.memory import Regime
from tdro.planning.shape import ModelShape
from tdro.recipe.training_sections import Training
from tdro.run import out_of_memory
from tdro.run.pipeline import run_recipe
from tdro.training.checkpoints import checkpoints
from tdro.training.in_batch_loss import InBatchLoss
from tdro.training.steps import PlannedSteps, text_labels
from tdro.training.trainer import PlannedTrainer

# ---- no memory left

OUT = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB."


def no_memory(*_, **__):
    raise torch.cuda.OutOfMemoryError(OUT)


@pytest.fixture
def full(monkeypatch):
    """Every fine-tuning loss runs out of memory, and a process takes nothing: tiny models would not show beside it."""
    monkeypatch.setattr(InBatchLoss, "batch_loss", no_memory)
    monkeypatch.setattr(tdro.planning.memory, "PROCESS", 0.0)


def decoder_recipe(folder, **changes):
    model = tiny_lm.write_causal_lm(folder / "lm")
    return tiny_mixture.recipe(folder, base={"kind": "decoder", "source": str(model)}, **changes)


def test_a_decoder_that_does_not_fit_is_told_what_to_set(tmp_path, full):
    with pytest.raises(UserError) as raised:
        run_recipe(decoder_recipe(tmp_path), ["reference"])
    first, second = str(raised.value).splitlines()
    assert first == "reference: cpu ran out of memory."
    assert re.match(r"In `reference` of the recipe, set gradient_caching: true( and chunk_rows: \d+)? \(about", second)
    assert "goes on from the last checkpoint" in second


def test_a_fine_tuning_that_has_gradient_caching_gets_smaller_micro_batches(tmp_path, full):
    recipe = decoder_recipe(tmp_path, finetune__gradient_caching=True, weights__load=alphas(tmp_path))
    with pytest.raises(UserError, match=r"In the fine-tuning group 'main' of the recipe, set chunk_rows: \d+"):
        run_recipe(recipe, ["learn", "finetune"])


def test_a_static_model_gets_a_smaller_batch(tmp_path, full):
    with pytest.raises(UserError, match=r"set batch: [2-6] "):
        run_recipe(tiny_mixture.recipe(tmp_path), ["reference"])


def alphas(folder):
    from tdro import TaskWeights

    TaskWeights.uniform([f"task{number}" for number in range(4)]).save(folder / "alpha.json")
    return str(folder / "alpha.json")


def test_other_errors_stay_as_they_are(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("the size of tensor a must match")

    monkeypatch.setattr(InBatchLoss, "batch_loss", broken)
    with pytest.raises(RuntimeError, match="tensor a"):
        run_recipe(tiny_mixture.recipe(tmp_path), ["reference"])


def test_a_command_without_a_recipe_says_it_too(monkeypatch, capsys):
    options = SimpleNamespace(command="evaluate", function=no_memory, quiet=False)
    monkeypatch.setattr(cli, "command_line", lambda: SimpleNamespace(parse_args=lambda _: options))
    assert cli.main([]) == 2
    said = capsys.readouterr().err
    assert "out of memory (CUDA out of memory. Tried to allocate 2.00 GiB" in said and "Traceback" not in said


def test_what_a_gpu_has_and_others_hold(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (int(10e9), int(80e9)))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda *_: int(50e9))
    machine = Machine("cuda:0")
    assert "80.0 GB of memory, of which other processes hold about 19.2 GB" in out_of_memory._taken(machine)
    assert out_of_memory._room(SimpleNamespace(), machine) == pytest.approx(60.8e9)


def test_which_errors_are_of_memory():
    assert ran_out_of_memory(torch.cuda.OutOfMemoryError(OUT))
    assert ran_out_of_memory(RuntimeError("MPS backend out of memory (allocated 1 GB)"))
    assert ran_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes"))
    assert not ran_out_of_memory(RuntimeError("shape mismatch"))
    assert not ran_out_of_memory(ValueError("out of memory"))


SHAPE = ModelShape(135_000_000, 49152, 576, layers=30, heads=9, queries=576, matrices=((576, 576), (576, 1536)))
LENGTHS = [TaskLengths(np.full(50, 30), np.full(50, 120), np.full(50, 120))]


def trained(**changes):
    settings = Training(steps=10, batch=512, negatives=7, warmup_steps=0.0, chunk_rows=256, **changes)
    return SimpleNamespace(settings=settings, mixed=False)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2, 0.1, 0.05])
def test_what_is_proposed_fits_by_the_estimate(share):
    how = Regime(cpu=False, bf16=True, chunk_rows=256)
    whole = peak_memory(trained(), SHAPE, LENGTHS, how).total
    remedy = what_fits(trained(), SHAPE, LENGTHS, how, share * whole)
    assert remedy.memory is not None and remedy.memory <= share * whole
    assert remedy.text.startswith("set gradient_caching: true")


def test_where_nothing_fits_it_is_said():
    remedy = what_fits(trained(), SHAPE, LENGTHS, Regime(cpu=False, bf16=True, chunk_rows=256), 1e9)
    assert remedy.memory is None and "adapters" in remedy.text


# ---- precision


def test_gpus_without_bf16_of_their_own_compute_in_fp32_and_it_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Tesla T4")
    for capability, bf16 in (((7, 5), False), ((8, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_, of=capability: of)
        assert this_machine().bf16 is bf16
    assert fp32_for_want_of_bf16("auto", Machine("cuda:0")).startswith("Tesla T4 does not compute in bf16")
    assert fp32_for_want_of_bf16("fp32", Machine("cuda:0")) == fp32_for_want_of_bf16("auto", Machine("cpu")) == ""


# ---- NaN


class NanAt(InBatchLoss):
    """The loss is NaN at one step."""

    at, calls = 0, 0

    def batch_loss(self, columns, labels):
        self.calls += 1
        return super().batch_loss(columns, labels) * (float("nan") if self.calls == self.at + 1 else 1.0)


@pytest.mark.parametrize("at", [0, 3, 5])
@pytest.mark.parametrize("caching", [False, True])
def test_a_loss_that_is_nan_ends_the_training_and_names_step_and_task(at, caching, tmp_path):
    model = tiny.encoder(tmp_path / "m")
    tasks = [tiny.task("a"), tiny.task("b")]
    plan = HomogeneousPlan([20, 20], 4, np.array([0, 1, 0, 1, 1, 0]), 1)
    steps = PlannedSteps(tiny.tokenized(model, tasks), plan, 2, text_labels)
    loss = NanAt(model, gradient_caching=caching)
    loss.at = at
    settings = Training(steps=6, batch=4, negatives=2, checkpoint_steps=2)
    trainer = PlannedTrainer(model, loss, steps, settings, tmp_path / "t", 1, title="reference")
    with pytest.raises(UserError) as raised:
        trainer.run()
    task = "ab"[plan.tasks[at]]
    assert str(raised.value).startswith(f"reference: the loss of step {at} is not finite")
    assert f"its batch is of '{task}'." in str(raised.value)
    # No checkpoint holds what was trained after it.
    assert [path.name for path in checkpoints(tmp_path / "t")] == [f"checkpoint-{s}" for s in (2, 4) if s <= at]
