"""Reading a BEIR folder: what is read, and that every broken file is named by file and line."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from tdro.errors import UserError
from tdro.evaluation.beir import read_beir

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
    assert data.passage_ids == ["p1", "p2", "p3"]
    assert data.passages == ["Cats They purr.", "Dogs bark.", "猫はどこ"]
    assert (data.query_ids, data.queries) == (["q1", "q2"], ["what purrs", "what barks"])
    assert data.qrels == {"q1": {"p1": 2, "p2": 0}, "q2": {"p2": 1}}


def test_header_is_optional_and_windows_line_ends_and_empty_lines_are_read(tmp_path):
    data = read_beir(write(tmp_path, qrels="q1\tp1\t1\r\n\r\nq2\tp2\t1\r\n"))
    assert data.qrels == {"q1": {"p1": 1}, "q2": {"p2": 1}}


def test_queries_without_a_relevant_passage_are_left_out_and_counted(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "tdro"):
        data = read_beir(write(tmp_path, qrels="q1\tp1\t0\nq2\tp2\t1\n"))
    assert data.query_ids == ["q2"]
    assert "1 of 2 queries have no relevant passage" in caplog.text


def test_warns_where_a_query_is_its_own_relevant_passage(tmp_path, caplog):
    queries = [{"_id": "p1", "text": "a"}]
    read_beir(write(tmp_path, queries=queries, qrels="p1\tp1\t1\n"))
    assert "1 queries have the id of a passage" in caplog.text


BROKEN = {
    "not JSON": ({"corpus": '{"_id": "p1", "text": "a"}\n{"_id": \n'}, "corpus.jsonl, line 2: not JSON"),
    "no id": (
        {"queries": [{"id": "q1", "text": "a"}]},
        "queries.jsonl, line 1: key '_id' must be a non-empty string",
    ),
    "number as id": (
        {"corpus": [{"_id": 3, "text": "a"}]},
        "corpus.jsonl, line 1: key '_id' must be .* found 3",
    ),
    "id twice, after an empty line": (
        {"corpus": '\n{"_id": "p1", "text": "a"}\n{"_id": "p1", "text": "b"}\n'},
        "corpus.jsonl, line 3: a second line has the _id 'p1'",
    ),
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
    "unknown query": ({"qrels": QRELS + "q9\tp1\t1\n"}, "test.tsv, line 5: no query 'q9' in queries.jsonl"),
    "unknown passage": (
        {"qrels": QRELS + "q1\tp9\t1\n"},
        "test.tsv, line 5: no passage 'p9' in corpus.jsonl",
    ),
    "judged twice": (
        {"qrels": QRELS + "q1\tp1\t1\n"},
        "test.tsv, line 5: 'q1' and 'p1' were judged 2 further up",
    ),
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
