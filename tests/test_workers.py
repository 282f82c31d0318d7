"""Worker processes: tasks are shared, a dead process loses one task, and what a task says arrives."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest

import tiny_mixture
from launch import fork, real_fork_server
from tdro.console import log_to
from tdro.errors import UserError
from tdro.files import read_json
from tdro.run.pipeline import run_recipe
from tdro.workers import Workers
from worker_tasks import Die, Say, Tell, Wait

# ---- a run, before the real server: the workers of this one know already what a run imports


def scores(folder: Path) -> dict[str, object]:
    return {str(path.relative_to(folder)): read_json(path)["mean"] for path in folder.glob("evaluation/main/*/*.json")}


def test_a_run_with_workers_gives_what_one_process_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    changes = {"finetune__seeds": [1, 2], "weights__stage1_rows": "cross_fit"}
    changes |= {"finetune__mixtures": ["uniform", "top-50", "gain"]}
    changes |= {"gain": {"rounds": 2, "trial_steps": 1, "held_out_rows": 2}}
    recipe = tiny_mixture.recipe(tmp_path, **changes)
    run_recipe(recipe)
    alone = recipe.folder.rename(tmp_path / "alone")
    capsys.readouterr()
    run_recipe(recipe, workers=2)
    said = capsys.readouterr().out
    assert "models/main/top-50-seed2: " in said and said.count("\ngain: ") == 1  # a worker has said it
    assert scores(recipe.folder) == scores(alone) and len(scores(alone)) == 5 * 8
    for file in ("negatives/task3.jsonl", "weights/alphas.json", "weights/gain/gain.json"):
        assert (recipe.folder / file).read_bytes() == (alone / file).read_bytes()
    for stage in ("reference", "reference-2", "models/main/top-50-seed2"):
        assert (recipe.folder / stage / "training.json").exists()
        assert not (recipe.folder / f"{stage}.training").exists()
    assert (recipe.folder / "models/main/top-50-seed2/README.md").exists()
    with pytest.raises(UserError, match="workers: 0; it must be at least 1"):
        run_recipe(recipe, workers=0)
    before = {path: path.stat().st_mtime_ns for path in recipe.folder.glob("models/**/*")}
    run_recipe(recipe, workers=2)
    assert capsys.readouterr().out.count("done before") == 2 + 2 + 6
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_worker_ends_when_the_run_that_started_it_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pid"

    def run() -> None:
        server = forkserver._forkserver  # type: ignore[attr-defined]
        server._forkserver_address = server._forkserver_fd = server._forkserver_pid = None  # it needs one of its own
        with Workers(1, "worker_tasks", tmp_path / "logs") as workers:
            list(workers.do([Wait("wait", file)]))

    child = fork(run, tmp_path / "output")
    wait_for(lambda: file.exists() and file.read_text())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    wait_for(lambda: not psutil.pid_exists(int(file.read_text())))


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


# ---- tasks, in processes that are started as users' are


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with real_fork_server(), Workers(2, "worker_tasks", tmp_path_factory.mktemp("logs")) as started:
        yield started


def test_every_task_is_done_and_asked_for_only_when_a_worker_is_free(workers: Workers) -> None:
    asked, results = [], {}

    def tasks() -> Iterator[Say]:
        for number in range(5):
            asked.append(number)
            assert len(asked) - len(results) <= workers.count
            yield Say(f"task {number}", number)

    for task, result in workers.do(tasks()):
        results[task.title] = result
    assert results == {f"task {number}": number * 2 for number in range(5)}


def test_what_a_worker_logs_is_in_this_process_s_log(
    workers: Workers, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("tdro"), "propagate", True)
    list(workers.do([Say("it")]))
    assert [(each.name, each.getMessage()) for each in caplog.records] == [("tdro.said", "it was here")]


def test_what_a_worker_says_is_printed_here_once(
    workers: Workers, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    list(workers.do([Tell(f"task {number}", "much is cut away") for number in range(3)]))
    list(workers.do([Tell("task 3", "kept as it was")]))
    assert capsys.readouterr().out == "much is cut away\nkept as it was\n"
    log_to(None, main=False)  # the next run begins, and says it anew
    list(workers.do([Tell("task 4", "much is cut away")]))
    assert capsys.readouterr().out == "much is cut away\n"


def test_an_error_names_its_task_once(workers: Workers) -> None:
    for said in ("no such file", "broken: no such file"):
        with pytest.raises(UserError, match=r"^broken: no such file$"):
            list(workers.do([Say("broken", error=UserError(said))]))
    with pytest.raises(RuntimeError, match=r"(?s)^broken: Traceback.*KeyError: 'a'"):
        list(workers.do([Say("broken", error=KeyError("a"))]))


def test_the_task_of_a_worker_that_dies_is_tried_again(workers: Workers, tmp_path: Path) -> None:
    done = workers.do([Die("twice", tmp_path / "died", times=2), Say("other")])
    assert sorted(result for _, result in done) == [0, 2]


def test_a_task_that_kills_every_worker_is_given_up(workers: Workers, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"always: its process died 3 times \(signal SIGKILL\)"):
        list(workers.do([Die("always", tmp_path / "died", times=9)]))
