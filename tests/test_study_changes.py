"""What a study can change of tasks and of weights: sizes, disturbed tasks, noise, exchanged tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
import tiny_mixture
from tdro.data.task import Mixture, TestSet
from tdro.errors import UserError
from tdro.files import read_json
from tdro.mixture_name import parse_mixture
from tdro.study.engine import Question, run_study
from tdro.study.schema import Study
from tdro.study.settings import make_setup
from tdro.study.task_changes import changed_mixture, disturbed_task
from tdro.study.weight_changes import changed_weights
from tdro.weights import TaskWeights

SIZES = (400, 200, 150, 120)


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    tasks = [tiny.task(f"task{number}", rows=rows, negatives=2) for number, rows in enumerate(SIZES)]
    return Mixture(tasks, [TestSet(f"task{number}", "folder", f"task{number}") for number in range(4)])


def changed(mixture: Mixture, **changes: Any) -> Mixture:
    return changed_mixture(mixture, {f"tasks.{key}": value for key, value in changes.items()}, seed=13)


@pytest.mark.parametrize(("exponent", "sizes"), [(0, [120] * 4), (1, [400, 200, 133, 100]), (2, [400, 100, 44, 25])])
def test_zipf_keeps_as_many_rows_as_the_law_allows(mixture: Mixture, exponent: int, sizes: list[int]) -> None:
    found = changed(mixture, zipf=exponent)
    assert found.sizes == sizes
    for task, own in zip(found.tasks, mixture.tasks, strict=True):
        assert set(task.rows["id"]) <= set(own.rows["id"]) and len(set(task.rows["id"])) == len(task)


def test_the_same_change_gives_the_same_rows(mixture: Mixture) -> None:
    one, other = changed(mixture, rows=0.5), changed(mixture, rows=0.5)
    assert one.sizes == [200, 100, 75, 60]
    assert [task.rows["id"] for task in one.tasks] == [task.rows["id"] for task in other.tasks]
    assert not one.tasks[0].fingerprint


def test_exchanged_positives_are_those_of_other_rows(mixture: Mixture) -> None:
    assert disturbed_task(mixture.tasks, {}) == "task1"
    own, found = mixture.tasks[1].rows, changed(mixture, exchanged=0.3).tasks[1].rows
    moved = [at for at, positives in enumerate(found["positives"]) if positives != own[at]["positives"]]
    assert 0.2 * len(own) <= len(moved) <= 0.3 * len(own)
    assert sorted(map(str, found["positives"])) == sorted(map(str, own["positives"]))
    assert found["query"] == own["query"]
    named = changed(mixture, exchanged=1.0, disturbed="task3")
    assert named.tasks[1].rows["positives"] == own["positives"]
    assert named.tasks[3].rows["positives"] != mixture.tasks[3].rows["positives"]


def test_solved_and_duplicated_tasks(mixture: Mixture) -> None:
    solved = changed(mixture, solved=True).tasks[1]
    assert [positives[0] for positives in solved.rows["positives"]] == solved.rows["query"]
    twice = changed(mixture, duplicated=True)
    assert twice.names == ["task0", "task1", "task2", "task3", "task1-copy"]
    assert twice.tasks[4].rows["query"] == twice.tasks[1].rows["query"]


def test_fewer_tasks_leave_test_sets_of_no_task(mixture: Mixture) -> None:
    half = changed(mixture, share=0.5)
    assert len(half.tasks) == 2
    assert [test.task for test in half.tests] == [name if name in half.names else "" for name in mixture.names]
    assert changed(mixture, count=4).names == mixture.names
    with pytest.raises(UserError, match="5 tasks are wanted, and there are 4"):
        changed(mixture, count=5)


def test_another_draw_takes_other_tasks(mixture: Mixture) -> None:
    draws = [tuple(changed(mixture, share=0.5, draw=draw).names) for draw in range(6)]
    assert len(set(draws)) > 1 and draws[0] == tuple(changed(mixture, share=0.5, draw=0).names)


def test_alike_tasks_have_words_in_common() -> None:
    def task(name: str, words: str) -> Any:
        rows = [{"id": "1", "query": words, "positives": [words], "negatives": []}]
        from datasets import Dataset

        return tiny.Task(name, Dataset.from_list(rows))

    tasks = [task("a", "red green"), task("b", "cat dog"), task("c", "red green blue"), task("d", "sun moon")]
    assert changed(Mixture(tasks), count=2, alike=True).names == ["a", "c"]
    assert set(changed(Mixture(tasks), count=3, alike=False).names) in ({"a", "b", "d"}, {"b", "c", "d"})


def test_a_disturbed_task_that_is_not_there_is_refused(mixture: Mixture) -> None:
    with pytest.raises(UserError, match=r"tasks.disturbed: no task 'task7'; did you mean 'task"):
        changed(mixture, solved=True, disturbed="task7")


# ---- weights

WEIGHTS = TaskWeights.from_dict({"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1})
TOP = parse_mixture("top-50")


def test_noise_is_log_normal_and_each_seed_has_its_own() -> None:
    one, again, other = (changed_weights(WEIGHTS, {"alpha.noise": 0.5}, TOP, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert changed_weights(WEIGHTS, {"alpha.noise": 0}, TOP, 1) == WEIGHTS
    many = TaskWeights.uniform(map(str, range(2000)))
    spread = np.log(changed_weights(many, {"alpha.noise": 0.5}, TOP, 1).values).std()
    assert spread == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_exchanged_tasks_leave_the_selection(count: int) -> None:
    found = changed_weights(WEIGHTS, {"alpha.exchanged": count}, TOP, seed=3)
    assert len(set(found.top(50).names) & {"a", "b"}) == 2 - count
    assert sorted(found.values) == sorted(WEIGHTS.values)


def test_more_tasks_than_there_are_cannot_be_exchanged() -> None:
    with pytest.raises(UserError, match="3 tasks cannot be exchanged; top-50 selects 2 of 4"):
        changed_weights(WEIGHTS, {"alpha.exchanged": 3}, TOP, seed=1)


def test_shuffled_weights_are_the_same_weights() -> None:
    found = [changed_weights(WEIGHTS, {"alpha.shuffled": True}, TOP, seed) for seed in range(8)]
    assert all(sorted(each.values) == sorted(WEIGHTS.values) for each in found)
    assert len({each.names[int(each.values.argmax())] for each in found}) > 1


# ---- in a study


def test_changed_data_are_written_once_and_studied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disturbed task, and weights that start from the rows of tasks cut to a Zipf law; no training by them."""
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    recipe = tiny_mixture.recipe(tmp_path)
    series = (
        {"name": "noise", "vary": {"tasks.exchanged": [0.5]}, "set": {"mixture": "top-50"}},
        {"name": "rows", "vary": {"weights.initial": ["uniform", "rows"]}, "set": {"tasks.zipf": 1}},
    )
    study = Study(series=series, seeds=0)  # type: ignore[arg-type]
    answer = run_study(Question("mine", study, recipe))
    root = tmp_path / "run-studies"
    assert len(list((root / "data").glob("*/mixture.json"))) == 2
    noise, uniform, rows = read_json(root / "mine" / "study.json")["points"]
    assert noise["disturbed"]["task"] == "task2" and noise["disturbed"]["measure"] > 0
    assert uniform["disturbed"] is None and uniform["weights"]["alpha"] != rows["weights"]["alpha"]
    assert "Nothing was compared" in answer.sentence


def test_weights_start_from_the_rows(tmp_path: Path) -> None:
    learning = make_setup(tiny_mixture.recipe(tmp_path), {"weights.initial": "rows"}).learning
    assert learning.weights.initial == "rows"
