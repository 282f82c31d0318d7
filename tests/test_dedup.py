"""`tdro data dedup`: which rows leave, what the audit says of them, and the mixture that is left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset

import tiny_mixture
from tdro.cli import main
from tdro.data.mixtures.folder import read_mixture
from tdro.data.quality.dedup import deduplicate
from tdro.data.task import Task
from tdro.data.testsets.test_texts import TestTexts, find_test_texts
from tdro.errors import UserError
from tdro.files import read_json, read_jsonl, write_atomic, write_json, write_jsonl


def task(name: str, *rows: tuple[str, str] | str) -> Task:
    columns: dict[str, list] = {"id": [], "query": [], "positives": [], "negatives": []}
    for number, row in enumerate(rows):
        query, positive = row if isinstance(row, tuple) else (row, f"answer {number} of {name}")
        columns["id"].append(f"{name}-{number}")
        columns["query"].append(query)
        columns["positives"].append([positive, f"second answer {number} of {name}"])
        columns["negatives"].append([])
    return Task(name, Dataset.from_dict(columns))


NEWS = task(
    "news", "who won the election", "What is the capital of France?", "what is the captial of france", "a b c d"
)
FAQ = task("faq", "Who won the election?", "how do I return a parcel", "how do i retrun a parcel", "unlike all others")
TEST = TestTexts("quiz", {"q1": "what is the capital of France", "q2": "how to return a shirt"})


def kept(found) -> list[list[int]]:
    return [rows.tolist() for rows in found.kept]


def test_rows_that_are_near_test_queries_leave():
    found = deduplicate([NEWS, FAQ], [TEST])
    assert kept(found) == [[0, 3], [0, 1, 2, 3]]
    exact, near = found.audit
    assert (exact.task, exact.row, exact.id, exact.kind, exact.similarity) == ("news", 1, "news-1", "exact", 1.0)
    assert (exact.of, exact.other, exact.other_id, exact.other_text) == ("test", "quiz", "q1", TEST.queries["q1"])
    assert (near.row, near.kind, near.text) == (2, "near", "what is the captial of france")
    assert 0.9 < near.similarity < 1
    assert found.removed("news") == {"exact": 1, "near": 1}
    assert found.removed("faq") == {}


def test_each_test_set_that_a_row_stands_in_is_named_once():
    other = TestTexts("exam", {"e1": "What's the capital of France", "e2": "what is the capital of france?"})
    found = deduplicate([NEWS], [TEST, other])
    assert [(d.row, d.other, d.other_id) for d in found.audit if d.row == 1] == [(1, "quiz", "q1"), (1, "exam", "e2")]


@pytest.mark.parametrize(
    ("within", "across", "expected"),
    [
        (False, False, [[0, 1, 2, 3], [0, 1, 2, 3]]),
        (True, False, [[0, 1, 3], [0, 1, 3]]),
        (False, True, [[0, 1, 2, 3], [1, 2, 3]]),
        (True, True, [[0, 1, 3], [1, 3]]),
    ],
)
def test_duplicates_of_other_rows(within, across, expected):
    found = deduplicate([NEWS, FAQ], within=within, across=across)
    assert kept(found) == expected
    for duplicate in found.audit:
        assert duplicate.of == "train"
        assert (duplicate.task == duplicate.other) == (duplicate.task == "news" or duplicate.row == 2)


def test_across_tasks_every_copy_leaves_the_later_task_and_none_the_earlier():
    found = deduplicate([task("one", "copy me", "Copy me!"), task("two", "copy me.", "copy  me", "fresh")], across=True)
    assert kept(found) == [[0, 1], [2]]


def test_a_row_that_leaves_takes_no_other_with_it():
    slips = ["the university library", "the univresity library", "the univresity libraryy"]
    found = deduplicate([task("chain", *slips)], within=True)
    assert kept(found) == [[0, 2]]
    found = deduplicate([task("chain", *slips)], [TestTexts("t", {"1": slips[0]})], within=True)
    assert kept(found)[0] == [2]


def test_by_positive():
    rows = task(
        "rows", ("first question", "The answer is long and clear."), ("second thing", "the answer is long and clear")
    )
    tests = [TestTexts("t", {"1": "something else"}, {"p": "THE ANSWER is long, and clear."})]
    assert kept(deduplicate([rows], tests)) == [[0, 1]]
    found = deduplicate([rows], tests, by="positive")
    assert kept(found) == [[]]
    assert {duplicate.by for duplicate in found.audit} == {"positive"}
    assert kept(deduplicate([rows], by="positive", within=True)) == [[0]]
    assert kept(deduplicate([NEWS, rows], [TEST, *tests], by="both")) == [[0, 3], []]


def beir(folder: Path, queries: dict[str, str], judged: dict[str, str] | None = None) -> Path:
    write_jsonl(folder / "queries.jsonl", ({"_id": key, "text": text} for key, text in queries.items()))
    write_jsonl(folder / "corpus.jsonl", [{"_id": "p1", "title": "Big", "text": "words"}, {"_id": "p2", "text": "no"}])
    if judged is not None:
        lines = "".join(f"{query}\t{passage}\t1\n" for query, passage in judged.items())
        write_atomic(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\n" + lines)
    return folder


def test_only_judged_queries_of_a_beir_folder_are_test_queries(tmp_path):
    queries = {"q1": "one", "q2": "two"}
    (read,) = find_test_texts(str(beir(tmp_path / "set", queries, {"q2": "p1"})), passages=True)
    assert (read.name, read.queries, read.passages) == ("set", {"q2": "two"}, {"p1": "Big words"})
    (read,) = find_test_texts(str(beir(tmp_path / "bare", queries)))
    assert read.queries == queries


def test_plain_text_has_a_query_a_line(tmp_path):
    path = tmp_path / "queries.txt"
    write_atomic(path, "\ufefffirst\r\n\n  second \n")
    (read,) = find_test_texts(str(path))
    assert read.queries == read.passages == {"1": "first", "3": "second"}


def test_the_test_sets_of_a_mixture(tmp_path):
    read = find_test_texts(str(tiny_mixture.mixture(tmp_path / "mixture", tasks=2)))
    assert [test.name for test in read] == ["task0", "task1", "unseen"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"\xff\xfe\x00", "cannot be read as UTF-8"), (b" \n", "holds no test query")],
)
def test_text_files_that_will_not_do(tmp_path, content, message):
    path = tmp_path / "queries.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        find_test_texts(str(path))


def test_a_data_file_is_not_taken_for_plain_text(tmp_path):
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "1", "text": "x"}])
    with pytest.raises(UserError, match="one a line"):
        find_test_texts(str(tmp_path / "queries.jsonl"))


@pytest.mark.parametrize("line", ['{"_id": 1.5, "text": "x"}', '{"_id": "1"}', "[]", "{"])
def test_broken_test_queries_are_named_by_file_and_line(tmp_path, line):
    write_atomic(tmp_path / "queries.jsonl", f'{{"_id": "0", "text": "fine"}}\n{line}\n')
    with pytest.raises(UserError, match=r"queries\.jsonl, line 2"):
        find_test_texts(str(tmp_path))


@pytest.fixture
def leaky(tmp_path) -> Path:
    """A mixture of two tasks; a row of the first is in the test set, and one of the second is the first's copy."""
    folder = tiny_mixture.mixture(tmp_path / "mixture", tasks=2)
    first, second = (read_jsonl(folder / "train" / f"task{number}.jsonl") for number in (0, 1))
    test = read_jsonl(folder / "tests" / "task0" / "queries.jsonl")
    first[3]["query"] = test[5]["text"].upper() + " ?"
    second[7]["query"] = first[0]["query"]
    write_jsonl(folder / "train" / "task0.jsonl", first)
    write_jsonl(folder / "train" / "task1.jsonl", second)
    content = read_json(folder / "mixture.json")
    content["tasks"][0] |= {"instruction": "Find it", "in_batch_negatives": False}
    write_json(folder / "mixture.json", content)
    return folder


