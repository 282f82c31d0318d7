"""Weights as settings of other trainers: what those trainers would read by them."""

import json
import runpy
import shlex
import subprocess
import sys
from collections import Counter

import pytest
from datasets import Dataset, interleave_datasets

import tiny
from launch import run_in_fork
from tdro.cli import main
from tdro.other_trainers import SETTINGS, flag_embedding, ms_swift, sentence_transformers
from tdro.weights import TaskWeights

SIZES = {"news": 300, "it's code": 30, "faq": 80, "left out": 50}
WEIGHTS = TaskWeights.from_dict({"news": 0.5, "it's code": 0.3, "faq": 0.2, "left out": 0.0})


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, rows in SIZES.items():
        lines = [json.dumps({"anchor": f"{name} {i}", "positive": f"{name} answer {i}"}) for i in range(rows)]
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def test_ms_swift_draws_by_the_weights():
    words = shlex.split(ms_swift(WEIGHTS, {}, None).replace("\\\n", " "), comments=True)
    names = words[words.index("--dataset") + 1 : words.index("--interleave_prob")]
    shares = [float(word) for word in words[words.index("--interleave_prob") + 1 : words.index("--stopping_strategy")]]
    assert dict(zip(names, shares, strict=True)) == {"news.jsonl": 0.5, "it's code.jsonl": 0.3, "faq.jsonl": 0.2}
    parts = [Dataset.from_dict({"task": [name] * 2000}) for name in names]
    drawn = Counter(interleave_datasets(parts, shares, seed=1, stopping_strategy=words[-1])["task"])  # as ms-swift does
    assert abs(drawn["news.jsonl"] / sum(drawn.values()) - 0.5) < 0.02


def test_flag_embeddings_files_have_the_sizes_of_the_weights(files):
    made = []
    for _ in range(2):
        subprocess.run(["bash", "-c", flag_embedding(WEIGHTS, SIZES, 200)], check=True)
        made.append({file.stem: file.read_text().splitlines() for file in (files / "mixed").iterdir()})
    assert made[0] == made[1], "the same rows each time"
    assert {name: len(rows) for name, rows in made[0].items()} == {"news": 100, "it's code": 60, "faq": 40}
    assert len(set(made[0]["news"])) == 100
    assert set(Counter(made[0]["it's code"]).values()) == {2}


def test_the_script_for_sentence_transformers_runs(files):
    tiny.static_model().save_pretrained(str(files / "model"))
    (files / "train.py").write_text(sentence_transformers(WEIGHTS, SIZES, 640))

    def script():
        sys.argv = ["train.py", "model", "out"]
        runpy.run_path("train.py", run_name="__main__")

    done = run_in_fork(script, files / "output")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (files / "out" / "modules.json").is_file()


@pytest.mark.parametrize("trainer", SETTINGS)
def test_the_command_prints_settings_of_a_mixture(trainer, files, capsys):
    WEIGHTS.save("w.json")
    TaskWeights.from_dict(dict(WEIGHTS), {"size": SIZES}).save("sized.json")
    assert main(["weights", "sized.json", "--for", trainer, "--mixture", "top-50^0.5"]) == 0
    printed = capsys.readouterr().out
    assert "news" in printed and "it's code" in printed.replace("'\"'\"'", "'") and "faq" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "7"], "--rows: is only for --for"),
        (["--for", "flagembedding"], "the rows of task 'news' are not known"),
        (["--mixture", "top50"], "did you mean 'top-50'?"),
        (["--mixture", "proportional"], "its size must be known"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message, files, capsys):
    WEIGHTS.save("w.json")
    assert main(["weights", "w.json", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_task_without_a_row_is_refused(files, capsys):
    TaskWeights.from_dict({"news": 0.999, "faq": 0.001}, {"size": SIZES}).save("w.json")
    assert main(["weights", "w.json", "--for", "flagembedding", "--rows", "50"]) == 2
    assert "task 'faq' would get no row" in capsys.readouterr().err
