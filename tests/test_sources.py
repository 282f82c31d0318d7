"""Sources: what is read from which format, from where it can go on, and what is said of what is wrong."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

import messy
from tdro.data.read import file_digest as digest
from tdro.data.read.file_digest import file_digest
from tdro.data.read.problem import Problem
from tdro.data.read.rows import row_from
from tdro.data.read.sources import OpenedSource, open_source
from tdro.errors import UserError
from tdro.recipe.schema import load_recipe

BARE = "name: small\nbase: {kind: static, source: smollm2}\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))


def values(opened: OpenedSource) -> list[tuple[str, int, object]]:
    """File, line and value or problem of everything in a source."""
    return [(part.file, line, value) for part in opened.parts() for line, _, value in part.read(0, 1)]


def rows(opened: OpenedSource) -> list[dict[str, Any]]:
    """The rows, as tdro's own format has them."""
    found = []
    for file, line, value in values(opened):
        assert not isinstance(value, Problem), value
        row, problems = row_from(value, file, line)
        assert row is not None and not problems, problems
        found.append({"id": row.id, "query": row.query, "positives": row.positives, "negatives": row.negatives})
    return found


def expected(kind: str) -> list[dict[str, Any]]:
    """What a format can hold of the rows: TSV no line ends, BEIR no hard negatives."""
    if kind == "beir":
        return [{**row, "negatives": []} for row in messy.ROWS]
    if kind == "rows.tsv":
        return [{**row, "positives": [text.replace("\n", " ") for text in row["positives"]]} for row in messy.ROWS]
    return messy.ROWS


def problems(opened: OpenedSource) -> list[tuple[int | None, str, str]]:
    found = [value for _, _, value in values(opened) if isinstance(value, Problem)]
    return [(problem.line, problem.kind, problem.action) for problem in found]


# ---- formats


@pytest.mark.parametrize("kind", messy.FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    assert rows(open_source(str(messy.write(tmp_path, kind)))) == expected(kind)


@pytest.mark.parametrize("kind", messy.FORMATS)
def test_every_part_goes_on_from_wherever_it_stopped(tmp_path: Path, kind: str) -> None:
    for part in open_source(str(messy.write(tmp_path, kind))).parts():
        whole = list(part.read(0, 1))
        assert part.size in (None, whole[-1][1])
        for done, (line, after, _) in enumerate(whole, 1):
            assert list(part.read(after, line + 1)) == whole[done:]


def test_a_row_of_a_table_is_told_by_its_first_line(tmp_path: Path) -> None:
    path = messy.write(tmp_path, "rows.csv")
    assert [line for _, line, _ in values(open_source(str(path)))] == [2, 3, 5, 6]


def test_a_broken_row_of_a_table_does_not_cost_its_neighbours(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"query,positive\nq1,p1\nonly one\n\nq2,p\xff2\nq3,p3,more\nq4,p\xc3\xa94\n")
    opened = open_source(str(path))
    assert problems(opened) == [
        (3, "wrong-columns", "dropped"),
        (5, "not-utf8", "dropped"),
        (6, "wrong-columns", "dropped"),
    ]
    found = [value for _, _, value in values(opened) if not isinstance(value, Problem)]
    assert found == [{"query": "q1", "positive": "p1"}, {"query": "q4", "positive": "pé4"}]


@pytest.mark.parametrize(
    "header", ["query,positive,negative,negative", "query;positive", "query\tpositive", "qu\xe9ry,a"]
)
def test_a_header_that_no_row_can_be_read_by_is_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"\n{header}\nq,p\nq,p\n", encoding="latin-1")
    assert problems(open_source(str(path))) == [(2, "wrong-header", "refused")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_table_in_any_unicode_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress("query,positive\nqué,名前\n".encode(encoding)))
    assert [value for _, _, value in values(open_source(str(path)))] == [{"query": "qué", "positive": "名前"}]


