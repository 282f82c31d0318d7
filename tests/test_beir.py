"""Reading a BEIR folder: what is read, and that every broken file is named by file and line."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from tdro.data.testsets.beir_data import read_beir
from tdro.errors import UserError

CORPUS = [
    {"_id": "p1", "title": "Cats", "text": "They purr."},
    {"_id": "p2", "title": "", "text": "Dogs bark."},
    {"_id": "p3", "text": "猫はどこ"},
]
QUERIES = [{"_id": "q1", "text": " what purrs "}, {"_id": "q2", "text": "what barks"}]
QRELS = "query-id\tcorpus-id\tscore\nq1\tp1\t2\nq1\tp2\t0\nq2\tp2\t1\n"


def write(folder: Path, corpus=CORPUS, queries=QUERIES, qrels=QRELS) -> Path:
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, rows in (("corpus", corpus), ("queries", queries)):
        text = rows if isinstance(rows, str) else "".join(f"{json.dumps(row)}\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text(qrels, encoding="utf-8")
    return folder


def test_reads_texts_and_graded_judgements(tmp_path):
    data = read_beir(write(tmp_path))
    assert data.passages.ids.to_pylist() == ["p1", "p2", "p3"]
    assert data.passages.texts[0:3] == ["Cats They purr.", "Dogs bark.", "猫はどこ"]
    assert data.passages.texts[1:2] == ["Dogs bark."]
    assert (data.query_ids, data.queries) == (["q1", "q2"], ["what purrs", "what barks"])
    assert data.qrels == {"q1": {"p1": 2, "p2": 0}, "q2": {"p2": 1}}


def test_header_is_optional_and_windows_line_ends_and_empty_lines_are_read(tmp_path):
    data = read_beir(write(tmp_path, qrels="q1\tp1\t1\r\n\r\nq2\tp2\t1\r\n"))
    assert data.qrels == {"q1": {"p1": 1}, "q2": {"p2": 1}}


def test_queries_without_a_judgement_are_left_out_and_one_judged_0_counts(tmp_path, caplog):
    queries = [*QUERIES, {"_id": "q3", "text": "nobody judged this"}]
    with caplog.at_level(logging.INFO, "tdro"):
        data = read_beir(write(tmp_path, queries=queries, qrels="q1\tp1\t0\nq2\tp2\t1\n"))
    assert data.query_ids == ["q1", "q2"]
    assert "1 of 3 queries have no judgement and are left out" in caplog.text
    assert "1 queries have no relevant passage; each counts as 0" in caplog.text


def test_an_empty_query_and_an_empty_passage_are_texts_too(tmp_path):
    corpus = [{"_id": "p1", "text": ""}, {"_id": "p2", "title": None, "text": " "}, {"_id": "p3", "text": "\ud800 a"}]
    data = read_beir(write(tmp_path, corpus=corpus, queries=[{"_id": "q1", "text": " "}], qrels="q1\tp1\t1\n"))
    assert (data.queries, data.passages.texts[0:3]) == ([""], ["", "", "? a"])


ODD = {
    "id twice, after an empty line": (
        {"corpus": '\n{"_id": "p2", "text": "a"}\n{"_id": "p1", "text": "a"}\n{"_id": "p2", "text": "b"}\n'},
        "corpus.jsonl, line 4: a second line has the _id 'p2'; it counts, and line 2 is dropped, as in BEIR",
    ),
    "query twice": (
        {"queries": [*QUERIES, {"_id": "q2", "text": "b"}]},
        "queries.jsonl, line 3: a second line has the _id 'q2'; it counts, and line 2 is dropped, as in BEIR",
    ),
    "unknown query": (
        {"qrels": QRELS + "q9\tp1\t1\n"},
        "test.tsv, line 5: no query 'q9' in queries.jsonl; the judgement is dropped",
    ),
    "unknown passage": (
        {"qrels": QRELS + "q1\tp9\t1\n"},
        "test.tsv, line 5: no passage 'p9' in corpus.jsonl; it counts as one that is never found, as in BEIR",
    ),
    "judged twice": (
        {"qrels": QRELS + "q1\tp1\t1\n"},
        "test.tsv, line 5: 'q1' and 'p1' were judged 2 further up; 1 counts, as in BEIR",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_lines_are_taken_as_in_beir_and_named(tmp_path, case, caplog):
    files, problem = ODD[case]
    data = read_beir(write(tmp_path, **files))
    place = tmp_path if problem.startswith(("corpus", "queries")) else tmp_path / "qrels"
    assert data.problems == [f"{place}/{problem}"]
    assert problem in caplog.text
    assert ("q9" in data.qrels, "p9" in data.qrels["q1"]) == (False, case == "unknown passage")
    assert data.qrels["q1"]["p1"] == (1 if case == "judged twice" else 2)
    if case.startswith("id twice"):
        assert data.passages.ids.to_pylist() == ["p1", "p2"]
        assert data.passages.texts[0:2] == ["a", "b"]
    if case == "query twice":
        assert data.queries == ["what purrs", "b"]


def test_the_log_names_the_first_odd_lines_and_counts_the_rest(tmp_path, caplog):
    data = read_beir(write(tmp_path, qrels=QRELS + "".join(f"q1\tx{number}\t1\n" for number in range(9))))
    assert len(data.problems) == 9
    assert "4 more such lines" in caplog.text
    assert "'x4'" in caplog.text
    assert "'x5'" not in caplog.text


def test_places_and_order_of_ids(tmp_path):
    corpus = [{"_id": key, "text": key} for key in ("b", "é", "a", "𝕏", "B")]
    passages = read_beir(write(tmp_path, corpus=corpus, qrels="q1\tb\t1\n")).passages
    assert [passages.ids[int(place)].as_py() for place in passages.by_id()] == sorted("béa𝕏B")
    assert passages.places(["a", "nowhere", "b", "a"]) == {"a": 2, "b": 0}
    assert passages.places([]) == {}


def test_warns_where_a_query_is_its_own_relevant_passage(tmp_path, caplog):
    queries = [{"_id": "p1", "text": "a"}]
    read_beir(write(tmp_path, queries=queries, qrels="p1\tp1\t1\n"))
    assert "1 queries have the id of a passage" in caplog.text


BROKEN = {
    "not JSON": ({"corpus": '{"_id": "p1", "text": "a"}\n{"_id": \n'}, "corpus.jsonl, line 2: not JSON"),
    "no id": (
        {"queries": [{"id": "q1", "text": "a"}]},
        "queries.jsonl, line 1: key '_id' must be a non-empty text or a whole number, found None",
    ),
    "number with a point as id": (
        {"corpus": [{"_id": 10.0, "text": "a"}]},
        "corpus.jsonl, line 1: key '_id' must be .* found 10.0; write it as a text, such as \"10\"",
    ),
    "true as id": ({"queries": [{"_id": True, "text": "a"}]}, "queries.jsonl, line 1: key '_id' must be .* found True"),
    "no text": (
        {"corpus": [{"_id": "p1", "title": "a"}]},
        "corpus.jsonl, line 1: key 'text' must be .* missing",
    ),
    "text a list": ({"queries": [{"_id": "q1", "text": ["a"]}]}, "queries.jsonl, line 1: key 'text' .* list"),
    "no passage": ({"corpus": ""}, "corpus.jsonl: no rows"),
    "four columns": (
        {"qrels": "q1\t0\tp1\t1\n"},
        r"test.tsv, line 1: expected 3 columns \(query-id.* found 4",
    ),
    "spaces": ({"qrels": QRELS + "q2 p1 1\n"}, "test.tsv, line 5: expected 3 columns .* found 1"),
    "fraction": (
        {"qrels": QRELS + "q2\tp1\t0.5\n"},
        "test.tsv, line 5: the score must be a whole number, found '0.5'",
    ),
    "half a line": (
        {"qrels": QRELS + "q1"},
        "test.tsv, line 5: expected 3 columns .* found 1; nothing of this test set was evaluated",
    ),
    "score out of all bounds": ({"qrels": QRELS + f"q1\tp1\t{'9' * 5000}\n"}, "test.tsv, line 5: the score must be"),
    "nested too deep": ({"queries": "[" * 100_000}, "queries.jsonl, line 1: lists or objects nested too deep"),
    "half a surrogate pair as id": ({"corpus": [{"_id": "\ud800", "text": "a"}]}, "corpus.jsonl, line 1: key '_id'"),
    "nothing relevant": ({"qrels": "q1\tp1\t0\n"}, "test.tsv: no query has a relevant passage"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_named(tmp_path, case):
    files, message = BROKEN[case]
    with pytest.raises(UserError, match=message):
        read_beir(write(tmp_path, **files))


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_missing_files_are_named(tmp_path, name):
    (write(tmp_path) / name).unlink()
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / name}: no such file")):
        read_beir(tmp_path)
