"""The paper's recipes: all of them load without a network, and one runs whole on a miniature of the same shape."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

import messy
import tiny
from tdro.files import read_json, read_jsonl
from tdro.recipe.builtin import built_in, built_in_file, find
from tdro.recipe.schema import Recipe, load_recipe
from tdro.run import pipeline
from tdro.weights import TaskWeights

FIGURES = json.loads((built_in_file("quickstart").parent / "paper_weights.json").read_text(encoding="utf-8"))
TASKS = list(FIGURES["domain_ids"])
PAPER = [name for name in built_in() if name.startswith("paper-")]
MODELS = {
    "paper-qwen1.5-0.5b": "Qwen/Qwen1.5-0.5B",
    "paper-qwen1.5-1.8b": "Qwen/Qwen1.5-1.8B",
    "paper-qwen1.5-4b": "Qwen/Qwen1.5-4B",
    "paper-qwen1.5-7b": "Qwen/Qwen1.5-7B",
    "paper-mistral-7b": "mistralai/Mistral-7B-v0.1",
    "paper-llama-3-8b": "meta-llama/Meta-Llama-3-8B",
}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("the network was asked"))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(("name", "model"), MODELS.items())
def test_every_setting_is_the_papers(name: str, model: str) -> None:
    recipe = load_recipe(find(name))
    data, (group,) = recipe.data, recipe.finetune
    assert (recipe.seed, recipe.precision, recipe.base.source, recipe.base.layers) == (42, "bf16", model, None)
    assert (data.mixture, data.query_tokens, data.passage_tokens, data.prompts) == (None, 128, 512, True)
    assert recipe.negatives.mine == "none"
    assert recipe.base.gradient_checkpointing and group.gradient_caching
    trainings: list[Any] = [group] if recipe.weights.load else [group, recipe.reference, recipe.weights]
    for training in trainings:
        assert (training.steps, training.batch, training.temperature) == (1000, 2048, 0.002)
        assert (training.learning_rate, training.schedule, training.warmup) == (1e-4, "cosine", 100)
        assert (training.floor, training.weight_decay) == (0.1, 0.1)
    assert (group.negatives, group.draw, group.seeds, group.max_epochs) == (1, "random", (42,), None)
    assert {"uniform", "top-70"} <= set(group.mixtures)


def test_the_smallest_model_learns_the_weights_and_the_others_take_them() -> None:
    assert sorted(MODELS) == sorted(PAPER)
    for name in PAPER:
        recipe = load_recipe(find(name))
        if name == "paper-qwen1.5-0.5b":
            weights = recipe.weights
            assert (weights.load, weights.eta_value, weights.max_norm, weights.negatives) == (None, 0.02, 1.0, 7)
            assert (weights.measure, weights.offset, weights.stage1_rows) == ("relative", 0.0, "all")
            assert (weights.averaged_steps(25), weights.sampling) == (1, "random")
            assert (recipe.base.lora, recipe.reference.negatives) == (None, 1)
        else:
            assert recipe.weights.load == "paper"
            assert (recipe.base.lora.r, recipe.base.lora.alpha, recipe.base.lora.dropout) == (8, 32.0, 0.1)


def test_the_25_data_sets() -> None:
    sources = load_recipe(find("paper-llama-3-8b")).data.sources
    assert list(sources) == TASKS and len(TASKS) == 25
    TaskWeights.paper().on(list(sources))  # raises where a name is not among the released weights
    for name, source in sources.items():
        assert source.source == f"hf://datasets/tdro-llm/finetune_data/{name}.jsonl.tar.gz"
        assert source.instruction and source.in_batch_negatives and source.limit is None
        assert not source.instruction.endswith(".")
    assert len({source.instruction for source in sources.values()}) == 25
    assert [name for name, source in sources.items() if source.symmetric] == [
        *("AllNLI", "altlex", "quora_duplicates_triplets", "SimpleWiki"),
        "stackexchange_duplicate_questions_title-body_title-body",
    ]


# ---- the miniature


def miniature(folder: Path) -> dict[str, str]:
    """Each data set as an archive of a few rows in the released schema, with null titles; by name."""
    folder.mkdir()
    sources = {}
    for number, name in enumerate(TASKS):
        task = tiny.task(name, rows=12 + number, negatives=1 if name == "AllNLI" else 7)
        lines = messy.lines([messy.released(row) for row in task.rows])
        sources[name] = str(messy.archive(folder / f"{name}.jsonl.tar.gz", lines, f"dedup/{name}.jsonl"))
    return sources


def shrunk(name: str, folder: Path) -> Recipe:
    """A paper's recipe whose data, model and numbers are tiny; nothing else is changed."""
    content = yaml.safe_load(load_recipe(find(name)).to_yaml())
    for task, path in miniature(folder / "data").items():
        content["data"]["sources"][task]["source"] = path
    test = messy.beir(folder / "beir", [dict(row) for row in tiny.task("nq", rows=6, seed=1).rows], split="test")
    content["data"] |= {"query_tokens": 24, "passage_tokens": 24}
    content["data"]["test_sets"] = {"nq": {"folder": str(test), "task": "nq"}}
    tiny.decoder(folder / "causal")
    content["base"]["source"] = str(folder / "causal")
    small = {"steps": 2, "batch": 25, "warmup_steps": 1, "chunk_rows": 16, "temperature": 0.05, "checkpoint_steps": 0}
    for training in (content["reference"], content["weights"], *content["finetune"]):
        training |= small
    content |= {"folder": str(folder / "run"), "precision": "fp32", "device": "cpu"}
    content["finetune"][0]["mixtures"] = ["top-70"]
    content["evaluate"] = {"permutations": 10, "bootstrap": 10}
    (folder / "r.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return load_recipe(folder / "r.yaml")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["paper-qwen1.5-0.5b", "paper-mistral-7b"])
def test_a_miniature_of_the_same_shape_runs_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    recipe = shrunk(name, tmp_path)
    pipeline.run_recipe(recipe)
    run, group = tmp_path / "run", recipe.finetune[0].name
    tasks = read_json(run / "run.json")["tasks"]
    assert [task["name"] for task in tasks] == TASKS
    assert [task["rows"] for task in tasks] == list(range(12, 37))
    weights = TaskWeights.load(run / "weights" / "weights.json")
    assert list(weights.names) == TASKS
    if recipe.weights.load is None:
        assert [step["step"] for step in read_jsonl(run / "weights" / "steps.jsonl")] == [0, 1]
    else:
        assert weights.as_dict() == TaskWeights.paper().as_dict()
    drawn = read_json(run / "models" / group / "top-70-seed42" / "training.json")["rows_drawn"]
    assert {task for task, rows in drawn.items() if rows} <= set(weights.top(70).names)
    assert read_json(run / "evaluation" / group / "top-70-seed42" / "nq.json")["mean"]["ndcg@10"] >= 0
    assert (run / "report.html").exists()
