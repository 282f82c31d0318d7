"""The scripts in examples/ run as they stand, offline and in seconds."""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
import tempfile
from pathlib import Path

import pytest

import tiny
from tdro import TaskWeights

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
WEIGHTS, PLUG = "weights_in_your_script.py", "plug_into_your_trainer.py"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Both scripts as they are run, but for the imports, which are here already: {script: (its folder, its output)}."""
    done = {}
    for script, arguments in {WEIGHTS: ["base", "weights.json"], PLUG: []}.items():
        folder = tmp_path_factory.mktemp("example")
        if script == WEIGHTS:
            tiny.static_model().save_pretrained(str(folder / "base"))
            TaskWeights.from_dict({"questions": 0.5, "titles": 0.5, "code": 0.0}).save(folder / "weights.json")
        printed = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
            patch.chdir(folder)
            patch.setattr(sys, "argv", [script, *arguments])
            patch.setattr(tempfile, "tempdir", str(folder))
            runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        done[script] = folder, printed.getvalue()
    return done


def code_lines(script: str) -> list[str]:
    source = (EXAMPLES / script).read_text(encoding="utf-8").split('"""', 2)[2]
    return [line for line in source.splitlines() if line.strip()]


def test_weights_in_your_script_with_a_model_and_a_weights_file(runs: dict[str, tuple[Path, str]]):
    saved = Path(runs[WEIGHTS][1].strip().splitlines()[-1].removeprefix("saved in "))
    assert (saved / "modules.json").is_file()


def test_weights_in_your_script_changes_three_lines():
    marked = [line for line in code_lines(WEIGHTS) if "# tdro" in line]
    assert len(marked) == 3
    assert not [line for line in code_lines(WEIGHTS) if "Weighted" in line and line not in marked]


def test_plug_into_your_trainer_learns_where_the_headroom_is(runs: dict[str, tuple[Path, str]]):
    weights = TaskWeights.load(runs[PLUG][0] / "weights.json").as_dict()
    assert weights["other"] > 1.5 * max(weights["same"], weights["noise"])
    assert len(code_lines(PLUG)) < 40


@pytest.mark.parametrize("script", [WEIGHTS, PLUG])
def test_every_script_says_what_it_shows(script: str):
    assert (EXAMPLES / script).read_text(encoding="utf-8").startswith('"""')
