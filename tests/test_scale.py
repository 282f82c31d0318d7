"""DDP and FSDP on two gloo ranks, set up as users set them up: the same model as one process, whole on disk."""

import re
import subprocess
import sys
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pytest
from packaging.version import Version
from sentence_transformers import SentenceTransformer

import scale_worker
import tiny
import tiny_mixture
from launch import SECONDS, end_with_stacks, environment, free_port, launcher
from tdro.errors import UserError
from tdro.files import read_json
from tdro.machine import Machine
from tdro.models.load import load_model
from tdro.run.workspace import Workspace
from tdro.training import sharded
from tdro.training.finetune import FinetuneJob, finetune
from tdro.training.steps import PlannedSteps

SHARDS = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}


@pytest.fixture(scope="module")
def out(two_ranks):
    """Folder with the results of two ranks, by scenario, and under ``alone`` those of one process, by model."""
    for kind in ("encoder-0", "lora"):
        folder = two_ranks / "alone" / kind
        gradients = scale_worker.train(kind, scale_worker.SETTINGS, two_ranks, folder, Machine())
        np.save(two_ranks / "alone" / f"{kind}.npy", gradients)
    return two_ranks


def tensors(folder):
    return {name: value.numpy() for name, value in SentenceTransformer(str(folder), device="cpu").state_dict().items()}


def differences(found, expected):
    """Largest relative difference of a tensor, those aside whose gradient is rounding (attention sees no key bias)."""
    assert found.keys() == expected.keys()
    scale = {name: max(np.linalg.norm(value), 1e-3) for name, value in expected.items()}
    return max(np.linalg.norm(found[name] - expected[name]) / scale[name] for name in scale if "key.bias" not in name)


@pytest.mark.parametrize("name", list(scale_worker.SCENARIOS))
def test_two_ranks_have_the_gradient_of_the_whole_batch(name, out):
    kind, *_ = scale_worker.SCENARIOS[name]
    expected = np.load(out / "alone" / f"{kind}.npy")
    found = [np.load(out / name / f"gradients-{rank}.npy") for rank in range(2)]
    assert np.array_equal(*found)
    assert len(expected) == 3
    for step in range(3):
        assert np.linalg.norm(found[0][step] - expected[step]) / np.linalg.norm(expected[step]) < 1e-5, step


@pytest.mark.parametrize("name", list(scale_worker.SCENARIOS))
def test_what_two_ranks_leave_is_the_model_of_one_process(name, out):
    kind, *_ = scale_worker.SCENARIOS[name]
    folder = out / name / "model"
    assert differences(tensors(folder), tensors(out / "alone" / kind)) < 2e-5
    assert {path.name for path in folder.rglob("*")} == {path.name for path in (out / "alone" / kind).rglob("*")}
    logs = [read_json(path / "training.json") for path in (folder, out / "alone" / kind)]
    assert logs[0]["last_loss"] == pytest.approx(logs[1]["last_loss"], rel=1e-4)


@pytest.mark.parametrize("name", list(scale_worker.SCENARIOS))
def test_gradients_are_exchanged_after_the_last_micro_batch_only(name, out):
    *_, caching = scale_worker.SCENARIOS[name]
    if caching and name.startswith("ddp") and Version(version("sentence-transformers")) < Version("6.2"):
        pytest.skip("sentence-transformers exchanges gradients after each micro-batch before 6.2")
    micro_batches = 3  # 4 rows a rank, of 3 texts each, 5 at a time
    step = f"(look ){{{micro_batches}}}(embed ){{{micro_batches}}}" if caching else f"(embed ){{{micro_batches}}}"
    for rank in range(2):
        events = read_json(out / name / f"events-{rank}.json")
        assert re.fullmatch(f"({step}(exchange )+){{3}}", "".join(f"{event} " for event in events)), events


def test_checkpoint_of_a_sharded_run_is_continued_by_one_process(out):
    checkpoints = out / "stopped" / "model.training"
    assert {path.name for path in checkpoints.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-3"}
    (checkpoints / "checkpoint-3").rename(out / "stopped" / "last")
    scale_worker.train("lora", scale_worker.SETTINGS, out, out / "stopped" / "model", Machine())
    assert differences(tensors(out / "stopped" / "model"), tensors(out / "alone" / "lora")) < 2e-5


def test_weights_are_learned_with_a_sharded_proxy(out, tmp_path):
    expected = scale_worker.rank_worker.learned(
        lambda seed=0: load_model(out / f"encoder-{seed}", device="cpu"), tmp_path, Machine(), {}
    )
    for rank in range(2):
        np.testing.assert_allclose(np.load(out / f"alpha-{rank}.npy"), expected, atol=1e-6)


def test_two_ranks_evaluate_to_the_same_files(out, monkeypatch):
    """Every byte of what `tdro evaluate --on` writes: values by query, run files, leaks."""
    monkeypatch.setenv("TDRO_CACHE", str(out / "cache"))
    scale_worker.evaluated(out, "one")
    one, two = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (out / "evaluated" / "one", out / "evaluated" / "two")
    )
    assert one == two and len(one) > 20
    leaks = read_json(out / "evaluated" / "two" / "static-0" / "leaks.json")
    assert [(leak["test"], leak["leaked"], leak["queries"]) for leak in leaks["leaks"]] == [("unseen", 1, 10)]


# ---- the same seed


