"""Leaks: planted test queries in the training rows are found, said, kept, and shown; whoever trained the model."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import datasets
import huggingface_hub
import pyarrow
import pytest
import yaml

import tiny
import tiny_mixture
from tdro import cli
from tdro.data.mixtures.build import built_task
from tdro.data.mixtures.folder import read_mixture
from tdro.data.testsets.test_texts import TestTexts
from tdro.errors import UserError
from tdro.evaluation.compare.examples import find_examples
from tdro.evaluation.leaks import find_leaks as leaks
from tdro.evaluation.leaks import training_queries
from tdro.evaluation.leaks.find_leaks import count_leaks, find_leaks, known_leaks, leak_counts, leaks_line
from tdro.evaluation.leaks.trained_on import TrainedDataSet, trained_on
from tdro.evaluation.leaks.training_queries import TrainingQueries
from tdro.evaluation.results import read_places
from tdro.files import fingerprint, read_json, read_jsonl, write_json, write_jsonl
from tdro.recipe.data_sections import Source
from tdro.run import pipeline

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
    (leak,) = [leak for leak in found["leaks"] if leak["test"] == "unseen"]
    assert (leak["leaked"], leak["queries"], leak["tasks"]) == (1, 10, {"task1": 1})
    example = leak["example"]
    assert (example["query"], example["task"], example["row"]) == (PLANTED, "task1", 7)
    assert leak_counts(found, ["unseen"]) == (1, 1, 1, 10)
    assert leaks_line(found, ["unseen"]) == (
        "1 of 1 test set shares queries with the training data, 1 of 10 queries in all"
    )

    monkeypatch.setattr(leaks, "leaks", lambda *texts: pytest.fail("looked again"))
    assert find_leaks(mixture, tmp_path / "run") == found == known_leaks(tmp_path / "run" / "leaks.json")
    assert known_leaks(tmp_path / "leaks.json") is None
    monkeypatch.undo()
    rows = read_jsonl(tmp_path / "mixture" / "train" / "task1.jsonl")
    rows[7]["query"] = "another question"
    write_jsonl(tmp_path / "mixture" / "train" / "task1.jsonl", rows)
    after = find_leaks(read_mixture(tmp_path / "mixture"), tmp_path / "run")
    assert leak_counts(after, ["unseen"]) == (0, 1, 0, 10)
    assert read_json(tmp_path / "run" / "leaks.json") == after


def test_copies_count_in_each_task_and_for_each_query_without_all_their_pairs():
    train = {"a": ["where do penguins live", "x"] * 3000, "b": ["Where do pengiuns live", "where do penguins live?"]}
    tests = [TestTexts("t", {str(key): "Where do penguins live?" for key in range(3000)} | {"other": "unlike them"})]
    (leak,) = count_leaks(train, tests)
    assert (leak["leaked"], leak["queries"], leak["tasks"]) == (3000, 3001, {"a": 3000, "b": 3000})
    assert leak["example"] == {
        "query_id": "0",
        "query": "Where do penguins live?",
        "task": "a",
        "row": 0,
        "train_query": "where do penguins live",
        "similarity": 1.0,
    }


def test_other_test_sets_stay_and_only_new_ones_are_looked_for(tmp_path, monkeypatch):
    train = {"a": ["best pizza in naples"]}
    leaky, clean = (
        TestTexts("leaky", {"1": "Best pizza in Naples"}),
        TestTexts("clean", {"1": "where do penguins live"}),
    )
    leaks.look_for_leaks(tmp_path / "leaks.json", train, [leaky], {})
    monkeypatch.setattr(leaks, "count_leaks", lambda train, tests: [test.name for test in tests] == ["clean"] and [])
    found = leaks.look_for_leaks(tmp_path / "leaks.json", train, [leaky, clean], {})
    assert leak_counts(found, ["leaky", "clean"]) == (1, 2, 1, 2)
    assert leaks_line(found, ["clean"], "m") == "no query of 1 test set is in the training data of m"


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
        pipeline.run_recipe(tiny_mixture.recipe(folder))
    return folder / "run"


def test_the_run_the_comparison_and_the_report_say_it_once(finished, capsys):
    found = read_json(finished / "leaks.json")
    leaking, tests, leaked, queries = leak_counts(found, found["tests"])
    line = f"{leaking} of {tests} test sets {'share' if leaking > 1 else 'shares'} queries with the training data, "
    line += f"{leaked} of {queries} queries in all"
    assert (tests, queries) == (5, 50) and leaking and leaked >= leaking
    log = (finished / "run.log").read_text()
    assert log.count("queries in all") == 1 and f"warning: {line}: see " in log
    comparison = read_json(finished / "comparison" / "main.json")
    assert [row["mixture"] for row in comparison["rows"]] == ["untrained", "bm25", "uniform", "top-50"]
    page = (finished / "report.html").read_text()
    assert page.count(line) == 1 and page.count(PLANTED) == 1 and "matching words alone" in page
    assert cli.main(["compare", str(finished)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count(f"warning: {line}: see {finished / 'leaks.json'}") == 1


# ---- models that are evaluated on benchmarks


@pytest.fixture
def place(finished, tmp_path, monkeypatch):
    """A working folder, far from the run, with the test sets `unseen` and `task0` of the mixture."""
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    for name in ("unseen", "task0"):
        shutil.copytree(finished.parent / "mixture" / "tests" / name, tmp_path / "sets" / name)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def evaluate(place, capsys, *models):
    """What the command prints, and the leaks of `unseen` by model."""
    capsys.readouterr()
    assert cli.main(["evaluate", *map(str, models), "--on", str(place / "sets"), "--out", str(place / "out")]) == 0
    found = {model.name: read_json(place / "out" / model.name / "leaks.json") for model in models}
    by_model = {name: [leak for leak in each["leaks"] if leak["test"] == "unseen"] for name, each in found.items()}
    return capsys.readouterr().out, found, by_model


def model_with_card(folder, card=""):
    tiny.static_model().save_pretrained(str(folder), create_model_card=False)
    if card:
        (folder / "README.md").write_text(card)
    return folder


def test_a_model_in_its_run_folder(finished, place, capsys, monkeypatch):
    uniform, top = (finished / "models" / "main" / name for name in ("uniform-seed1", "top-50-seed1"))
    calls = []
    monkeypatch.setattr(leaks, "leaks", lambda *texts, look=leaks.leaks: calls.append(1) or look(*texts))
    said, found, unseen = evaluate(place, capsys, uniform, top)
    (leak,) = unseen["uniform-seed1"]
    assert leak["example"] | {"similarity": 1} == {
        **{"query_id": "unseen-3", "query": PLANTED, "task": "task1", "row": 7, "similarity": 1},
        "train_query": "What is the captial city of Northern France  today",
    }
    assert found["uniform-seed1"]["told_by"] == f"its run folder {finished.resolve()}"
    trained = read_json(top / "training.json")["weights"]
    assert set(found["top-50-seed1"]["looked_at"]) == {name for name, weight in trained.items() if weight}
    assert bool(unseen["top-50-seed1"]) == bool(trained["task1"])
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert "nDCG@10 Recall@100 trained on" in lines and any(
        line.startswith("unseen ") and line.endswith(" 1 of 10") for line in lines
    )
    assert "queries with the training data of uniform-seed1, " in said
    looked = len(calls)
    assert evaluate(place, capsys, uniform, top)[1:] == (found, unseen) and len(calls) == looked


def test_a_copy_of_it_by_its_card(finished, place, capsys):
    copy = shutil.copytree(finished / "models" / "main" / "uniform-seed1", place / "copy")
    said, found, _ = evaluate(place, capsys, copy)
    assert set(found["copy"]["not_looked_at"].values()) == {"not found here"} and not found["copy"]["tests"]
    assert "training data of copy could not be read (task0: not found here; task1: not found here; " in said
    assert str(finished) not in (copy / "README.md").read_text()  # where the data are is nobody's business

    shutil.copytree(finished.parent / "mixture", place / "here" / "mixture")
    (leak,) = evaluate(place, capsys, copy)[2]["copy"]
    assert (leak["leaked"], leak["queries"], leak["tasks"]) == (1, 10, {"task1": 1})

    path = place / "here" / "mixture" / "train" / "task1.jsonl"
    write_jsonl(path, read_jsonl(path)[:-1])
    said, found, unseen = evaluate(place, capsys, copy)
    assert found["copy"]["not_looked_at"] == {"task1": "changed since the training"} and unseen["copy"] == []
    assert "(not looked at: task1: changed since the training)" in said


ROWS = [{"anchor": "w1 w2", "positive": "w3"}, {"anchor": PLANTED.upper(), "positive": "w4"}]
CARD = """---
tags: [sentence-transformers]
datasets:
- {place}
---
# A model

