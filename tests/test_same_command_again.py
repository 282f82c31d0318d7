"""Every command that writes, called again: it makes nothing and changes no byte. Stopped anywhere and called again, it
ends in the same bytes as if it had never been stopped.

Sources, a mixture folder and the sample; negatives mined by BM25, by a model or not at all, for rows that have enough,
some or none; prompts on and off: each pair of two of these comes up at least once.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import again
import tiny
from launch import in_fork
from tdro import cli
from tdro.data.mixtures import write as write_mixture
from tdro.data.quality import dedup_files
from tdro.dro.stage_one import learn, stage
from tdro.evaluation import evaluate_models
from tdro.evaluation.scoring import evaluate
from tdro.files import read_json
from tdro.mining import mine_files, mine_mixture
from tdro.run import compare_models, describe_data, in_workers, pipeline, stages, training_data, workspace
from tdro.run import folder as run_folder
from tdro.training import finetune as train
from tdro.training.ahead import AheadOfTraining

STAGES = ("reference", "learn", "finetune", "evaluate", "report")
CASES = [  # data, mining, rows' negatives, prompts
    ("sources", "bm25", "enough", False),
    ("sources", "dense", "some", True),
    ("sources", "none", "enough", True),
    ("mixture", "bm25", "some", True),
    ("mixture", "dense", "none", False),
    ("mixture", "none", "enough", False),
    ("sample", "bm25", "none", True),
    ("sample", "dense", "enough", False),
    ("sample", "none", "some", False),
]


@pytest.fixture(autouse=True)
def no_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are written to files; here every training takes none."""
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    for module in (learn, run_folder, train, pipeline, compare_models):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 0.0))


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str, str, bool]) -> str:
    data, by, rows, prompts = case
    again.write_data(folder, rows)
    monkeypatch.setattr(training_data, "build_sample", lambda _: folder)
    return str(again.recipe(folder, data, by, prompts))


def nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        *(
            (stages, "finetune"),
            (stages, "learn_weights"),
            (training_data, "mine_mixture"),
            (training_data, "kept_index"),
        ),
        *((workspace, "kept_tokens"), (evaluate, "search_all"), (describe_data, "describe")),
    ):
        monkeypatch.setattr(module, name, lambda *_, name=name, **__: pytest.fail(f"{name}: made again"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_a_run_and_each_of_its_stages(case: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = prepare(tmp_path, monkeypatch, case)
    assert cli.main(["run", recipe]) == 0
    before = again.state(tmp_path / "run")
    assert not [name for name in before if name.endswith((".training", ".tmp", ".removed"))]
    nothing_is_made(monkeypatch)
    first = CASES.index(case)
    for command in ("run", STAGES[first % 5], STAGES[(first + 2) % 5]):  # each stage in three or four of the cases
        assert cli.main([command, recipe]) == 0, command
        assert again.state(tmp_path / "run") == before, command


@pytest.mark.parametrize("data", ["sources", "mixture", "sample"])
def test_rows_without_negatives_are_refused_before_work_where_none_are_mined(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = prepare(tmp_path, monkeypatch, (data, "none", "none", False))
    nothing_is_made(monkeypatch)
    assert cli.main(["run", recipe]) == 2
    assert "task 'task0': 8 of 8 rows have no hard negative" in capsys.readouterr().err


class Stopper:
    """Ctrl-C at each of some seams, one after the other: before it is called first, and when it has returned; and again
    at its second call in ``TWICE``."""

    TWICE = ("finetune", "write_ranking")

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seams: list[tuple[Any, str]]) -> None:
        self.stopped: set[tuple[str, int, str]] = set()
        self.calls: dict[str, int] = {}
        for owner, name in seams:
            monkeypatch.setattr(owner, name, self._wrapped(getattr(owner, name), name))

    def _wrapped(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            number = self.calls[name] = self.calls.get(name, 0) + 1
            self._stop(name, number, "before")
            result = real(*args, **kwargs)
            self._stop(name, number, "after")
            return result

        return call

    def _stop(self, *seam: Any) -> None:
        name, number, _ = seam
        if seam not in self.stopped and number <= 1 + (name in self.TWICE):
            self.stopped.add(seam)
            raise KeyboardInterrupt

    def run(self, *command: str) -> int:
        """Call a command until it ends; how many times it was stopped."""
        stops = 0
        while True:
            self.calls.clear()
            status = cli.main(list(command))
            if status != 130:
                assert status == 0
                return stops
            stops += 1


SEAMS: list[tuple[Any, str]] = [
    *(
        (training_data, "mine_mixture"),
        (mine_mixture, "mine_task"),
        (mine_mixture, "write_json"),
        (training_data, "kept_index"),
    ),
    *((workspace, "kept_tokens"), (stages, "finetune"), (train, "save_model"), (stage, "score_plan")),
    *((stage, "learn"), (stages, "learn_weights"), (in_workers, "evaluate_all"), (evaluate, "write_ranking")),
    *(
        (compare_models, "evaluate_bm25"),
        (compare_models, "compare"),
        (compare_models, "write_card"),
        (compare_models, "find_leaks"),
    ),
    (pipeline, "write_report"),
]


def test_a_run_stopped_at_every_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = prepare(tmp_path, monkeypatch, CASES[1])
    assert cli.main(["run", recipe]) == 0
    whole = again.state(tmp_path / "run", times=False)
    shutil.rmtree(tmp_path / "run")
    stopper = Stopper(monkeypatch, SEAMS)
    stops = stopper.run("run", recipe)
    assert {name for name, _, _ in stopper.stopped} == {name for _, name in SEAMS} and stops >= 2 * len(SEAMS)
    assert again.state(tmp_path / "run", times=False) == whole


def test_trainings_stopped_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = prepare(tmp_path, monkeypatch, CASES[0])
    assert cli.main(["run", recipe]) == 0
    whole = again.state(tmp_path / "run", times=False)
    shutil.rmtree(tmp_path / "run")
    stopped: set[tuple[str, int]] = set()
    read = AheadOfTraining.__getitem__

    def stop(steps: AheadOfTraining, step: int) -> Any:
        seam = str(steps._items.plan), step
        if step and seam not in stopped and len(stopped) < 5:  # both of the reference's and stage 1's, one of stage 2's
            stopped.add(seam)
            raise KeyboardInterrupt
        return read(steps, step)

    monkeypatch.setattr(AheadOfTraining, "__getitem__", stop)
    while (status := cli.main(["run", recipe])) == 130:
        pass
    assert status == 0 and len(stopped) == 5
    assert again.state(tmp_path / "run", times=False) == whole


def test_a_run_killed_between_a_model_and_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that have enough negatives, SIGKILL in stage 2, the same command: it goes on."""
    recipe = prepare(tmp_path, monkeypatch, CASES[0])
    real = stages.finetune

    def killed(load: Any, data: Any, job: Any, *rest: Any) -> None:
        real(load, data, job, *rest)
        if job.title.startswith("main"):
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "finetune", killed)
        assert in_fork(lambda: cli.main(["run", recipe]), tmp_path / "output") == -signal.SIGKILL
    names = [stage["name"] for stage in read_json(tmp_path / "run" / "run.json")["stages"]]
    assert names == ["reference", "weights"] and (tmp_path / "run/models/main/uniform-seed1/modules.json").exists()
    with monkeypatch.context() as patch:
        patch.setattr(stages, "learn_weights", lambda *_: pytest.fail("learned again"))
        assert cli.main(["run", recipe]) == 0
    assert not [name for name in again.state(tmp_path / "run") if name.endswith((".training", ".tmp", ".removed"))]


# --- the commands on data


def test_data_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = prepare(tmp_path, monkeypatch, CASES[0])
    assert cli.main(["data", "build", recipe]) == 0
    before, said = again.state(tmp_path / "cache" / "tasks"), capsys.readouterr().out
    assert cli.main(["data", "build", recipe]) == 0
    assert again.state(tmp_path / "cache" / "tasks") == before and capsys.readouterr().out == said


@pytest.fixture
def inputs(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """The input of a command on data: files, a recipe's sources, or a mixture."""
    data, rows = request.param
    again.write_data(tmp_path, rows)
    files = [str(tmp_path / "train" / f"task{n}.jsonl") for n in range(2)]
    recipe = str(again.recipe(tmp_path, "sources", "none", prompts=False))
    yield {"files": files, "recipe": [recipe], "mixture": [str(tmp_path)]}[data]


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (("files", "enough"), ["--by", "bm25"]),
        (("files", "none"), ["--by", "dense", "--prompts"]),
        (("recipe", "some"), ["--by", "bm25", "--random"]),
        (("recipe", "none"), ["--by", "bm25"]),
        (("mixture", "some"), ["--by", "dense"]),
        (("mixture", "none"), ["--by", "both", "--prompts"]),
        (("mixture", "enough"), ["--by", "dense"]),
    ],
    indirect=["inputs"],
    ids=str,
)
def test_data_mine(
    inputs: list[str],
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out" / "mined"
    command = ["data", "mine", *inputs, *options, "--per-row", "2", "--out", str(out)]
    if "bm25" not in options:
        tiny.static_model().save(str(tmp_path / "miner"))
        command += ["--model", str(tmp_path / "miner")]
    with monkeypatch.context() as patch:
        seams = [
            (mine_files, "mine_mixture"),
            (mine_mixture, "mine_task"),
            (mine_mixture, "write_json"),
            (mine_files, "write_mixture"),
        ]
        stops = Stopper(patch, [*seams, (write_mixture, "write_json")]).run(*command)
    assert stops >= 6
    capsys.readouterr()
    before = again.state(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(mine_files, "mine_mixture", lambda *_, **__: pytest.fail("mined again"))
        assert cli.main(command) == 0
        assert capsys.readouterr().out.splitlines() == ["done before", str(out)]
        assert cli.main([*command, "--samples", "1"]) == 2
        assert "is there already" in capsys.readouterr().err
        assert again.state(tmp_path / "out") == before
    shutil.rmtree(out)
    assert cli.main(command) == 0
    assert again.state(out, times=False) == {
        name.removeprefix("mined/"): (content, 0) for name, (content, _) in before.items() if name != "mined"
    }
    (out / "train" / "task0.jsonl").write_text("changed by hand\n")
    assert cli.main(command) == 2
    assert "was changed since it was written" in capsys.readouterr().err
    assert cli.main([*command, "--force"]) == 0


@pytest.mark.parametrize("inputs", [("files", "none"), ("recipe", "some"), ("mixture", "enough")], indirect=True)
@pytest.mark.parametrize("audited", [False, True])
def test_data_dedup(
    inputs: list[str],
    audited: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out" / "left"
    command = ["data", "dedup", *inputs, "--against", str(tmp_path / "tests" / "task0"), "--within", "--out", str(out)]
    command += ["--audit", str(tmp_path / "out" / "audit.jsonl")] if audited else []
    with monkeypatch.context() as patch:
        Stopper(patch, [(dedup_files, "deduplicate"), (dedup_files, "write_mixture")]).run(*command)
    before = again.state(tmp_path / "out")
    assert cli.main(command) == 0
    assert again.state(tmp_path / "out") == before
    assert cli.main([*command, "--across"]) == 2
    assert "is there already" in capsys.readouterr().err and again.state(tmp_path / "out") == before


def test_an_audit_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again.write_data(tmp_path, "none")
    audit = tmp_path / "audit.jsonl"
    command = ["data", "dedup", str(tmp_path), "--within", "--audit", str(audit)]
    for _ in range(2):
        assert cli.main(command) == 0
    audit.write_text("mine")
    assert cli.main(command) == 2
    assert "is there already" in capsys.readouterr().err and audit.read_text() == "mine"


def test_evaluate_on_and_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again.write_data(tmp_path, "none")
    for seed in (0, 1):
        tiny.static_model(seed=seed).save(str(tmp_path / "models" / f"model{seed}"))
    models = [str(tmp_path / "models" / f"model{seed}") for seed in (0, 1)]
    on = ["evaluate", *models, "bm25", "--on", str(tmp_path / "tests" / "task0"), "--out", str(tmp_path / "out")]
    assert cli.main(on) == 0
    whole = again.state(tmp_path / "out", times=False)
    shutil.rmtree(tmp_path / "out")
    with monkeypatch.context() as patch:
        seams = [(evaluate_models, "evaluate_all"), (evaluate, "write_ranking"), (evaluate_models, "evaluate_bm25")]
        assert Stopper(patch, [*seams, (evaluate_models, "find_model_leaks")]).run(*on) >= 8
    assert again.state(tmp_path / "out", times=False) == whole
    before = again.state(tmp_path / "out")
    monkeypatch.setattr(evaluate, "search_all", lambda *_, **__: pytest.fail("evaluated again"))
    assert cli.main(on) == 0
    assert again.state(tmp_path / "out") == before
    file = tmp_path / "compared.json"
    for _ in range(2):
        assert cli.main(["compare", str(tmp_path / "out"), "--out", str(file)]) == 0
    told, written = file.read_bytes(), file.stat().st_mtime_ns
    assert cli.main(["compare", str(tmp_path / "out"), "--out", str(file)]) == 0
    assert file.read_bytes() == told and file.stat().st_mtime_ns == written
    assert cli.main(["compare", str(tmp_path / "out"), "--measure", "mrr@10", "--out", str(file)]) == 2
    assert file.read_bytes() == told