@pytest.mark.parametrize("kind", ["static", "lora"])
def test_same_seed_same_bytes(kind, tmp_path):
    if kind == "static":
        tiny.static_model().save_pretrained(str(tmp_path / "static"), create_model_card=False)
    else:
        tiny.decoder(tmp_path / "parts").save_pretrained(str(tmp_path / "lora"), create_model_card=False)
    found = []
    for number, seed in enumerate([1, 1, 2]):
        data = tiny.tokenized(scale_worker.load(kind, tmp_path), scale_worker.tasks())
        job = FinetuneJob("test", "uniform", np.full(2, 0.5), scale_worker.SETTINGS, seed)
        folder = tmp_path / str(number)
        finetune(lambda: scale_worker.load(kind, tmp_path, dropout=0.1), data, job, folder, Machine())
        found.append([path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))])
    assert found[0] == found[1]
    assert found[0] != found[2]


# ---- what cannot work says so


def plugin(**changes):
    return SimpleNamespace(
        fsdp_version=2, cpu_ram_efficient_loading=False, transformer_cls_names_to_wrap=None, **changes
    )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"fsdp_version": 1}, "set fsdp_version: 2"),
        ({"cpu_ram_efficient_loading": True}, "_ram_efficient_loading: false"),
    ],
)
def test_settings_of_fsdp_that_do_not_work(change, message, tmp_path):
    settings = plugin()
    vars(settings).update(change)
    state = SimpleNamespace(fsdp_plugin=settings, mixed_precision="no")
    with pytest.raises(UserError, match=message):
        sharded.set_up(state, tiny.decoder(tmp_path))


def test_a_static_model_is_not_sharded():
    with pytest.raises(UserError, match="static model"):
        sharded.set_up(SimpleNamespace(fsdp_plugin=plugin(), mixed_precision="no"), tiny.static_model())


def test_layers_are_found_and_gradients_added_up_in_float32(tmp_path):
    state = SimpleNamespace(fsdp_plugin=plugin(), mixed_precision="bf16")
    sharded.set_up(state, tiny.lora_decoder(tmp_path))
    assert state.fsdp_plugin.transformer_cls_names_to_wrap == ["LlamaDecoderLayer"]
    assert str(state.fsdp_plugin.mixed_precision_policy.reduce_dtype) == "torch.float32"


def test_a_machine_that_does_not_see_the_cache_of_rank_0(tmp_path, monkeypatch):
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    recipe = tiny_mixture.recipe(tmp_path)
    with pytest.raises(UserError, match="Set TDRO_CACHE to a folder that all machines see"):
        Workspace(recipe, tmp_path, Machine(rank=1, world=2)).models.base(recipe.base)


def test_a_batch_that_cannot_be_cut_into_equal_parts():
    model = tiny.static_model()
    data = tiny.tokenized(model, [tiny.task("a")])
    plan = scale_worker.HomogeneousPlan([20], 8, np.zeros(3, dtype=np.int64), 1)
    with pytest.raises(UserError, match="8 rows cannot be cut into 3 equal parts"):
        PlannedSteps(data, plan, 1, lambda *args: None, rank=0, world=3)


# ---- the command line, on one process, on shards, and on two machines


@pytest.mark.slow
def test_the_same_run_however_it_is_started(tmp_path):
    tiny.decoder(tmp_path / "llm")
    run = ["-m", "tdro", "run"]
    nodes = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d"]
    nodes.append(f"--rdzv_endpoint=localhost:{free_port()}")
    runs = {
        "alone": wait(start([sys.executable, *run], tmp_path, "alone")),
        "shards": wait(start(launcher("fsdp.yaml", *run), tmp_path, "shards")),
        "machines": wait(*(start([*nodes, *run], tmp_path, "machines", f"machine-{number}") for number in range(2))),
        "shards on machines": wait(
            *(start([*nodes, *run], tmp_path, "shards-too", f"machine-{number}", **SHARDS) for number in range(2))
        ),
    }
    alone = runs.pop("alone")
    for name, folder in runs.items():
        found, expected = (read_json(path / "weights" / "weights.json")["weights"] for path in (folder, alone))
        assert found == pytest.approx(expected, abs=1e-5), name
        for model in ("reference", "models/main/uniform-seed1", "models/main/top-50-seed1"):
            assert differences(tensors(folder / model), tensors(alone / model)) < 1e-4, (name, model)
        assert (folder / "report.html").exists()


def start(command, tmp_path, name, log="log", **more):
    """Start a run of the recipe ``name`` with a new cache; returns the process and the run's folder."""
    folder = tmp_path / name
    base = {"kind": "decoder", "source": str(tmp_path / "llm"), "lora": {"r": 4, "dropout": 0.0}}
    recipe = tiny_mixture.recipe(folder, base=base)
    (folder / "recipe.yaml").write_text(recipe.to_yaml())
    more["TDRO_CACHE"] = str(folder / "cache")
    out = (folder / f"{log}.txt").open("w")
    command = [*command, str(folder / "recipe.yaml")]
    return subprocess.Popen(command, env=environment(**more), stdout=out, stderr=out), folder / "run"


def wait(*started):
    for process, folder in started:
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            end_with_stacks(process)
        logs = [path.read_text() for path in folder.parent.glob("*.txt")]
        assert process.returncode == 0, "".join(log[log.find("Traceback") :][:3000] for log in logs)
    return started[0][1]
