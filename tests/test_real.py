"""One whole run in miniature on real text with a real model: SmolLM2's first layers over four sample tasks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tdro import pipeline
from tdro.files import read_json, read_jsonl
from tdro.recipe import Recipe

pytestmark = pytest.mark.real

TASKS = ["cli_aws", "ui_ja_en", "ui_title2desc_en", "quotes_anime"]
TRAINING = {"steps": 4, "batch": 16, "temperature": 0.05, "learning_rate": 1e-4, "checkpoint_steps": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real") / "run"
    content = {
        "name": "real",
        "folder": str(folder),
        "data": {"tasks": TASKS, "tests": ["ui_title2desc_en", "ui_title2desc_es"], "prompts": True},
        "negatives": {"per_row": 2},
        "base": {"kind": "decoder", "source": "smollm2", "layers": 2},
        "reference": TRAINING,
        "weights": {**TRAINING, "negatives": 2},
        "finetune": [{**TRAINING, "name": "smollm2", "mixtures": ["uniform", "top-70"]}],
    }
    pipeline.run(Recipe.model_validate(content))
    return folder


def test_it_runs_from_real_text_to_a_report(run: Path) -> None:
    steps = read_jsonl(run / "weights" / "steps.jsonl")
    assert len(steps) == 4 and all(abs(sum(step["alpha"]) - 1) < 1e-12 for step in steps)
    assert all(loss > 0 for step in steps for loss in step["proxy_loss"] + step["reference_loss"])
    comparison = read_json(run / "comparison" / "smollm2.json")
    assert [row["mixture"] for row in comparison["rows"]] == ["untrained", "bm25", "uniform", "top-70"]
    assert (run / "report.html").stat().st_size > 10_000


def test_the_models_are_plain_sentence_transformers_models(run: Path) -> None:
    script = (
        "import sys; sys.modules['tdro'] = None\n"
        "from sentence_transformers import SentenceTransformer\n"
        f"model = SentenceTransformer({str(run / 'models' / 'smollm2' / 'top-70-seed1')!r}, device='cpu')\n"
        "ids = model.preprocess(['a ' * 500])['input_ids'][0]\n"
        "assert ids[-1] == model.tokenizer.eos_token_id, ids\n"
        "print(model.encode(['hello']).shape)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "(1, 576)" in result.stdout