### Training Datasets

#### named

* Dataset: [named](https://huggingface.co/datasets/owner/all-named) at [0123456](https://huggingface.co)
* Size: 2 training samples

#### json

* Dataset: json
"""


def test_other_peoples_cards(place, capsys):
    """A local file, a data set in the cache of `datasets`, one that is nowhere, and no card at all."""
    write_jsonl(place / "rows.jsonl", ROWS)
    cache = place / "datasets" / "owner___all-named" / "default" / "0.0.0" / "abc"
    cache.mkdir(parents=True)
    table = pyarrow.Table.from_pylist([{"id": "1", **ROWS[0]}, {"id": "2", **ROWS[1]}])
    with pyarrow.ipc.new_stream(str(cache / "all-named-train.arrow"), table.schema) as stream:
        stream.write_table(table)
    local = model_with_card(place / "local", f"---\ndatasets: {place}/rows.jsonl\n---\n")
    hub = model_with_card(place / "hub", CARD.format(place="owner/nowhere"))
    unknown = model_with_card(place / "unknown")
    broken = model_with_card(place / "broken", "---\ndatasets: [\n---\n")
    said, found, unseen = evaluate(place, capsys, local, hub, unknown, broken)
    for name, task in (("local", f"{place}/rows.jsonl"), ("hub", "owner/all-named")):
        assert [(leak["leaked"], leak["tasks"]) for leak in unseen[name]] == [(1, {task: 1})], name
        assert f"warning: 1 of 2 test sets shares queries with the training data of {name}, 1 of 20 queries" in said
    assert found["hub"]["not_looked_at"] == {
        "json": "its card does not say where it is",
        "owner/nowhere": "not here and never downloaded, and HF_HUB_OFFLINE forbids asking the hub; unset it",
    }
    for name in ("unknown", "broken"):
        assert f"\ntraining data of {name} is not known: leaks not looked for" in said
        assert found[name]["told_by"] == "" and found[name]["tests"] == {}
    assert cli.main(["compare", str(place / "out"), "--baseline", "unknown"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "training data of broken, unknown is not known: leaks not looked for" in said
    assert "queries with the training data of hub, 1 of 20 queries in all (not looked at: " in said


def test_a_data_set_of_the_hub_is_streamed_for_a_while(place, monkeypatch):
    class Rows(list):
        def select_columns(self, names):
            assert names == ["text"]
            return self

    rows = Rows({"text": f"question {number}"} for number in range(3))
    rows.features = {"id": datasets.Value("string"), "text": datasets.Value("string")}
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *a, **more: SimpleNamespace(sha="abc"))
    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda *a, **more: ["one", "two"])
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **more: rows)
    data = TrainedDataSet("owner/name", "owner/name")
    with pytest.raises(UserError, match="time for the hub is used up"):
        TrainingQueries([place], seconds=-1).read(data)
    with monkeypatch.context() as patch:
        clock = iter([0, 0, 0, 2, 3])  # begun, asked, a row, a row, ended
        patch.setattr(training_queries, "time", SimpleNamespace(monotonic=clock.__next__))
        found = TrainingQueries([place], seconds=1).read(data)
        assert found == (["question 0", "question 1"], "after 2 queries the time for the hub was used up")
    whole = ([f"question {number}" for number in range(3)], "")
    assert TrainingQueries([place]).read(data) == whole
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **more: pytest.fail("streamed again"))
    assert TrainingQueries([place]).read(data) == whole


def test_what_was_built_is_found_without_its_source(place):
    write_jsonl(place / "rows.jsonl", ROWS)
    built = built_task(Source(source=str(place / "rows.jsonl")), "a")
    (place / "rows.jsonl").unlink()
    known = TrainedDataSet("a", "rows.jsonl", rows=2, fingerprint=fingerprint(built.queries))
    assert TrainingQueries([place]).read(known) == ([row["anchor"] for row in ROWS], "")
    with pytest.raises(UserError, match="not found here"):
        TrainingQueries([place]).read(TrainedDataSet("a", "rows.jsonl", rows=2, fingerprint="0" * 16))


def test_a_run_with_sources_and_relative_paths(place):
    """These are meant from the folder that the run was started in."""
    run = place / "project" / "runs" / "x"
    model = run / "models" / "main" / "uniform-seed1"
    write_jsonl(place / "project" / "data" / "a.jsonl", ROWS)
    sources = {"a": {"source": "data/a.jsonl", "limit": 9, "split": None}, "b": {"source": "owner/b", "subset": "en"}}
    write_json(run / "run.json", {"tasks": [{"name": "a", "rows": 2}, {"name": "b", "rows": 3}, {"name": "c"}]})
    write_json(model / "training.json", {"weights": {"a": 0.5, "b": 0.5, "c": 0.0}})
    (run / "recipe.yaml").write_text(yaml.dump({"folder": "runs/x", "data": {"mixture": None, "sources": sources}}))
    known = trained_on(str(model))
    assert [data.name for data in known.data] == ["a", "b"] and known.data[1].hub_id == "owner/b"
    assert TrainingQueries().read(known.data[0], known.homes)[0] == [row["anchor"] for row in ROWS]


def test_a_test_set_must_not_be_called_leaks(place, capsys):
    (place / "sets" / "unseen").rename(place / "sets" / "leaks")
    model = model_with_card(place / "model")
    assert cli.main(["evaluate", str(model), "--on", str(place / "sets")]) == 2
    assert "a test set of this name would replace leaks.json; rename the folder" in capsys.readouterr().err


# ---- examples


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
