"""A file that breaks off is never trained on up to its break: refused by its name and the row, in every command."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import messy
import tiny
from tdro.cli import main
from tdro.data.mixtures.build import build_task, built_task
from tdro.data.mixtures.paths import find_raw_tasks
from tdro.data.read.problem import Problem
from tdro.data.read.sources import open_source
from tdro.errors import UserError
from tdro.recipe.data_sections import Source

ROWS: list[dict[str, Any]] = [
    {"query": f"question {row} " + "é" * row, "positive": f"answer {row * 7919}"} for row in range(40)
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))


def source(path: Path | str, **keys: Any) -> Source:
    return Source.model_construct(source=str(path), **keys)


def values(path: Path) -> list[object]:
    return [value for part in open_source(str(path)).parts() for _, _, value in part.read(0, 1)]


def whole(path: Path) -> bytes:
    """The rows in the format that the name tells."""
    if path.name.endswith(".parquet"):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path, row_group_size=10)
        return path.read_bytes()
    if ".tar" in path.name:
        inner = path.with_name("rows.jsonl")
        inner.write_bytes(messy.lines(list(ROWS)))
        with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
            archive.add(inner, "rows.jsonl")
        inner.unlink()
        return path.read_bytes()
    if ".csv" in path.name:
        content = "query,positive\n" + "".join(f'"{row["query"]}","{row["positive"]}"\n' for row in ROWS)
    elif ".tsv" in path.name:
        content = "query\tpositive\n" + "".join(f"{row['query']}\t{row['positive']}\n" for row in ROWS)
    elif path.name.startswith("list"):
        content = json.dumps(ROWS, ensure_ascii=False, indent=1)
    elif path.name.startswith("wrapped"):
        content = json.dumps({"data": ROWS}, ensure_ascii=False)
    else:
        content = messy.lines(list(ROWS)).decode()
    return gzip.compress(content.encode()) if path.name.endswith("gz") else content.encode()


NAMES = ["a.jsonl.gz", "a.csv.gz", "a.tsv.gz", "a.tar.gz", "a.tgz", "a.jsonl.tar", "a.parquet"]
NAMES += ["a.jsonl", "a.csv", "list.json", "list.json.gz", "wrapped.json"]


@pytest.mark.parametrize("name", NAMES)
def test_what_breaks_off_is_refused_wherever_it_does(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = whole(path)
    path.write_bytes(content)
    assert [value for value in values(path) if isinstance(value, dict)] == ROWS
    step = max(1, len(content) // 23)
    start = 600 if name == "a.jsonl.tar" else 30  # behind what tells the format, and the header
    for cut in [*range(start, len(content) - 1, step), len(content) // 2]:
        path.write_bytes(content[:cut])
        after_a_row = name in ("a.jsonl", "a.csv") and content[cut - 1 : cut + 1].strip() in (b"", b"}", b'"', b',"')
        if after_a_row or (name == "a.jsonl.tar" and cut > len(content.rstrip(b"\0"))):
            continue  # nothing shows that there was more
        try:
            found = values(path)
        except UserError:
            continue
        if ".tar" in name and found == ROWS:
            continue  # only the archive's end is missing
        assert isinstance(found[-1], Problem) and found[-1].action == "refused", (cut, found[-1])
        assert found[:-1] == ROWS[: len(found) - 1]
        with pytest.raises(UserError, match=rf"task 't', {path}"):
            built_task(source(path), "t")


def test_a_last_line_without_its_end_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    content = messy.lines(list(ROWS))
    path.write_bytes(content[:-1])
    assert values(path) == ROWS
    for cut, kind in (
        (content[:-2], "broken-file"),
        (content[:-1] + b"}", "not-json"),
        (content + b"note", "not-json"),
    ):
        path.write_bytes(cut)
        problem = values(path)[-1]
        assert isinstance(problem, Problem) and problem.kind == kind
    table = tmp_path / "a.csv"
    table.write_text("query,positive\nq1,p1\nq2,p2")
    assert len(values(table)) == 2
    table.write_text("query,positive\nq1,p1\nq2")
    broken = f"{table}, line 3: the file is damaged or breaks off here (1 columns, the header has 2); get it again"
    assert built_error(table) == f"task 't', {broken}\n1 rows of the task were read before it, and none is used"


def built_error(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        built_task(source(path), "t")
    return str(caught.value)


def test_one_broken_file_of_a_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(messy.lines(list(ROWS)))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(messy.lines(list(ROWS)))[:-9])
    assert f"{folder / 'b.jsonl.gz'}, line " in built_error(folder)
    assert "rows of the task were read before it, and none is used" in built_error(folder)
    (folder / "b.jsonl.gz").write_bytes(b"")
    built = built_task(source(folder), "t")
    assert built.rows == 40 and built.beside == [f"{folder / 'b.jsonl.gz'}: is empty"]


def test_nothing_of_a_broken_build_stays_and_the_whole_file_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tdro.data.mixtures.row_files.SHARD_ROWS", 5)
    path = tmp_path / "a.jsonl"
    content = messy.lines(list(ROWS))
    path.write_bytes(content[:-9])
    for _ in range(2):
        with pytest.raises(UserError, match=r"a\.jsonl, line 40: .*\n39 rows of the task were read"):
            build_task(source(path), tmp_path / "task", "t")
        assert not list((tmp_path / "task").glob("rows-*"))
    path.write_bytes(content)
    assert built_task(source(path), "t").rows == 40


def test_a_limit_before_the_break_is_reached_first(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(messy.lines(list(ROWS))[:-9])
    assert built_task(source(path, limit=39), "t").rows == 39


def test_a_file_that_is_gone_when_it_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tdro.data.mixtures import row_files

    path = tmp_path / "a.jsonl"
    path.write_bytes(messy.lines(list(ROWS)))
    clean = row_files.RowWriter.add

    def removing(*arguments: Any) -> Any:
        path.unlink(missing_ok=True)
        return clean(*arguments)

    monkeypatch.setattr(row_files.RowWriter, "add", removing)
    assert "a.jsonl: changed while it was read" in built_error(path)


def test_a_file_of_a_beir_folder(tmp_path: Path) -> None:
    folder = messy.beir(tmp_path / "beir")
    for name in ("corpus.jsonl", "queries.jsonl"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(kept[:-5])
        assert f"{folder / name}, line " in built_error(folder)
        (folder / name).write_bytes(kept)
    assert built_task(source(folder), "t").rows == 4


def test_every_command_refuses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base").mkdir()
    tiny.tokenizer(eos=False).save("base/tokenizer.json")
    Path("cut.jsonl.gz").write_bytes(gzip.compress(messy.lines(list(ROWS)))[:-9])
    Path("r.yaml").write_text(
        "name: small\nbase: {kind: static, source: base/tokenizer.json}\ndata: {sources: {cut: cut.jsonl.gz}}\n"
    )
    assert main(["data", "check", "cut.jsonl.gz"]) == 0
    assert capsys.readouterr().out.startswith("broken-file: 1 refused\n  refused  cut.jsonl.gz, line ")
    for command in (
        ["data", "describe", "cut.jsonl.gz"],
        ["data", "build", "r.yaml"],
        ["init", "cut.jsonl.gz", "--base", "base"],
        ["data", "mine", "cut.jsonl.gz", "--by", "bm25", "--out", "m"],
        ["data", "dedup", "cut.jsonl.gz", "--within", "--out", "d"],
        ["run", "r.yaml"],
    ):
        assert main(command) == 2, command
        assert "task 'cut', cut.jsonl.gz, line " in capsys.readouterr().err, command
    assert not any(Path(name).exists() for name in ("m", "d", "recipe.yaml"))


def test_init_says_why_nothing_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base").mkdir()
    tiny.tokenizer(eos=False).save("base/tokenizer.json")
    Path("a.csv").write_text("query,positive,positive\nq,p,p\n")
    assert main(["init", "a.csv", "--base", "base"]) == 2
    assert "a.csv, line 1: the header has a name twice" in capsys.readouterr().err


# ---- JSON that is not one value a line, and archives by any name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("form", ["list", "data", "pairs", "versioned", "values"])
def test_json_of_one_meaning_is_read(tmp_path: Path, form: str, indent: int | None, encoding: str) -> None:
    content: Any = {
        "list": ROWS,
        "data": {"data": ROWS},
        "pairs": {"pairs": ROWS},
        "versioned": {"version": "1.0", "data": ROWS, "licence": "none"},
        "values": None,
    }[form]
    text = json.dumps(content, ensure_ascii=False, indent=indent)
    if form == "values":
        text = "\n".join(json.dumps(row, ensure_ascii=False, indent=indent) for row in ROWS)
    path = tmp_path / "a.json"
    path.write_bytes(text.encode(encoding))
    (part,) = open_source(str(path)).parts()
    read = list(part.read(0, 1))
    assert [value for _, _, value in read] == ROWS
    lines = text.splitlines()
    assert all(str(row["query"]) in "\n".join(lines[line - 1 : line + 2]) for (line, _, row) in read)  # type: ignore[index]
    assert list(part.read(read[9][1], read[9][0] + 1)) == read[10:]


def test_a_large_list_is_read_in_pieces(tmp_path: Path) -> None:
    rows = [{"query": f"q{row}", "positive": "long " * 2000} for row in range(100)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows))
    assert values(path) == rows


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(['{"data": ', '{"query": "q"}', "[", "]", ",", "}", "\n", '"x": 1', "{", "é", "\ud800"]))
)
def test_any_json_ends_without_a_traceback(tmp_path: Path, pieces: list[str]) -> None:
    path = tmp_path / "a.json"
    path.write_bytes("".join(pieces).encode("utf-8", "surrogatepass"))
    found = values(path)
    assert all(not isinstance(value, Problem) or value.action != "refused" for value in found[:-1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"train": [{"query": "q", "positive": "p"}], "test": [{"query": "r", "positive": "p"}]}', 'of them "test"'),
        ('{"data": [{"query": "q", "positive": "p"}]} {"query": "r"}', "something follows|not JSON"),
        ('{"query": {"0": "q", "1": "r"}, "positive": {"0": "p", "1": "p"}}', "holds columns, not rows; in pandas"),
        ('[{"query": "q", "positive": "p"},\n{"query": "r", "positive": p}, {"query": "s"}]', "line 2: "),
        ('[\n{"query": "q", "positive": "p"},', "line 2: the file is damaged or breaks off here"),
    ],
)
def test_json_of_several_meanings_or_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        built_task(source(path), "t")


def test_a_key_twice_costs_its_row_in_a_list_too(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"query": "a", "query": "b"}, {"query": "c"}]')
    problem, row = values(path)
    assert isinstance(problem, Problem) and problem.kind == "duplicate-key" and row == {"query": "c"}


def test_rows_of_lists_are_no_list_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}]
    path.write_bytes(messy.lines(list(rows)))
    assert values(path) == rows
    path.write_text(json.dumps({"positives": [{"text": "p"}], "query": "q"}, indent=1))
    assert values(path) == [{"positives": [{"text": "p"}], "query": "q"}]


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar", "a.jsonl.tar.gz"])
def test_an_archive_of_jsonl_by_any_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(whole(path))
    assert values(path) == ROWS
    assert [task.name for task in find_raw_tasks(str(path))] == ["a"]


def test_an_archive_of_something_else_is_told(tmp_path: Path) -> None:
    inner = tmp_path / "rows.csv"
    inner.write_text("query,positive\nq,p\n")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(inner, "rows.csv")
    with pytest.raises(UserError, match=r"a\.tar\.gz: an archive of 'rows\.csv', and only one of a JSONL file is read"):
        values(tmp_path / "a.tar.gz")
    messy.archive(tmp_path / "b.tar.gz", messy.lines(list(ROWS)))
    with tarfile.open(tmp_path / "two.tar", "w") as archive:
        for name in ("1.jsonl", "2.jsonl"):
            archive.add(tmp_path / "rows.csv", name)
    with pytest.raises(UserError, match="holds another file, which is not read; unpack it"):
        built_task(source(tmp_path / "two.tar"), "t")
