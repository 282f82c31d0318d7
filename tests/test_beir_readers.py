"""Files in BEIR's layout are read alike by test sets, training rows, deduplication and mining."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tdro.cli import main
from tdro.data.mixtures.build import built_task
from tdro.data.read.beir import Judgement, id_text, judgements
from tdro.data.read.problem import Problem
from tdro.data.testsets.beir_data import read_beir
from tdro.data.testsets.test_texts import find_test_texts
from tdro.errors import UserError
from tdro.mining.corpus import read_corpus
from tdro.recipe.data_sections import Source


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))


def write(folder: Path, corpus: list[Any], queries: list[Any], qrels: str) -> Path:
    """A BEIR folder whose train and test split are the same; ids may be anything."""
    (folder / "qrels").mkdir(parents=True)
    passages = [{"_id": key, "title": "", "text": f"passage {key}"} for key in corpus]
    asked = [{"_id": key, "text": f"query {key}"} for key in queries]
    for name, rows in (("corpus", passages), ("queries", asked)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for split in ("train", "test"):
        (folder / "qrels" / f"{split}.tsv").write_text(qrels)
    return folder


def build(folder: Path) -> Any:
    return built_task(Source.model_construct(source=str(folder)), "t")


@pytest.mark.parametrize(
    ("corpus", "queries"), itertools.product(([1, 2, 20], ["1", "2", "20"]), ([10, 11], ["10", "11"]))
)
@pytest.mark.parametrize("header", ["query-id\tcorpus-id\tscore\n", "query_id\tdoc_id\trelevance\n", ""])
def test_a_number_is_its_text_for_everyone(tmp_path: Path, corpus: list[Any], queries: list[Any], header: str) -> None:
    folder = write(tmp_path / "set", corpus, queries, f"{header}10\t1\t1\n11\t20\t1.0\n11\t2\t0\n")
    data = read_beir(folder)
    assert (data.query_ids, data.passages.ids.to_pylist()) == (["10", "11"], ["1", "2", "20"])
    assert data.qrels == {"10": {"1": 1}, "11": {"20": 1, "2": 0}} and not data.problems
    built = build(folder)
    assert built.open().to_list() == [
        {"id": "10", "query": "query 10", "positives": ["passage 1"], "negatives": []},
        {"id": "11", "query": "query 11", "positives": ["passage 20"], "negatives": []},
    ]
    assert not built.problems
    (texts,) = find_test_texts(str(folder), passages=True)
    assert texts.queries == {"10": "query 10", "11": "query 11"}
    assert texts.passages == {"1": "passage 1", "20": "passage 20"}


@pytest.mark.parametrize("value", [10.0, 1.5, True, None, "", [1], {}])
@pytest.mark.parametrize("where", ["corpus", "queries"])
def test_what_is_no_id_is_told_as_what_it_is(tmp_path: Path, value: Any, where: str) -> None:
    ids: dict[str, list[Any]] = {"corpus": ["1"], "queries": ["10"]}
    ids[where].append(value)
    folder = write(tmp_path / "set", ids["corpus"], ids["queries"], "10\t1\t1\n")
    message = "line 2: key '_id' must be a non-empty text or a whole number, found "
    with pytest.raises(UserError, match=f"{where}.jsonl, {message}"):
        read_beir(folder)
    if where == "queries":
        with pytest.raises(UserError, match=message):
            find_test_texts(str(folder))
    built = build(folder)
    assert built.rows == 1 and built.problems == {"wrong-id": {"dropped": 1}}


def test_ids_that_differ_in_more_than_their_type_stay_apart(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", ["1", "01"], [10, "010"], "010\t01\t1\n10\t1\t1\n")
    assert {row["query"]: row["positives"] for row in build(folder).open()} == {
        "query 10": ["passage 1"],
        "query 010": ["passage 01"],
    }
    assert id_text(10) == id_text("10") == "10" and id_text("10.0") == "10.0"


def test_what_stands_twice_counts_as_it_is_last_for_everyone(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", [1, 2], [10], "10\t1\t1\n10\t2\t1\n10\t2\t0\n")
    for name, key in (("corpus", 1), ("queries", 10)):
        with (folder / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps({"_id": str(key), "text": f"other {key}"}) + "\n")
    data, built = read_beir(folder), build(folder)
    assert built.open().to_list() == [{"id": "10", "query": "other 10", "positives": ["other 1"], "negatives": []}]
    assert data.queries == ["other 10"] and data.passages.texts[0:2] == ["passage 2", "other 1"]
    assert built.problems == {"duplicate-id": {"kept": 2}}
    told = (built.folder / "problems.jsonl").read_text()
    assert "a second line has the _id '10'; it counts, and line 1 does not" in told
    assert find_test_texts(str(folder))[0].queries == {"10": "other 10"}


def test_an_id_that_is_not_there_is_told_and_true(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", [1], [10], "10\t1\t1\n12\t1\t1\n10\t9\t1\n")
    assert [problem.partition(": ")[2].partition(";")[0] for problem in read_beir(folder).problems] == [
        "no query '12' in queries.jsonl",
        "no passage '9' in corpus.jsonl",
    ]
    assert build(folder).problems == {"no-such-id": {"dropped": 2}}
    assert find_test_texts(str(folder), passages=True)[0].passages == {"1": "passage 1"}


def rewritten(folder: Path, change: Any, encoding: str = "utf-8") -> Path:
    corpus = folder / "corpus.jsonl"
    corpus.write_bytes(change(corpus.read_text()).encode(encoding))
    return folder


def everyones_passages(folder: Path) -> list[Any]:
    """The passages, as test sets, training rows, deduplication and mining read them."""
    data = read_beir(folder)
    return [
        data.passages.texts[0 : len(data.passages)],
        [text for row in build(folder).open() for text in row["positives"]],
        list(find_test_texts(str(folder), passages=True)[0].passages.values()),
        list(read_corpus(str(folder))),
    ]


@pytest.mark.parametrize("key", ["contents", "passage", "Text"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_a_text_under_another_key_is_read_by_everyone(tmp_path: Path, key: str, encoding: str) -> None:
    folder = write(tmp_path / "set", [1, 2], [10], "10\t1\t1\n10\t2\t1\n")
    rewritten(folder, lambda text: "\n" + text.replace('"text"', f'"{key}"').replace("passage 2", "päss 2"), encoding)
    assert everyones_passages(folder) == [["passage 1", "päss 2"]] * 4


def test_line_ends_of_old_macs_are_read_by_everyone(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", [1, 2], [10], "10\t1\t1\n10\t2\t1\n")
    rewritten(folder, lambda text: text.replace("\n", "\r"))
    assert everyones_passages(folder) == [["passage 1", "passage 2"]] * 4


def test_a_key_that_stands_twice_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", [1, 2], [10], "10\t1\t1\n10\t2\t1\n")
    rewritten(folder, lambda text: text.replace('"text": "passage 2"', '"text": "a", "text": "b"'))
    message = "corpus.jsonl, line 2: key 'text' stands twice in an object"
    for read in (read_beir, lambda folder: find_test_texts(str(folder), passages=True), read_corpus):
        with pytest.raises(UserError, match=message):
            read(folder)
    assert build(folder).problems == {"duplicate-key": {"dropped": 1}, "no-such-id": {"dropped": 1}}


def test_a_compressed_corpus_is_refused_by_the_evaluation(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", [1, 2], [10], "10\t1\t1\n")
    corpus = folder / "corpus.jsonl"
    corpus.write_bytes(gzip.compress(corpus.read_bytes()))
    with pytest.raises(UserError, match=r"corpus\.jsonl: is compressed or an archive.*unpack it"):
        read_beir(folder)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("q\tp\t1", [Judgement(1, "q", "p", 1)]),
        ("\ufeffquery-id\tcorpus-id\tscore\r\nq\tp\t-1\r\n\r\n", [Judgement(2, "q", "p", -1)]),
        ("q\tp\t2.00\rr\tp\t+1\r", [Judgement(1, "q", "p", 2), Judgement(2, "r", "p", 1)]),
        ("q\tp\tscore\n", []),
        ("q\tp\t0.5\n", ["the score must be a whole number, found '0.5'"]),
        ("q\tp\tnan\n", ["the score must be a whole number, found 'nan'"]),
        ("q\tp\t4294967296\n", ["the score must be a whole number, found '4294967296'"]),
        ("q 0 p 1\n", ["expected 3 columns (query-id, corpus-id and score, parted by tabs), found 1"]),
        ("q\t0\tp\t1\n", ["expected 3 columns (query-id, corpus-id and score, parted by tabs), found 4"]),
        ("q\tp\t1\nx\xff\tp\t1\n", [Judgement(1, "q", "p", 1), "not UTF-8 text; convert the file to UTF-8"]),
        ("", []),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_judgements(tmp_path: Path, content: str, expected: list[Any], encoding: str) -> None:
    path = tmp_path / "test.tsv"
    broken = "\xff" in content
    if broken and encoding == "utf-16":
        return
    path.write_bytes(content.encode("latin-1" if broken else encoding))
    if encoding == "utf-16" and content.startswith("\ufeff"):
        return
    found = [each.message if isinstance(each, Problem) else each for each in judgements(path)]
    assert found == expected


def test_every_command_matches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "set", [1, 2], [10, 11], "query-id\tcorpus-id\tscore\n10\t1\t1\n11\t2\t1\n")
    asked = [{"_id": 10, "text": "where is passage 1"}, {"_id": 11, "text": "where is passage 2"}]
    Path("set/queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    for command in (
        ["data", "check", "set", "--strict"],
        ["data", "describe", "set"],
        ["data", "mine", "set", "--by", "bm25", "--per-row", "1", "--corpus", "set", "--out", "mined"],
        ["data", "dedup", "set", "--against", "set", "--by", "both", "--audit", "audit.jsonl"],
        ["evaluate", "bm25", "--on", "set", "--out", "out"],
    ):
        assert main(command) == 0, (command, capsys.readouterr().err)
    assert "100.00" in capsys.readouterr().out
    assert len(Path("audit.jsonl").read_text().splitlines()) == 2
