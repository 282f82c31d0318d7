"""One whole run in miniature on real text with a real model: SmolLM2's first layers over four sample tasks."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from tdro.data.mixtures.folder import read_mixture
from tdro.data.mixtures.write import write_mixture
from tdro.data.task import Mixture, TestSet
from tdro.disk import cache_folder
from tdro.files import read_json, read_jsonl, write_atomic, write_jsonl
from tdro.models.embedder_check import check_embedder
from tdro.quickstart import build_sample
from tdro.recipe.schema import Recipe
from tdro.run import pipeline

pytestmark = pytest.mark.real

TASKS = ["cli_aws", "ui_ja_en", "ui_title2desc_en", "quotes_anime"]
TESTS = ["ui_title2desc_en", "ui_title2desc_es"]
TRAINING = {"steps": 2, "batch": 4, "temperature": 0.05, "learning_rate": 1e-4, "checkpoint_steps": 0}
SHORT = {"query_tokens": 24, "passage_tokens": 32}


def beginning_of_the_sample(folder: Path) -> Path:
    """A mixture of the first 60 rows of each task, and of the first 10 queries and 50 passages of each test set."""
    sample = read_mixture(build_sample(cache_folder() / "sample-mixture"), TASKS)
    tasks = [replace(task, rows=task.rows.select(range(60)), fingerprint="") for task in sample.tasks]
    tests = [beginning_of(test, folder / test.name) for test in sample.tests if test.name in TESTS]
    write_mixture(Mixture(tasks, tests), folder / "mixture")
    return folder / "mixture"


def beginning_of(test: TestSet, folder: Path) -> TestSet:
    for name, count in (("queries", 10), ("corpus", 50)):  # relevant passages stand first, in the queries' order
        write_jsonl(folder / f"{name}.jsonl", read_jsonl(Path(test.folder) / f"{name}.jsonl")[:count])
    with (Path(test.folder) / "qrels" / "test.tsv").open(encoding="utf-8") as lines:
        header = next(lines)
        kept = itertools.takewhile(lambda line: not line.startswith("q10\t"), lines)
        write_atomic(folder / "qrels" / "test.tsv", header + "".join(kept))
    return replace(test, folder=str(folder))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    content = {
        "name": "real",
        "folder": str(folder / "run"),
        "data": {"mixture": str(beginning_of_the_sample(folder)), "prompts": True, **SHORT},
        "negatives": {"per_row": 1},
        "base": {"kind": "decoder", "source": "smollm2", "layers": 2},
        "reference": TRAINING,
        "weights": {**TRAINING, "negatives": 1},
        "finetune": [{**TRAINING, "name": "smollm2", "mixtures": ["uniform", "top-70"]}],
    }
    pipeline.run_recipe(Recipe.model_validate(content))
    return folder / "run"


def test_it_runs_from_real_text_to_a_report(run: Path) -> None:
    steps = read_jsonl(run / "weights" / "steps.jsonl")
    assert len(steps) == 2 and all(abs(sum(step["alpha"]) - 1) < 1e-12 for step in steps)
    assert all(loss > 0 for step in steps for loss in step["proxy_loss"] + step["reference_loss"])
    comparison = read_json(run / "comparison" / "smollm2.json")
    assert [row["mixture"] for row in comparison["rows"]] == ["untrained", "bm25", "uniform", "top-70"]
    assert (run / "report.html").stat().st_size > 10_000


def test_the_base_is_the_first_layers_and_ends_in_eos(run: Path) -> None:
    configs = (cache_folder() / "bases").glob("*/config.json")
    (base,) = [path.parent for path in configs if read_json(path).get("hidden_size") == 576]
    model = SentenceTransformer(str(base), device="cpu")
    assert check_embedder(model) == []
    assert model.tokenizer.eos_token == "<|im_end|>" != model.tokenizer.pad_token
    assert model.transformers_model.config.num_hidden_layers == 2
    similarity = model.similarity(*(model.encode([text]) for text in ("how tall is it", "how tall is it?")))
    assert 0.5 < float(similarity) < 1.0


def test_the_models_are_plain_sentence_transformers_models(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "tdro"]:
        monkeypatch.setitem(sys.modules, name, None)  # whoever imports it now fails
    model = SentenceTransformer(str(run / "models" / "smollm2" / "top-70-seed1"), device="cpu")
    ids = model.preprocess(["a " * 500])["input_ids"][0]
    assert ids[-1] == model.tokenizer.eos_token_id
    assert model.encode(["hello"]).shape == (1, 576)
