"""One process, one device: the one that is named; and ``--processes`` starts several that share the work."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from safetensors.torch import load_file

import tiny_mixture
from launch import environment, run_in_fork, torchrun_forks
from tdro.cli import main
from tdro.dro.infonce import in_float64
from tdro.errors import UserError
from tdro.machine import Machine, idle_gpus, this_machine
from tdro.planning.device import planned_device
from tdro.recipe.schema import Recipe
from tdro.run import pipeline
from tdro.run.small_chunks import small_chunks
from tdro.training.one_device import OneDeviceArguments
from tdro.training.trainer import PlannedTrainer


@pytest.fixture
def gpus(monkeypatch):
    """Have torch see as many GPUs as asked for; returns the list of those that were made the current one."""
    chosen = []

    def see(count, apple=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: chosen.append(str(device)))
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)
        return chosen

    yield see
    AcceleratorState._reset_state(reset_partial_state=True)  # the next test finds no GPU in it


@pytest.mark.parametrize(
    ("wish", "count", "apple", "found"),
    [
        *[("auto", 0, False, "cpu"), ("auto", 0, True, "mps"), ("auto", 2, False, "cuda:0"), ("mps", 0, True, "mps")],
        *[("cuda", 2, False, "cuda:0"), ("cuda:1", 2, False, "cuda:1"), ("cpu", 2, False, "cpu")],
    ],
)
def test_the_device_is_the_one_named_or_the_best_there_is(wish, count, apple, found, gpus):
    gpus(count, apple)
    assert this_machine(wish).device == found


@pytest.mark.parametrize(
    ("wish", "count", "told"),
    [
        ("cuda", 0, "no CUDA device"),
        ("cuda:2", 2, "cuda:0 to cuda:1"),
        ("cuda:1", 1, "cuda:0 only"),
        ("mps", 2, "Apple"),
    ],
)
def test_a_device_that_is_not_there_is_refused(wish, count, told, gpus):
    gpus(count)
    with pytest.raises(UserError, match=told):
        this_machine(wish)


def test_each_rank_uses_the_gpu_of_its_own(gpus, monkeypatch):
    gpus(2)
    for name, value in {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert this_machine("auto").device == "cuda:1"
    assert this_machine("cpu").device == "cpu"
    with pytest.raises(UserError, match="one device for 4 processes"):
        this_machine("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="cuda:2"):
        this_machine("cuda")


def test_idle_gpus_are_told_unless_one_was_named(gpus):
    gpus(4)
    assert "1 of 4 GPUs" in idle_gpus("auto", this_machine("auto"))
    assert idle_gpus("cuda:1", this_machine("cuda:1")) == idle_gpus("auto", Machine("cuda:0", world=4)) == ""
    gpus(1)
    assert idle_gpus("auto", this_machine("auto")) == ""


def test_small_micro_batches_are_told_on_a_gpu_only(tmp_path):
    recipe = Recipe.model_validate(
        {
            "name": "x",
            "base": {"kind": "decoder", "source": "smollm2"},
            "reference": {"chunk_rows": 512},
            "weights": {"chunk_rows": 64},
            "finetune": [
                {"name": "small", "mixtures": ["uniform"], "chunk_rows": 16, "base": {"kind": "static", "source": "x"}},
                {"name": "large", "mixtures": ["top-70"], "chunk_rows": 32},
            ],
        }
    )
    stages, gpu = ["reference", "learn", "finetune"], Machine("cuda:0")
    assert small_chunks(recipe, stages, gpu).startswith("finetune 'large': chunk_rows: 32 ")
    assert small_chunks(recipe, stages[:2], gpu).startswith("learn: chunk_rows: 64 ")
    assert small_chunks(recipe, stages[:1], gpu) == small_chunks(recipe, stages, Machine("cpu")) == ""


@pytest.mark.parametrize(("named", "count"), [("cuda:1", 4), ("cuda:0", 2), ("cpu", 2)])
def test_the_trainer_uses_the_device_named_and_no_data_parallel(named, count, gpus, tmp_path):
    chosen = gpus(count)
    arguments = OneDeviceArguments(output_dir=str(tmp_path), only_device=named, use_cpu=named == "cpu")
    assert str(arguments.device) == str(PartialState().device) == named
    assert arguments.n_gpu == (named != "cpu")  # 2 and more would be DataParallel
    assert arguments.train_batch_size == arguments.per_device_train_batch_size
    assert not chosen or chosen[-1] == named


def test_the_stock_arguments_would_use_all_gpus(gpus, tmp_path):
    from sentence_transformers import SentenceTransformerTrainingArguments

    gpus(4)
    stock = SentenceTransformerTrainingArguments(output_dir=str(tmp_path))
    assert (stock.n_gpu, str(stock.device)) == (4, "cuda:0")  # once it is otherwise, ours can go


def test_apple_gpus_have_no_float64_so_it_is_the_cpus():
    """No such GPU here: a stand-in notes where it was asked to become float64."""

    class OnApple:
        device = torch.device("mps")

        def cpu(self):
            return torch.ones(2)

    moved = in_float64(OnApple())
    assert (moved.dtype, moved.device.type) == (torch.float64, "cpu")
    trainer = SimpleNamespace(args=SimpleNamespace(device=torch.device("mps")))
    labels = torch.ones(2, dtype=torch.float64)
    assert PlannedTrainer._prepare_input(trainer, labels) is labels


def test_a_plan_for_a_device_that_is_elsewhere(gpus):
    gpus(0)
    assert [planned_device(name, "auto").kind for name in ("cuda:3", "mps", "cpu")] == ["cuda", "mps", "cpu"]


def tdro(*arguments):
    return [sys.executable, "-m", "tdro", *map(str, arguments)]


def recipe_file(folder, **changes):
    recipe = tiny_mixture.recipe(folder, **changes)
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    return folder / "recipe.yaml"


def test_processes_share_a_stage_and_an_error_of_all_is_printed_once(tmp_path):
    """Two processes make the reference that one makes; in stage 1 both fail."""
    pipeline.run_recipe(tiny_mixture.recipe(tmp_path / "alone"), ["reference"])
    file = recipe_file(tmp_path / "two", weights__learning_rate=1e38)

    def run():
        torchrun_forks(main)
        return main(["run", str(file), "--processes", "2"])

    done = run_in_fork(run, tmp_path, seconds=None)
    assert done.returncode == 2, done.stdout[-3000:]
    assert done.stdout.count("error:") == 1 and "not finite" in done.stdout
    assert "Traceback" not in done.stdout
    found, expected = (load_file(tmp_path / name / "run/reference/model.safetensors") for name in ("two", "alone"))
    assert all(torch.allclose(found[key], expected[key], atol=1e-6) for key in expected)


def test_a_batch_that_the_processes_cannot_share_is_refused(tmp_path, monkeypatch, capsys):
    file = recipe_file(tmp_path, reference__batch=9)
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert main(["reference", str(file)]) == 2
    assert "shared equally by the 2 ranks" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_stops_all_processes_and_says_how_to_go_on(tmp_path):
    file = recipe_file(tmp_path, reference__steps=100_000, reference__checkpoint_steps=20)
    process = subprocess.Popen(
        tdro("reference", file, "--processes", "2"),
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 120
        while not list(tmp_path.rglob("checkpoint-*")) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, said = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, said
    assert said.count("the same command continues the run") == 1 and "Traceback" not in said


def test_processes_within_processes_are_refused(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "0")
    assert main(["reference", "quickstart", "--processes", "2"]) == 2
    assert "leave --processes out" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "two", "-1", "1.5"])
def test_a_number_of_processes(count, capsys):
    with pytest.raises(SystemExit):
        main(["run", "quickstart", f"--processes={count}"])
    assert "at least 1, or auto" in capsys.readouterr().err
