"""What goes wrong in practice is named while it happens, with what to do: each provoked by a real, tiny training."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

import tiny
import tiny_mixture
from tdro.data.task import Task
from tdro.evaluation.compare.lost_in_transfer import lost_in_transfer
from tdro.files import read_json, write_json, write_jsonl
from tdro.run import pipeline


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDRO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def warnings(folder: Path, **weights: Any) -> list[str]:
    """The warnings of a stage 1 with these settings, as its ``health.json`` has them."""
    settings = {f"weights__{key}": value for key, value in weights.items()}
    pipeline.run_recipe(tiny_mixture.recipe(folder, **settings), ["reference", "learn"])
    found: list[str] = read_json(folder / "run" / "weights" / "health.json")["warnings"]
    return found


def test_weights_that_all_run_to_one_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A step size that is far too large."""
    said = warnings(tmp_path, eta=3.0, steps=8)
    (collapse,) = [line for line in said if "effective tasks of 4" in line]
    assert "select with top-70 instead" in collapse
    one = next(line for line in said if "goes on to one" in line)
    assert "smaller eta" in one
    printed = capsys.readouterr()
    assert collapse in printed.out + printed.err


def test_weights_that_swing(tmp_path: Path) -> None:
    """Two rows of a task a step, and a large step size: at each step another task is ahead."""
    said = warnings(tmp_path, eta=1.0, steps=40, learning_rate=0.05, measure="raw")
    (swing,) = [line for line in said if "swing" in line]
    assert "read more rows a step" in swing and "smaller eta" in swing


def test_weights_that_settle_do_not_swing(tmp_path: Path) -> None:
    assert not [line for line in warnings(tmp_path, eta=0.02, steps=60) if "swing" in line or "effective" in line]


def translations(number: int, rows: int) -> Task:
    """A task of 10 words of its own; the positive has the words that stand 5 places on, so it must be learned."""
    draw, words = random.Random(f"{number} {rows}"), tiny.WORDS[10 * number : 10 * number + 10]
    places = [draw.sample(range(10), 3) for _ in range(rows)]
    queries = [" ".join(words[at] for at in each) for each in places]
    answers = [" ".join(words[(at + 5) % 10] for at in each) for each in places]
    made = [
        {"id": str(at), "query": query, "positives": [answer], "negatives": []}
        for at, (query, answer) in enumerate(zip(queries, answers, strict=True))
    ]
    return Task(f"task{number}", Dataset.from_list(made))


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose weights are nearly all on one task of four, while it is tested on all of them."""
    folder = tmp_path_factory.mktemp("lost")
    weights = {"task0": 0.997, "task1": 0.001, "task2": 0.001, "task3": 0.001}
    write_json(folder / "one.json", weights)
    tiny_mixture.mixture(folder / "mixture")
    for number in range(4):
        write_jsonl(folder / "mixture" / "train" / f"task{number}.jsonl", translations(number, 60).rows)
        tiny_mixture.write_beir(folder / "mixture" / "tests" / f"task{number}", translations(number, 30))
    changes = {"mixtures": ["uniform", "reweight"], "seeds": [1, 2], "steps": 40, "batch": 16, "learning_rate": 0.05}
    changed = {f"finetune__{key}": value for key, value in changes.items()}
    pipeline.run_recipe(tiny_mixture.recipe(folder, weights__load=str(folder / "one.json"), **changed))
    return folder / "run"


def test_a_loss_after_the_transfer(lost: Path) -> None:
    comparison = read_json(lost / "comparison" / "main.json")
    (line,) = lost_in_transfer(comparison)
    assert line.startswith("reweight is behind uniform by ") and ", most on 'task" in line
    assert "Train it by uniform" in line and "tdro study proxy" in line
    assert f"warning: {line}" in (lost / "run.log").read_text()
    assert "reweight is behind uniform by" in (lost / "report.html").read_text()


def test_a_gain_and_a_loss_that_seeds_could_turn_are_not_named(lost: Path) -> None:
    comparison = read_json(lost / "comparison" / "main.json")
    row = next(row for row in comparison["rows"] if row["mixture"] == "reweight")
    difference = row["versus"]["ndcg@10"]["all"]
    kept = dict(difference)
    difference["with_seeds"] = {"low": -0.1, "high": 0.01}
    assert lost_in_transfer(comparison) == []
    difference |= {"with_seeds": None, "one_seed": True}
    assert "points, with one seed, most" in lost_in_transfer(comparison)[0]
    difference |= {key: -kept[other] for key, other in (("difference", "difference"), ("low", "high"), ("high", "low"))}
    assert lost_in_transfer(comparison) == []
    difference |= kept
    assert lost_in_transfer({**comparison, "rows": [{**row, "mixture": "bottom-50"}]}) == []
