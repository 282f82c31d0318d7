"""Building: a source becomes memory-mapped rows once, in constant memory, and goes on after a kill."""

from __future__ import annotations

import os
import signal
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import messy
import plain_content
from launch import in_fork
from tdro.cli import main
from tdro.data.mixtures import build, row_files
from tdro.data.mixtures import from_recipe as source_mixture
from tdro.data.mixtures.build import build_task, built_task
from tdro.data.mixtures.built import read_built
from tdro.data.mixtures.folder import mixture_fingerprint
from tdro.data.read import reader
from tdro.errors import UserError
from tdro.files import read_json, read_jsonl
from tdro.recipe.data_sections import Data, Source

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_files, "SHARD_ROWS", 10)
    monkeypatch.setattr(row_files, "BATCH_CHARACTERS", 60)


def source(where: Path | str, **keys: Any) -> Source:
    return Source.model_validate({"source": str(where), **keys})


def many(count: int, length: int = 5) -> list[dict[str, Any]]:
    return [
        {"id": f"r{n}", "query": f"query {n}", "positives": [f"answer {n} " + "x" * length], "negatives": [f"no {n}"]}
        for n in range(count)
    ]


def broken(folder: Path, count: int = 57) -> Path:
    """Rows of which every seventh is none and every fifth is repaired."""
    text = messy.lines(many(count)).decode().splitlines()
    text = [line.replace("query ", " query ") if n % 5 == 0 else line for n, line in enumerate(text)]
    text = ["{not json" if n % 7 == 3 else line for n, line in enumerate(text)]
    path = folder / "broken.jsonl"
    path.write_text("\n".join(text) + "\n")
    return path


# ---- what is built


def test_rows_are_built_and_every_problem_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        messy.lines([messy.released(messy.ROWS[0]), {"query": "q"}])
        + b'{"query": "\\ud800 half", "positive": "a\\u0000b"}\nno json\n'
    )
    built = built_task(source(path), "a")
    assert built.open().to_list() == [
        messy.ROWS[0],
        {"id": "3", "query": "half", "positives": ["ab"], "negatives": []},
    ]
    assert (built.rows, built.read, built.dropped) == (2, 4, 2)
    told = read_jsonl(built.folder / "problems.jsonl")
    assert all(problem["file"] == str(path) for problem in told)
    assert {(problem["line"], problem["kind"]) for problem in told} >= {(2, "unknown-columns"), (4, "not-json")}
    assert {problem["line"] for problem in told} == {2, 3, 4}
    assert sum(sum(actions.values()) for actions in built.problems.values()) == len(told)
    assert built.summary("a").startswith("a: 2 rows, 2 dropped (")
    assert str(built.folder / "problems.jsonl") in built.summary("a")


@pytest.mark.parametrize("kind", ["rows.jsonl", "rows.jsonl.tar.gz", "rows.parquet", "rows.csv", "folder"])
def test_the_same_rows_have_the_same_fingerprint_in_every_format(tmp_path: Path, kind: str) -> None:
    built = built_task(source(messy.write(tmp_path, kind)), "a")
    assert built.open().to_list() == messy.ROWS
    assert built.fingerprint == plain_content.content(messy.ROWS)