def test_a_quote_that_is_not_closed_is_told_with_the_lines_it_takes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('query,positive\n"a,b\nc,d\ne,"f"\n')
    (_, line, problem), *others = values(open_source(str(path)))
    assert isinstance(problem, Problem) and line == 2 and not others
    assert (problem.kind, problem.action) == ("not-csv", "refused") and "in the lines up to 4" in problem.message
    path.write_text('query,positive\n"a,b\nc","d\ne",f\n')
    (_, line, problem), *others = values(open_source(str(path)))
    assert isinstance(problem, Problem) and line == 2 and problem.action == "dropped"


def test_a_quote_in_a_tsv_file_is_a_quote(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('query\tpositive\n"q1\tp1\nq2\t"p2" and so on\n')
    assert [value["query"] for _, _, value in values(open_source(str(path)))] == ['"q1', "q2"]  # type: ignore[index]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz", "a.parquet", "a.jsonl.tar.gz"])
@pytest.mark.parametrize("kept", [0, 1, 12, 60])
def test_a_file_that_breaks_off_is_a_problem_and_no_traceback(tmp_path: Path, name: str, kept: int) -> None:
    kind = {"a.csv.gz": "rows.csv.gz", "a.jsonl.gz": "rows.jsonl.gz", "a.parquet": "rows.parquet"}
    whole = messy.write(tmp_path, kind.get(name, "rows.jsonl.tar.gz"))
    path = tmp_path / name
    path.write_bytes(whole.read_bytes()[:kept])
    assert all(action in ("refused", "dropped") for _, _, action in problems(open_source(str(path))))
    assert kept < 12 or problems(open_source(str(path)))


def test_a_text_that_is_no_utf8_in_a_parquet_file_costs_its_row_only(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    raw = pyarrow.array([b"q1", b"q\xff", b"q3"]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"query": raw, "positive": ["p"] * 3}), tmp_path / "a.parquet")
    opened = open_source(str(tmp_path / "a.parquet"))
    assert problems(opened) == [(2, "not-utf8", "dropped")]
    assert len(values(opened)) == 3


def test_judgements_of_what_is_not_there_are_told_by_line(tmp_path: Path) -> None:
    folder = messy.beir(tmp_path / "beir")
    qrels = folder / "qrels" / "train.tsv"
    qrels.write_text(qrels.read_text() + "a\tnowhere\t1\nnobody\ta0\t1\nb\tb0\tone\n")
    last = len(qrels.read_text().splitlines())
    opened = open_source(str(folder))
    assert sorted(problems(opened)) == [
        (last - 2, "no-such-id", "dropped"),
        (last - 1, "no-such-id", "dropped"),
        (last, "wrong-judgement", "dropped"),
    ]
    assert all(file == str(qrels) for file in {v.file for _, _, v in values(opened) if isinstance(v, Problem)})


def test_a_beir_folders_split_is_its_qrels(tmp_path: Path) -> None:
    folder = messy.beir(tmp_path / "beir", split="dev")
    assert len(rows(open_source(str(folder), split="dev"))) == 4
    with pytest.raises(UserError, match=r"train\.tsv: no such file; there are the splits dev"):
        open_source(str(folder))


