"""The scripts in examples/ run as they stand, offline and in seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from tdro import TaskWeights

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def run(folder: Path, script: str, *arguments: str) -> str:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TMPDIR": str(folder),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def code_lines(script: str) -> list[str]:
    source = (EXAMPLES / script).read_text(encoding="utf-8").split('"""', 2)[2]
    return [line for line in source.splitlines() if line.strip()]


def test_weights_in_your_script_with_a_model_and_a_weights_file(tmp_path: Path):
    tiny.static_model().save_pretrained(str(tmp_path / "base"))
    TaskWeights.from_dict({"questions": 0.5, "titles": 0.5, "code": 0.0}).save(tmp_path / "weights.json")
    out = run(tmp_path, "weights_in_your_script.py", "base", "weights.json")
    saved = Path(out.strip().splitlines()[-1].removeprefix("saved in "))
    assert (saved / "modules.json").is_file()


def test_weights_in_your_script_changes_three_lines():
    marked = [line for line in code_lines("weights_in_your_script.py") if "# tdro" in line]
    assert len(marked) == 3
    assert not [
        line for line in code_lines("weights_in_your_script.py") if "Weighted" in line and line not in marked
    ]


def test_plug_into_your_trainer_learns_where_the_headroom_is(tmp_path: Path):
    run(tmp_path, "plug_into_your_trainer.py")
    weights = TaskWeights.load(tmp_path / "weights.json").as_dict()
    assert weights["other"] > 1.5 * max(weights["same"], weights["noise"])
    assert len(code_lines("plug_into_your_trainer.py")) < 40


@pytest.mark.parametrize("script", ["weights_in_your_script.py", "plug_into_your_trainer.py"])
def test_every_script_says_what_it_shows(script: str):
    assert (EXAMPLES / script).read_text(encoding="utf-8").startswith('"""')