def test_the_command_writes_a_new_mixture_and_an_audit(leaky, tmp_path, capsys):
    before = {path: path.read_bytes() for path in leaky.rglob("*") if path.is_file()}
    out, audit = tmp_path / "clean", tmp_path / "audit.jsonl"
    arguments = [
        "data",
        "dedup",
        str(leaky),
        "--against",
        str(leaky),
        "--across",
        "--out",
        str(out),
        "--audit",
        str(audit),
    ]
    assert main(arguments) == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert printed[1:3] == [["task0", "12", "1", "0", "11"], ["task1", "24", "1", "0", "23"]]
    old, new = read_mixture(leaky), read_mixture(out)
    assert new.tasks[0].rows["id"][:] == [*old.tasks[0].rows["id"][:3], *old.tasks[0].rows["id"][4:]]
    assert new.tasks[1].rows["id"][:] == [*old.tasks[1].rows["id"][:7], *old.tasks[1].rows["id"][8:]]
    assert (new.tasks[0].instruction, new.tasks[0].in_batch_negatives) == ("Find it", False)
    assert [(test.name, test.task) for test in new.tests] == [(test.name, test.task) for test in old.tests]
    entries = read_json(out / "mixture.json")["tasks"]
    assert [entry["rows"] for entry in entries] == [11, 23] and all(entry["sha256"] for entry in entries)
    lines = read_jsonl(audit)
    assert [(line["task"], line["row"], line["of"], line["other"]) for line in lines] == [
        ("task0", 3, "test", "task0"),
        ("task1", 7, "train", "task0"),
    ]
    assert lines[0]["other_id"] and lines[0]["other_text"] and lines[0]["text"].endswith("?")
    assert {path: path.read_bytes() for path in leaky.rglob("*") if path.is_file()} == before