def test_what_is_no_data_is_said(tmp_path: Path) -> None:
    (tmp_path / "rows.xlsx").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"rows\.xlsx: no known format; a data file ends in \.jsonl"):
        open_source(str(tmp_path / "rows.xlsx"))
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="none: holds no data file"):
        open_source(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("name", "magic", "message"),
    [
        ("a.jsonl", b"PAR1", r"a\.jsonl: holds Parquet, whatever its name says; let it end in \.parquet"),
        ("a.csv", b"PK\x03\x04", "a ZIP archive or a spreadsheet.*save it as CSV"),
        ("a.jsonl.gz", b"\x28\xb5\x2f\xfd", "packed by zstd"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, name: str, magic: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(magic + b"\0" * 100)
    with pytest.raises(UserError, match=message):
        open_source(str(tmp_path / name))


def test_nothing_waits_for_a_pipe_or_reads_a_device_without_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    for name in ("pipe.jsonl", "zero.csv"):
        with pytest.raises(UserError, match=f"{name}: is a pipe or a device"):
            open_source(str(tmp_path / name))


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"a\xff.jsonl")
    path.write_text('{"query": "q", "positive": "p"}\n')
    with pytest.raises(UserError, match=r"a\\udcff\.jsonl': the name is not UTF-8; rename it"):
        open_source(str(path))


def test_no_part_of_a_folder_is_left_out_silently(tmp_path: Path) -> None:
    messy.write(tmp_path, "rows.jsonl")
    (tmp_path / "README.md").write_text("about it")
    assert len(open_source(str(tmp_path)).files) == 1
    (tmp_path / "more.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(UserError, match=r"more\.jsonl\.zst: no known format, and would be left out"):
        open_source(str(tmp_path))
    (tmp_path / "more.jsonl.zst").unlink()
    (tmp_path / "more.jsonl").symlink_to("more.jsonl")
    with pytest.raises(UserError, match=r"more\.jsonl: is a link that leads nowhere"):
        open_source(str(tmp_path))


def test_an_id_in_a_corpus_that_is_no_text(tmp_path: Path) -> None:
    folder = messy.beir(tmp_path / "beir")
    corpus = folder / "corpus.jsonl"
    corpus.write_text(corpus.read_text() + '{"_id": ["d1"], "text": "t"}\n{"_id": {}, "text": "t"}\n')
    assert problems(open_source(str(folder))) == [(10, "wrong-id", "dropped"), (11, "wrong-id", "dropped")]
    assert len(values(open_source(str(folder)))) == 4 + 2


# ---- content


def test_a_cache_that_cannot_be_written_is_not_needed_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = messy.write(tmp_path, "rows.jsonl")
    os.utime(path, (0, 0))
    monkeypatch.setenv("TDRO_CACHE", str(path / "cache"))  # a file is no folder
    assert len(rows(open_source(str(path)))) == len(messy.ROWS)


def test_content_is_of_the_bytes_and_not_of_path_or_time(tmp_path: Path) -> None:
    first = messy.write(tmp_path, "rows.jsonl")
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(first.read_bytes())
    os.utime(copy, (1, 1))
    assert open_source(str(first)).content == open_source(str(copy)).content
    copy.write_bytes(first.read_bytes().replace(b"rained", b"snowed"))
    assert open_source(str(first)).content != open_source(str(copy)).content


def test_an_unchanged_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = messy.write(tmp_path, "rows.jsonl")
    os.utime(path, (1000, 1000))  # long ago: files changed a moment ago are not remembered
    first = file_digest(path)
    with monkeypatch.context() as patch:
        patch.setattr(digest, "_digest", lambda *_: pytest.fail("read again"))
        assert file_digest(path) == first
    path.write_bytes(path.read_bytes().replace(b"rained", b"snowed"))
    assert file_digest(path) != first


# ---- in a recipe


def recipe(tmp_path: Path, text: str) -> Any:
    (tmp_path / "r.yaml").write_text(BARE + text)
    return load_recipe("r.yaml")


def test_a_source_alone_or_with_more_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    messy.write(tmp_path, "rows.csv")
    messy.beir(tmp_path / "beir", split="test")
    data = recipe(
        tmp_path,
        "data:\n  sources:\n    a: rows.csv\n"
        "    b: {source: owner/data, subset: en, columns: {query: title}, limit: 9}\n"
        "  test_sets: {t: beir, u: {folder: beir, task: a}}\n",
    ).data
    assert data.mixture is None
    assert (data.sources["a"].source, data.sources["a"].in_batch_negatives) == ("rows.csv", True)
    assert (data.sources["b"].columns, data.sources["b"].limit) == ({"query": "title"}, 9)
    assert data.test_sets["u"].task == "a"
    assert recipe(tmp_path, "").data.mixture == "sample"


def test_sources_in_a_file_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    messy.write(tmp_path, "rows.csv")
    (tmp_path / "sources.yaml").write_text("a: rows.csv\n")
    loaded = recipe(tmp_path, "data: {sources: sources.yaml}")
    assert loaded.data.sources["a"].source == "rows.csv"
    (tmp_path / "again.yaml").write_text(loaded.to_yaml())
    assert load_recipe("again.yaml") == loaded
    (tmp_path / "sources.yaml").write_text("a:\n  - rows.csv\n")
    with pytest.raises(UserError, match=r"r.yaml, line 3: data.sources.a: expected a mapping of keys, found a list"):
        recipe(tmp_path, "data: {sources: sources.yaml}")


WRONG = {
    "no file": ("sources: {a: rows.jsonl}", "data.sources.a.source: no such file or folder: 'rows.jsonl'"),
    "no path": ("sources: {a: ./b}", "data.sources.a.source: no such file or folder: './b'"),
    "hub without file": ("sources: {a: 'hf://datasets/x/y'}", "data.sources.a.source: 'hf://datasets/x/y' names no f"),
    "key": ("sources: {a: {sorce: x/y}}", "data.sources.a.sorce: unknown key; did you mean 'source'?"),
    "number": ("sources: {a: 3}", "data.sources.a: expected a mapping of keys, found 3"),
    "list": ("sources: [x/y]", "data.sources: expected a mapping of names, found a list"),
    "empty": ("sources: {}", "data.sources: must not be empty"),
    "name": ("sources: {a/b: x/y}", "data.sources.'a/b': 'a/b' cannot name a folder"),
    "long name": (f"sources: {{{'x' * 101}: x/y}}", f"data.sources.'{'x' * 57}...': "),
    "case": ("sources: {News: x/y, news: x/z}", "data.sources.news: 'news' and 'News' differ in case only"),
    "limit": ("sources: {a: {source: x/y, limit: 0}}", "data.sources.a.limit: must be at least 1, found 0"),
    "column": (
        "sources: {a: {source: x/y, columns: {positive: b}}}",
        "data.sources.a.columns.positive: unknown column; did you mean 'positives'?",
    ),
    "subset of a file": ("sources: {a: {source: ok.csv, subset: b}}", "data.sources.a.subset: only a data set on the"),
    "split of a file": ("sources: {a: {source: ok.csv, split: b}}", "data.sources.a.split: only a data set on the"),
    "both": ("mixture: sample, sources: {a: x/y}", "data.sources: give data.mixture or data.sources, not both"),
    "tests of a mixture": ("test_sets: {a: beir}", "data.test_sets: a mixture has its own test sets"),
    "task": ("sources: {a: x/y}, tasks: [b]", "data.tasks[0]: there is no source 'b'"),
    "test": ("sources: {a: x/y}, test_sets: {t: beir}, tests: [u]", "data.tests[0]: there is no test set 'u'"),
    "task of a test": (
        "sources: {news: x/y}, test_sets: {t: {folder: beir, task: new}}",
        "data.test_sets.t.task: there is no source 'new'; did you mean 'news'?",
    ),
    "no test folder": ("sources: {a: x/y}, test_sets: {t: x}", "data.test_sets.t.folder: no such folder: 'x'"),
    "no BEIR folder": ("sources: {a: x/y}, test_sets: {t: .}", "data.test_sets.t.folder: '.' holds no corpus.jsonl"),
    "no sources file": ("sources: papre", "data.sources: no such file: 'papre'; did you mean 'paper'?"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_in_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ok.csv").write_text("query,positive\n")
    messy.beir(tmp_path / "beir", split="test")
    with pytest.raises(UserError) as caught:
        recipe(tmp_path, f"data: {{{text}}}")
    assert str(caught.value).startswith(f"r.yaml, line 3: {message}")
    assert "\n" not in str(caught.value)


def test_a_task_without_in_batch_negatives_needs_hard_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "data: {sources: {a: {source: x/y, in_batch_negatives: false}}}\nreference: {negatives: 0}\n"
    with pytest.raises(UserError, match=r"line 4: reference.negatives: task 'a' has no in-batch negatives"):
        recipe(tmp_path, text)


def test_gzip_is_told_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"query,positive\nq,p\n"))
    assert len(values(open_source(str(tmp_path / "a.csv")))) == 1
