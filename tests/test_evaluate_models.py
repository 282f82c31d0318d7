"""``tdro evaluate MODEL… --on NAME…``: result files, prompts, and the same numbers as mteb's own evaluation."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

import tiny
from tdro.cli import main
from tdro.data.testsets.mteb_task import write_folder
from tdro.errors import UserError
from tdro.evaluation.compare.compare import compare_places
from tdro.evaluation.compare.compare_table import comparison_table
from tdro.evaluation.evaluate_models import evaluate_models, model_names
from tdro.evaluation.results import read_group
from tdro.evaluation.scoring.combine_results import average_parts, join_parts
from tdro.evaluation.scoring.evaluate import evaluate_all
from tdro.evaluation.scoring.find_benchmark import find_benchmark
from tdro.evaluation.scoring.mkqa import LANGUAGES
from tdro.evaluation.scoring.model_prompts import Instruction, ModelPrompts, prompts_for, prompts_of, read_instructions


def beir_rows(seed, queries=8, passages=40):
    draw = random.Random(seed)
    texts = [" ".join(draw.choices(tiny.WORDS, k=6)) for _ in range(passages)]
    return {
        "corpus": {f"p{number}": {"title": "", "text": text} for number, text in enumerate(texts)},
        "queries": {f"q{number}": " ".join(texts[number].split()[:2]) for number in range(queries)},
        "relevant_docs": {f"q{number}": {f"p{number}": 1, f"p{number + 9}": 2} for number in range(queries)},
    }


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    for seed, name in ((1, "one"), (2, "two")):
        write_folder(beir_rows(seed), tmp_path / "sets" / name, leave_out_own=False)
        tiny.static_model(seed=seed).save_pretrained(str(tmp_path / f"model-{name}"))
    return tmp_path


def test_the_command_evaluates_models_that_can_then_be_compared(place, capsys):
    arguments = ["evaluate", "model-one", "model-two", "--on", "sets", "sets/one", "--instruction", "two=w7 w8"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "model-one: evaluation/model-one" in said
    assert "mean of sets (2 test sets)" in said
    models = read_group(place / "evaluation")
    assert [model.name for model in models] == ["model-one", "model-two"]
    assert set(models[0].tests) == {"one", "two"}
    assert (place / "evaluation/model-one/two.trec").exists()
    assert not (place / "evaluation/model-one/mteb").exists()  # mteb knows no task of these names
    own = json.loads((place / "evaluation/model-one/mteb-own/two.json").read_text())
    assert own["task_name"] == "two" and 0 < own["scores"]["test"][0]["main_score"] <= 1
    comparison = compare_places([place / "evaluation"], "model-one", examples=1)
    (shown,) = [each[key][0] for each in comparison["examples"] for key in ("gained", "lost") if each[key]][:1]
    assert shown["text"] and shown["relevant"][0]["text"]  # the texts are found without a recipe
    assert (
        "trained" not in comparison_table(comparison).split("training data")[0]
    )  # nobody knows, and there are no seeds
    assert "seed" not in comparison_table(comparison)

    # As evaluate_all gives it: the instruction in the template of training, on queries only.
    (part,) = find_benchmark("sets/two").parts
    test = part.test_set(("Instruct: w7 w8\nQuery: ", ""))
    (expected,) = evaluate_all("model-one", [test], place / "direct", model_name="x")
    assert models[0].tests["two"]["ndcg@10"] == expected["ndcg@10"]
    before = (place / "evaluation/model-one/two.json").stat().st_mtime_ns
    assert main(arguments) == 0
    assert (place / "evaluation/model-one/two.json").stat().st_mtime_ns == before


def test_bm25_stands_beside_models(place, capsys):
    for forum in ("android", "unix"):
        write_folder(beir_rows(3), place / "data" / "cqadupstack" / forum, leave_out_own=False)
    assert main(["evaluate", "bm25", "model-one", "--on", "sets", "data/cqadupstack"]) == 0
    said = capsys.readouterr().out
    assert "bm25: evaluation/bm25" in said and "training data of bm25" not in said
    words = read_group(place / "evaluation")[0]
    assert words.name == "bm25" and set(words.tests) == {"one", "two", "CQADupstackRetrieval"}
    assert (place / "evaluation/bm25/CQADupstackRetrieval/CQADupstackAndroidRetrieval.json").is_file()
    assert compare_places([place / "evaluation"], "bm25")
    (place / "passages").mkdir()
    (place / "passages" / "corpus.jsonl").write_text('{"_id": "1", "text": "w1 w2"}\n')
    assert main(["evaluate", "bm25", "--on", "mkqa:passages"]) == 2
    assert "bm25 on mkqa" in capsys.readouterr().err


def test_results_of_another_model_are_not_replaced_unasked(place, capsys):
    (place / "other").mkdir()
    (place / "model-two").rename(place / "other" / "model-one")
    assert main(["evaluate", "model-one", "--on", "sets"]) == 0
    assert main(["evaluate", "other/model-one", "--on", "sets/one"]) == 2
    assert "has the results of" in capsys.readouterr().err
    assert main(["evaluate", "other/model-one", "--on", "sets/one", "--force"]) == 0
    assert list(read_group(place / "evaluation")[0].tests) == ["one"]  # "two" was of the other weights
    assert main(["evaluate", "model-one", "--on", "sets/one"]) == 2
    assert main(["evaluate", "model-one", "other/model-one", "--on", "sets/one", "--out", "both"]) == 0
    assert len(read_group(place / "both")) == 2


def test_what_is_wrong_with_a_test_set_is_named_by_file_and_line(place, capsys):
    """Once, however many models; what was done stands in the results too. A line that cannot be read ends it."""
    qrels, corpus = place / "sets/one/qrels/test.tsv", place / "sets/one/corpus.jsonl"
    judged, passages = len(qrels.read_text().splitlines()), len(corpus.read_text().splitlines())
    for path, line in ((qrels, "nobody\tp1\t1"), (qrels, "q1\tgone\t1"), (corpus, '{"_id": "p1", "text": "w1"}')):
        with path.open("a") as file:
            file.write(line + "\n")
    assert main(["evaluate", "model-one", "model-two", "--on", "sets/one"]) == 0
    said = capsys.readouterr().out
    problems = [
        f"{corpus}, line {passages + 1}: a second line has the _id 'p1'; it counts, and line 2 is dropped, as in BEIR",
        f"{qrels}, line {judged + 1}: no query 'nobody' in queries.jsonl; the judgement is dropped",
        f"{qrels}, line {judged + 2}: no passage 'gone' in corpus.jsonl; it counts as one that is never found",
    ]
    assert [said.count(f"warning: {problem}") for problem in problems] == [1, 1, 1]
    kept = json.loads((place / "evaluation/model-two/one.json").read_text())["problems"]
    assert all(found.startswith(problem) for found, problem in zip(kept, problems, strict=True))

    before = qrels.read_bytes()
    for line, wrong in (
        (b"q1 p1 1", "expected 3 columns"),
        (b"q1\tp1\tx", "the score must be"),
        (b"\xff", "not UTF-8"),
    ):
        qrels.write_bytes(before + line + b"\n")
        assert main(["evaluate", "model-one", "--on", "sets/one"]) == 2
        said = capsys.readouterr().err
        assert (
            said.startswith(f"error: {qrels}, line {judged + 3}: {wrong}")
            and "nothing of this test set was evaluated" in said
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model-one"], "a model; say on what"),
        (["quickstart", "other"], "takes one recipe"),
        (["quickstart", "--data", "sets"], "takes one recipe"),
        (["no-such-recipe"], "no-such-recipe: no such file"),
        (["model-one", "--on", "sets", "--data", "nowhere"], "nowhere: no such folder"),
        (["model-one", "--on", "sets", "--instruction", "oen=w1"], "did you mean 'one'"),
        (["model-one", "--on", "sets", "--instruction", "w1"], "expected NAME=INSTRUCTION"),
        (["model-one", "./model-one", "--on", "sets"], "named twice"),
        (["model-one", "--on", "sets", "--out", "."], "model-one is a model"),
    ],
)
def test_what_is_wrong_with_a_command_is_said(place, capsys, arguments, message):
    assert main(["evaluate", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_names_have_as_many_parts_as_tell_them_apart(tmp_path):
    assert model_names(["intfloat/e5-small"]) == ["e5-small"]
    (tmp_path / "blob").mkdir()
    (tmp_path / "mine").symlink_to(tmp_path / "blob")
    assert model_names([str(tmp_path / "mine")]) == ["mine"]
    assert model_names(["runs/a/uniform-seed0", "runs/b/uniform-seed0"]) == ["a-uniform-seed0", "b-uniform-seed0"]


def test_prompts_are_the_users_or_the_models_own_by_name():
    e5 = ModelPrompts({"query": "query: ", "document": "passage: "})
    assert prompts_for(["SciFact"], "beir", {}, e5) == ("query: ", "passage: ")
    trained = ModelPrompts({"query": "Q", "document": "", "nq": "N", "nq-document": "", "dup": "D", "nq-test": "T"})
    assert prompts_for(["dup"], "", {}, trained) == ("D", "D")  # symmetric: nothing keeps it off passages
    assert prompts_for(["nq"], "", {}, trained) == ("T", "T")
    assert prompts_for(["other"], "", {}, trained) == ("Q", "")
    # encode_document takes "document", which every model has, and no default prompt stands before queries or passages.
    assert prompts_for(["other"], "", {}, ModelPrompts({"query": "Q", "passage": "P"})) == ("Q", "")
    assert prompts_of({"prompts": {"mine": "M"}, "default_prompt_name": "mine"}).by_name == {"mine": "M"}
    assert prompts_for(["other"], "", {}, prompts_of({"prompts": {"mine": "M", "query": None}})) == ("", "")
    mteb = ModelPrompts({"Retrieval-query": "R", "query": "Q", "document": "D", "SciFact-query": "S"})
    assert prompts_for(["other"], "", {}, mteb) == ("R", "D")
    assert prompts_for(["SciFact"], "", {}, mteb) == ("S", "D")
    given = {"beir": Instruction("find"), "QuoraRetrieval": Instruction("same", True)}
    assert prompts_for(["SciFact"], "beir", given, e5) == ("Instruct: find\nQuery: ", "")
    assert prompts_for(["QuoraRetrieval"], "beir", given, e5) == ("Instruct: same\nQuery: ",) * 2


def test_instructions_from_files_and_text(tmp_path):
    path = tmp_path / "asked.yaml"
    path.write_text("one: find w1\ntwo: {instruction: same, symmetric: true}\n")
    assert read_instructions([str(path), "one=other = w2"]) == {
        "one": Instruction("other = w2"),
        "two": Instruction("same", True),
    }
    for text, message in {
        "- a": "expected names",
        "a: 3": "a: expected",
        "a: {instruction: 3}": "must be text",
        "a: [": "asked.yaml, line 1: expected the node",
    }.items():
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_instructions([str(path)])


def test_mkqa_by_name_with_an_instruction(place, capsys):
    folder = place / "passages"
    write_folder(beir_rows(1), folder, leave_out_own=False)
    answers = {"en": [{"type": "entity", "text": "W1", "aliases": []}]}
    line = {"example_id": 1, "queries": dict.fromkeys(LANGUAGES, "w2"), "answers": answers}
    (place / "mkqa.jsonl").write_text(json.dumps(line) + "\n")
    arguments = ["evaluate", "model-one", "--on", "mkqa:passages", "--data", ".", "--instruction"]
    assert main([*arguments, "mkqa=w3 w4"]) == 0
    assert "mean of mkqa (25 test sets)" in capsys.readouterr().out
    (results,) = read_group(place / "evaluation")
    assert list(results.tests) == ["mkqa"]
    folder = place / "evaluation/model-one/mkqa"
    languages = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    assert len(languages) == 25
    mean = np.mean([of["mean"]["accuracy@10"] for of in languages])
    assert results.values("mkqa", "accuracy@10").tolist() == [mean]
    before = (folder / "mkqa-de.json").stat().st_mtime_ns
    assert main([*arguments, "mkqa=w5"]) == 0  # another instruction, other results
    assert (folder / "mkqa-de.json").stat().st_mtime_ns > before


def test_a_question_of_several_languages_has_their_mean():
    common = {"data": "d", "passages": 3, "problems": [], "queries": ["1", "2"], "fingerprint": "f"}
    parts = [
        {**common, "test": f"mkqa-{name}", "accuracy@10": values, "mean": {"accuracy@10": sum(values) / 2}}
        for name, values in {"de": [1.0, 0.0], "fr": [1.0, 0.0], "ar": [0.0, 0.0], "da": [1.0, 1.0]}.items()
    ]
    whole = average_parts("mkqa", "m", parts)
    assert whole["accuracy@10"] == [0.75, 0.25]
    assert whole["mean"] == {"accuracy@10": 0.5}


def test_parts_of_a_test_set_count_the_same(place, caplog):
    for name, queries in (("android", 2), ("gis", 6)):
        write_folder(beir_rows(3, queries), place / "data" / "cqadupstack" / name, leave_out_own=False)
    (model,) = evaluate_models(["model-one"], ["data"], "out", bf16=False)
    (whole,) = model.benchmarks["data"]
    assert "2 of 12 forums (android, gis); their mean is not the benchmark's" in caplog.text
    parts = [
        json.loads(path.read_text()) for path in sorted((place / "out/model-one/CQADupstackRetrieval").glob("*.json"))
    ]
    assert [len(part["queries"]) for part in parts] == [2, 6]
    mean = np.mean([part["mean"]["ndcg@10"] for part in parts])
    assert whole["mean"]["ndcg@10"] == pytest.approx(mean)
    (results,) = read_group(place / "out")
    assert list(results.tests) == ["CQADupstackRetrieval"]
    assert results.values("CQADupstackRetrieval", "ndcg@10").mean() == pytest.approx(mean)
    evaluate_models(["model-two"], ["data"], "out", bf16=False)
    (found,) = compare_places([place / "out"], examples=1)["examples"]
    (query,) = (found["gained"] or found["lost"])[:1]
    assert query["query"].startswith("CQADupstack") and query["text"]
    assert max(query["values"].values()) <= 1  # not times the query's weight
    assert join_parts("x", "m", parts)["weights"] == [2.0, 2.0, *[pytest.approx(2 / 3)] * 6]


def test_the_same_numbers_as_mteb_on_a_task_in_memory(place, monkeypatch):
    mteb = pytest.importorskip("mteb")
    from datasets import Dataset
    from mteb.mocks.mock_tasks.retrieval import MockRetrievalTask

    rows = beir_rows(5, queries=20, passages=150)

    class InMemory(MockRetrievalTask):
        ignore_identical_ids = False

        def load_data(self, *_, **__):
            corpus = [{"id": key, **row} for key, row in rows["corpus"].items()]
            queries = [{"id": key, "text": text} for key, text in rows["queries"].items()]
            self.dataset = {
                "default": {
                    "test": {
                        "corpus": Dataset.from_list(corpus),
                        "queries": Dataset.from_list(queries),
                        "relevant_docs": {key: dict(of) for key, of in rows["relevant_docs"].items()},
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

        def task_specific_scores(self, scores, *_, **__):
            self.by_query = scores  # before they are rounded
            return {}

    model = tiny.static_model(dimension=32)
    task = InMemory().filter_eval_splits(["test"])
    monkeypatch.setattr(mteb, "get_task", lambda name, **_: task)
    found = find_benchmark(task.metadata.name).parts[0]
    (ours,) = evaluate_all(model, [found.test_set(("", ""))], place / "ours", model_name="m", bf16=False)
    theirs = mteb.evaluate(model, task, cache=None).task_results[0].scores["test"][0]
    by_query = [task.by_query[query] for query in ours["queries"]]
    for measure, name in {"ndcg@10": "ndcg_cut_10", "recall@100": "recall_100", "map@100": "map_cut_100"}.items():
        np.testing.assert_allclose(ours[measure], [scores[name] for scores in by_query], rtol=0, atol=1e-6)
    for measure, name in {"ndcg@10": "ndcg_at_10", "recall@100": "recall_at_100", "mrr@10": "mrr_at_10"}.items():
        assert ours["mean"][measure] == pytest.approx(theirs[name], abs=5e-6)  # five digits
    assert 0 < ours["mean"]["ndcg@10"] < 1
    read = mteb.TaskResult.from_disk(place / "ours" / "m" / "mteb" / f"{task.metadata.name}.json")
    assert (read.dataset_revision, read.languages, read.eval_splits) == ("NA", ["eng"], ["test"])
    assert read.get_score() == ours["mean"]["ndcg@10"]