def test_nothing_of_the_users_is_overwritten(leaky, tmp_path, capsys):
    against = ["--against", str(leaky / "tests" / "task0")]
    out, audit = tmp_path / "out", tmp_path / "audit.jsonl"
    write_atomic(out / "precious.txt", "mine")
    audit.write_text("mine")
    for more in (["--out", str(out)], ["--out", str(out), "--force"], ["--audit", str(audit)], ["--out", str(leaky)]):
        assert main(["data", "dedup", str(leaky), *against, *more]) == 2
    assert main(["data", "dedup", str(leaky), *against, "--out", str(tmp_path), "--force"]) == 2
    assert (out / "precious.txt").read_text() == audit.read_text() == "mine"
    assert "is no mixture" in capsys.readouterr().err
    new = tmp_path / "new"
    assert main(["data", "dedup", str(leaky), *against, "--out", str(new)]) == 0
    assert main(["data", "dedup", str(leaky), *against, "--within", "--out", str(new)]) == 2  # of other inputs
    assert main(["data", "dedup", str(leaky), *against, "--out", str(new), "--audit", str(audit)]) == 2
    assert main(["data", "dedup", str(leaky), *against, "--out", str(new), "--audit", str(audit), "--force"]) == 0
    assert json.loads(audit.read_text())["task"] == "task0"


def test_data_files_become_a_mixture(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    rows = [
        {"anchor": "where is the station", "positive": "over there"},
        {"anchor": "what time is it", "positive": "noon"},
    ]
    write_jsonl(tmp_path / "my rows.jsonl", rows)
    (tmp_path / "test.txt").write_text("Where is the staton?\n")
    out = tmp_path / "clean"
    arguments = [str(tmp_path / "my rows.jsonl"), "--against", str(tmp_path / "test.txt"), "--out", str(out)]
    assert main(["data", "dedup", *arguments]) == 0
    (read,) = read_mixture(out).tasks
    assert (read.name, read.rows["query"][:]) == ("my-rows", ["what time is it"])
    assert "my-rows" in capsys.readouterr().out


def test_a_task_without_rows_is_left_out_and_said(tmp_path, capsys):
    folder = tiny_mixture.mixture(tmp_path / "mixture", tasks=2)
    texts = [row["query"] for row in read_jsonl(folder / "train" / "task0.jsonl")]
    (tmp_path / "all.txt").write_text("\n".join(texts))
    out = tmp_path / "out"
    assert main(["data", "dedup", str(folder), "--against", str(tmp_path / "all.txt"), "--out", str(out)]) == 0
    assert "task0: no row is left" in capsys.readouterr().out
    mixture = read_mixture(out)
    assert mixture.names == ["task1"] and {test.task for test in mixture.tests} == {"", "task1"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{folder}"], "nothing to compare with"),
        (["{folder}", "--against", "nowhere"], "no such file"),
        (["{folder}", "{folder}", "--within"], "one mixture folder"),
        (["nowhere.jsonl", "--within"], "no such file"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path, capsys, arguments, message):
    folder = str(tiny_mixture.mixture(tmp_path / "mixture", tasks=1))
    assert main(["data", "dedup", *(argument.format(folder=folder) for argument in arguments)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0.5", "2", "much", "nan"])
def test_a_threshold_out_of_range(value, capsys):
    with pytest.raises(SystemExit):
        main(["data", "dedup", "x", "--within", "--threshold", value])
    assert "above 0.5" in capsys.readouterr().err