def test_an_equal_file_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = messy.write(tmp_path, "rows.jsonl")
    first = built_task(source(path), "a")
    (tmp_path / "elsewhere").mkdir()
    copy = messy.write(tmp_path / "elsewhere", "rows.jsonl")
    os.utime(copy, (1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(build, "_build", lambda *_: pytest.fail("built again"))
        assert built_task(source(copy, instruction="Find it"), "b") == first
    changed = messy.write(tmp_path, "rows.jsonl", [*messy.ROWS, {**messy.ROWS[0], "query": "who lost"}])
    assert built_task(source(changed), "a").rows == 5
    assert built_task(source(changed, limit=2), "a").rows == 2


def test_columns_and_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("title,body,other\nt1,b1,o1\n,b2,o2\nt3,b3,o3\nt4,b4,o4\n")
    built = built_task(source(path, columns={"query": "title", "positives": "body"}, limit=2), "a")
    assert built.open()["query"][:] == ["t1", "t3"]
    assert (built.rows, built.dropped) == (2, 1)


def test_no_usable_row_is_an_error_that_names_the_first_problem(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("question,answer\nwer?,NULL\n")
    with pytest.raises(UserError, match=r"a\.csv: no usable row\.\nThe first problem: .*, line 2: positive"):
        built_task(source(path), "a")
    path.write_text("")
    with pytest.raises(UserError, match=r"no usable row: it is empty"):
        built_task(source(path), "a")


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = messy.write(tmp_path, "rows.jsonl")
    clean = build.Reader.rows

    def slow(*arguments: Any) -> Any:
        with path.open("a") as file:
            file.write("\n")
        return clean(*arguments)

    monkeypatch.setattr(build.Reader, "rows", slow)
    with pytest.raises(UserError, match=r"rows\.jsonl: changed while it was read"):
        built_task(source(path), "a")
    monkeypatch.undo()
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    assert built_task(source(path), "a").rows == 4


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = messy.write(tmp_path, "rows.jsonl")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"task 'a' cannot be built there \(.*TDRO_CACHE"):
        build_task(source(path), tmp_path / "file" / "task", "a")


def test_a_folder_that_was_tampered_with(tmp_path: Path) -> None:
    built = built_task(source(messy.write(tmp_path, "rows.jsonl")), "a")
    (built.folder / built.shards[0]).unlink()
    with pytest.raises(UserError, match="delete the folder, it is built again"):
        read_built(built.folder)


# ---- kill and memory


def result(folder: Path) -> tuple[Any, ...]:
    """Everything that a build leaves."""
    built = read_built(folder)
    files = sorted(path.name for path in folder.iterdir() if path.name != "lock")
    return built.open().to_list(), read_json(folder / "task.json"), read_jsonl(folder / "problems.jsonl"), files


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("kind", ["jsonl", *messy.FORMATS])
def test_a_build_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    given = source(broken(tmp_path) if kind == "jsonl" else messy.write(tmp_path, kind, many(57)))
    build_task(given, tmp_path / "whole", "a")
    monkeypatch.setattr(reader, "_AT_ONCE", 1)
    clean, seen = build.Reader.rows, [0]

    def stopping(*arguments: Any) -> Any:
        seen[0] += 1
        if seen[0] == 27:
            raise KeyboardInterrupt
        return clean(*arguments)

    monkeypatch.setattr(build.Reader, "rows", stopping)
    with pytest.raises(KeyboardInterrupt):
        build_task(given, tmp_path / "stopped", "a")
    state = read_json(tmp_path / "stopped" / "state.json")
    assert state["rows"] == 20 and len(state["shards"]) == 2
    (tmp_path / "stopped" / "problems.jsonl").open("a").write('{"half a line')
    seen[0] = 100
    build_task(given, tmp_path / "stopped", "a")
    assert seen[0] - 100 <= 57 - 20
    assert result(tmp_path / "stopped") == result(tmp_path / "whole")


@pytest.mark.usefixtures("small_shards")
def test_a_build_that_was_stopped_at_its_limit_reads_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = source(messy.write(tmp_path, "rows.jsonl", many(57)), limit=20)
    with monkeypatch.context() as patch:
        patch.setattr(build, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build_task(given, tmp_path / "task", "a")
    assert build_task(given, tmp_path / "task", "a").rows == 20


@pytest.mark.usefixtures("small_shards")
def test_a_killed_process_leaves_whole_shards_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = source(broken(tmp_path))
    monkeypatch.setattr(reader, "_AT_ONCE", 1)
    clean, seen = build.Reader.rows, [0]

    def dying(*arguments: Any) -> Any:
        seen[0] += 1
        if seen[0] == 40:
            os.kill(os.getpid(), signal.SIGKILL)
        return clean(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(build.Reader, "rows", dying)
        assert in_fork(lambda: build_task(given, tmp_path / "task", "a"), tmp_path) == -signal.SIGKILL
    assert not (tmp_path / "task" / "task.json").exists()
    build_task(given, tmp_path / "task", "a")
    built = read_built(tmp_path / "task")
    assert (built.rows, built.read) == (49, 57)
    assert [row["id"] for row in built.open()] == [f"r{n}" for n in range(57) if n % 7 != 3]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_files, "SHARD_ROWS", 500)
    monkeypatch.setattr(row_files, "BATCH_CHARACTERS", 200_000)

    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.jsonl"
        path.write_bytes(messy.lines(many(rows, length=2000)))
        given = source(path)
        tracemalloc.start()
        build_task(given, tmp_path / str(rows), "a")
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(200)  # imports
    assert peak(3000) < 1.2 * peak(1500)


@pytest.mark.usefixtures("small_shards")
def test_opening_reads_no_row(tmp_path: Path) -> None:
    import pyarrow

    path = tmp_path / "a.jsonl"
    path.write_bytes(messy.lines(many(100, length=20_000)))
    built = built_task(source(path), "a")
    before = pyarrow.total_allocated_bytes()
    rows = built.open()
    assert len(rows) == 100 and len(built.shards) == 10
    assert pyarrow.total_allocated_bytes() - before < 50_000  # of 2 MB
    assert rows[57]["id"] == "r57"


def test_long_texts_end_a_batch_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_files, "BATCH_CHARACTERS", 1000)
    path = tmp_path / "a.jsonl"
    path.write_bytes(messy.lines(many(9, length=400)))
    assert [len(batch) for batch in built_task(source(path), "a").open().data.to_batches()] == [3, 3, 3]


# ---- as a mixture


def data(tmp_path: Path, **keys: Any) -> Data:
    messy.beir(tmp_path / "beir", split="test")
    sources = {
        "qa": {
            "source": str(messy.write(tmp_path, "rows.csv")),
            "instruction": "Find the answer",
            "licence": "CC0",
        },
        "labels": {"source": str(broken(tmp_path)), "in_batch_negatives": False, "symmetric": True},
    }
    test_sets = {"held_out": {"folder": str(tmp_path / "beir"), "task": "qa"}, "other": str(tmp_path / "beir")}
    return Data.model_validate({"sources": sources, "test_sets": test_sets, **keys})


def test_sources_make_a_mixture(tmp_path: Path) -> None:
    said: list[str] = []
    mixture = source_mixture.source_mixture(data(tmp_path), said.append)
    qa, labels = mixture.tasks
    assert (mixture.names, mixture.sizes) == (["qa", "labels"], [4, 49])
    assert (qa.instruction, qa.licence, qa.source) == ("Find the answer", "CC0", str(tmp_path / "rows.csv"))
    assert (qa.symmetric, labels.symmetric, mixture.hard_negatives_only) == (False, True, (1,))
    held_out, other = mixture.tests
    assert (held_out.task, held_out.instruction, other.task, other.instruction) == ("qa", "Find the answer", "", "")
    assert len(said) == 1 and said[0].startswith("labels: 49 rows, 8 dropped (")


def test_a_chosen_task_alone_is_built(tmp_path: Path) -> None:
    chosen = source_mixture.source_mixture(data(tmp_path, tasks=["labels"]))
    assert chosen.names == ["labels"]
    assert [test.task for test in chosen.tests] == ["", ""]
    assert chosen.tests[0].instruction == "Find the answer"  # of its kind, though training leaves it out


def test_a_mixtures_fingerprint_is_known_without_reading_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = data(tmp_path)
    mixture = source_mixture.source_mixture(given)
    with monkeypatch.context() as patch:
        patch.setattr("tdro.data.mixtures.content._shards", lambda *_: pytest.fail("rows were read"))
        known = mixture_fingerprint(mixture)
    path = tmp_path / "rows.csv"
    path.write_text(path.read_text().replace("noon", "midnight"))
    assert mixture_fingerprint(source_mixture.source_mixture(given)) != known


def test_the_command_builds_and_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text(
        "name: r\nbase: {kind: static, source: smollm2}\n"
        f"data: {{sources: {{good: {messy.write(tmp_path, 'rows.parquet')}, bad: {broken(tmp_path)}}}}}\n"
    )
    assert main(["data", "build", str(tmp_path / "r.yaml")]) == 0
    text = capsys.readouterr().out.splitlines()
    assert text[1].split() == ["good", "4", "0", "-"]
    assert text[2].split()[:3] == ["bad", "49", "8"] and "8 not-json" in text[2]
    assert text[3].split() == ["all", "53"]
    assert text[4].startswith("bad: ") and Path(text[4].removeprefix("bad: ")).is_file()
    (tmp_path / "r.yaml").write_text("name: r\nbase: {kind: static, source: smollm2}\n")
    assert main(["data", "build", str(tmp_path / "r.yaml")]) == 2
    assert "has no data.sources" in capsys.readouterr().err
