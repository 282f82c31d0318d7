"""Leaks: planted test queries in the training rows are found, said, kept, and shown."""

from __future__ import annotations

import json

import pytest

import tiny_mixture
from tdro import cli, pipeline
from tdro.data.mixture import read_mixture
from tdro.data.test_texts import TestTexts
from tdro.evaluation import leaks
from tdro.evaluation.examples import find_examples
from tdro.evaluation.leaks import count_leaks, find_leaks, known_leaks, leak_text
from tdro.evaluation.results import read_places
from tdro.files import read_json, read_jsonl, write_jsonl

PLANTED = "what is the capital city of northern france today?"


def plant(folder):
    """A tiny mixture: a query of the test set `unseen` stands in the training rows of task1, written otherwise."""
    tiny_mixture.mixture(folder)
    queries = read_jsonl(folder / "tests" / "unseen" / "queries.jsonl")
    queries[3]["text"] = PLANTED
    write_jsonl(folder / "tests" / "unseen" / "queries.jsonl", queries)
    rows = read_jsonl(folder / "train" / "task1.jsonl")
    rows[7]["query"] = "What is the captial city of Northern France  today"
    write_jsonl(folder / "train" / "task1.jsonl", rows)
    return folder


def test_a_planted_leak_is_found_and_kept(tmp_path, monkeypatch):
    mixture = read_mixture(plant(tmp_path / "mixture"))
    found = find_leaks(mixture, tmp_path / "run")
    (leak,) = [leak for leak in found if leak["test"] == "unseen"]
    assert (leak["leaked"], leak["queries"], leak["tasks"]) == (1, 10, {"task1": 1})
    example = leak["example"]
    assert (example["query"], example["task"], example["row"]) == (PLANTED, "task1", 7)
    assert "1 of 10 test queries" in leak_text(leak) and "row 7 of task1" in leak_text(leak)

    monkeypatch.setattr(leaks, "leaks", lambda *texts: pytest.fail("looked again"))
    assert find_leaks(mixture, tmp_path / "run") == found
    assert known_leaks([tmp_path / "run", tmp_path], ["unseen"]) == [leak]
    assert known_leaks([tmp_path / "run"], ["other"]) == []
    assert known_leaks([tmp_path], ["unseen"]) is None
    monkeypatch.undo()
    rows = read_jsonl(tmp_path / "mixture" / "train" / "task1.jsonl")
    rows[7]["query"] = "another question"
    write_jsonl(tmp_path / "mixture" / "train" / "task1.jsonl", rows)
    after = find_leaks(read_mixture(tmp_path / "mixture"), tmp_path / "run")
    assert [leak for leak in after if leak["test"] == "unseen"] == []
    assert read_json(tmp_path / "run" / "leaks.json")["leaks"] == after


def test_queries_are_counted_once_and_by_task():
    tests = [
        TestTexts("clean", {"1": "where do penguins live"}),
        TestTexts("leaky", {"1": "best pizza in naples", "2": "x"}),
    ]
    train = {"a": ["Best pizza in Naples", "pizza in Naples, best"], "b": ["best pizza in naples?"], "c": []}
    (leak,) = count_leaks(train, tests)
    assert (leak["test"], leak["leaked"], leak["tasks"]) == ("leaky", 1, {"a": 1, "b": 1})
    assert leak["example"]["similarity"] == 1
    assert count_leaks({}, tests) == [] and count_leaks(train, []) == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run over the mixture with the planted leak."""
    folder = tmp_path_factory.mktemp("leaky")
    plant(folder / "mixture")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDRO_CACHE", str(folder / "cache"))
        pipeline.run(tiny_mixture.recipe(folder))
    return folder / "run"


def test_the_run_the_comparison_and_the_report_say_it(finished, capsys):
    assert "unseen: 1 of 10 test queries" in (finished / "run.log").read_text()
    comparison = read_json(finished / "comparison" / "main.json")
    assert "unseen" in [leak["test"] for leak in comparison["leaks"]]
    assert [row["mixture"] for row in comparison["rows"]] == ["untrained", "bm25", "uniform", "top-50"]
    page = (finished / "report.html").read_text()
    assert "unseen: 1 of 10 test queries" in page and "matching words alone" in page
    assert cli.main(["compare", str(finished)]) == 0
    assert "warning: unseen: 1 of 10 test queries" in capsys.readouterr().out


def test_examples_have_the_texts_of_the_run(finished, capsys):
    models = read_places([finished])
    assert cli.main(["compare", str(finished), "--examples", "2", "--baseline", "bm25"]) == 0
    said = capsys.readouterr().out
    assert "untrained against bm25: queries that gained most" in said and "not found" not in said
    comparison = json.loads((finished / "comparison" / "main.json").read_text())
    found = {each["model"]: each for each in find_examples(models, comparison, 3)}
    assert set(found) == {"untrained", "bm25", "top-50"}
    data = {model.name: model for model in models}
    gained = found["bm25"]["gained"]
    assert gained, "words find what six steps of training do not"
    for each in gained:
        place = data["bm25"].tests[each["test"]]["queries"].index(each["query"])
        assert each["values"]["bm25"] == data["bm25"].tests[each["test"]]["ndcg@10"][place]
        assert each["relevant"][0]["id"] == f"d-{each['query']}" and each["relevant"][0]["text"]
        assert each["first"]["uniform"]["text"] and each["text"]
    if all(each["values"]["bm25"] == 1 for each in gained):
        assert all(each["first"]["bm25"]["id"] == each["relevant"][0]["id"] for each in gained)
    assert len(found["top-50"]["lost"]) <= 3


def test_changed_test_sets_lend_no_texts(finished, capsys):
    path = finished.parent / "mixture" / "tests" / "task0" / "queries.jsonl"
    before = path.read_text()
    path.write_text(before + "\n")
    try:
        models = read_places([finished])
        comparison = read_json(finished / "comparison" / "main.json")
        found = find_examples(models, comparison, 100)
    finally:
        path.write_text(before)
    texts = {each["test"]: each["text"] for entry in found for each in entry["gained"] + entry["lost"]}
    assert texts.get("task0") is None and any(texts.values())
