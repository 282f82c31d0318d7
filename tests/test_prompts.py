"""Prompts: the same tokens in training, in evaluation and in ``encode``; negatives are mined without them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from sentence_transformers import SentenceTransformer

import again
import tiny
from evaluate_once import evaluate_once
from tdro.data.task import Mixture, TestSet
from tdro.data.tokens.mixture_index import index_mixture
from tdro.data.tokens.tokenize import tokenize
from tdro.errors import UserError
from tdro.files import read_json, write_atomic, write_jsonl
from tdro.machine import Machine, this_machine
from tdro.mining.mine_task import mine_task
from tdro.mining.mining_settings import MiningSettings
from tdro.models.encode import encode_tokens
from tdro.models.prompts import GENERIC_INSTRUCTION, saved_prompts
from tdro.models.saving import Saving, save_model
from tdro.recipe.finetune_section import Finetune
from tdro.recipe.schema import Recipe
from tdro.run.development import evaluator_of
from tdro.run.pipeline import run_recipe

FIND = "Instruct: w1 w2\nQuery: "


def task(name="a", instruction="w1 w2", symmetric=False):
    return replace(tiny.task(name, rows=6), instruction=instruction, symmetric=symmetric)


# ---- which prompts a model keeps


def test_a_task_and_a_test_set_give_their_prompt_under_their_name():
    tests = [TestSet("held", "", "a", "w1 w2"), TestSet("new", "", instruction="w3"), TestSet("bare", "")]
    prompts = saved_prompts(Mixture([task()], tests))
    assert prompts == {
        "query": FIND, "document": "",
        "a": FIND, "a-document": "", "held": FIND, "held-document": "",
        "new": "Instruct: w3\nQuery: ", "new-document": "", "bare": "",
    }  # fmt: skip


def test_no_instruction_no_prompts():
    assert saved_prompts(Mixture([task(instruction="")], [TestSet("t", "")])) == {}


def test_a_test_set_with_its_tasks_name_and_another_prompt_has_a_name_of_its_own():
    prompts = saved_prompts(Mixture([task()], [TestSet("a", "", "a", "w3")]))
    assert prompts["a"] == FIND and prompts["a-test"] == "Instruct: w3\nQuery: "
    prompts = saved_prompts(Mixture([task(symmetric=True)], [TestSet("a", "", "a", "w1 w2")]))
    assert "a-document" not in prompts and prompts["a-test-document"] == ""


def test_the_prompt_of_an_unknown_query_is_one_that_training_has_seen_where_there_is_one():
    assert saved_prompts(Mixture([task("a"), task("b")]))["query"] == FIND
    assert saved_prompts(Mixture([task("a"), task("b", instruction="")]))["query"] == ""
    several = saved_prompts(Mixture([task("a"), task("b", instruction="w3")]))
    assert several["query"] == f"Instruct: {GENERIC_INSTRUCTION}\nQuery: " and several["document"] == ""


def test_symmetric_tasks_have_the_prompt_on_both_sides():
    both = saved_prompts(Mixture([task(symmetric=True)]))
    assert both == {"query": FIND, "document": FIND, "a": FIND}
    assert saved_prompts(Mixture([task(symmetric=True), task("b")]))["document"] == ""


@pytest.mark.parametrize("name", ["query", "document"])
def test_a_task_cannot_take_the_name_of_all_queries_or_passages(name):
    with pytest.raises(UserError, match=f"task '{name}'.*\n.*another name"):
        saved_prompts(Mixture([task(name)]))


# ---- training, evaluation and encode agree


@pytest.mark.parametrize("kind", ["static", "encoder", "decoder"])
def test_encode_with_a_prompts_name_is_what_training_read(kind, tmp_path: Path):
    model = tiny.model(kind, tmp_path)
    model.prompts, model.default_prompt_name = {"query": "w9 ", "mine": "w8 "}, "mine"  # the base's own: never fed
    model.set_pooling_include_prompt(False)
    data = task()
    index = index_mixture([data])
    tokens = tokenize(model, index.queries, 32)
    machine = this_machine("cpu", "fp32")
    trained = encode_tokens(model.eval(), tokens, index.tasks[0].queries, machine)

    save_model(model, tmp_path / "saved", Saving(saved_prompts(Mixture([data]))))
    saved = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    queries = data.rows["query"][:]
    for place, query in zip(index.tasks[0].queries, queries, strict=True):
        ids = saved.preprocess([query], prompt=saved.prompts["a"])["input_ids"].flatten().tolist()
        assert ids == tokens.ids[tokens.starts[place] : tokens.starts[place + 1]].tolist()
    encoded = saved.encode(queries, prompt_name="a", normalize_embeddings=True)
    np.testing.assert_allclose(encoded, trained, atol=1e-6)
    np.testing.assert_array_equal(saved.encode_query(queries), saved.encode(queries, prompt_name="a"))
    np.testing.assert_array_equal(saved.encode_document(queries), saved.encode(queries))
    assert "mine" not in saved.prompts and saved.default_prompt_name is None


def test_without_prompts_a_model_keeps_none(tmp_path: Path):
    model = tiny.static_model()
    model.prompts, model.default_prompt_name = {"query": "w9 ", "mine": "w8 "}, "mine"
    save_model(model, tmp_path / "saved", Saving())
    saved = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert saved.prompts == {"query": "", "document": ""} and saved.default_prompt_name is None


@pytest.mark.parametrize("symmetric", [False, True])
def test_evaluation_puts_the_prompt_where_training_did(symmetric, tmp_path: Path, monkeypatch):
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "q", "text": "w4"}])
    write_jsonl(tmp_path / "corpus.jsonl", [{"_id": "d", "title": "", "text": "w4 w5"}])
    write_atomic(tmp_path / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq\td\t1\n")
    model, read = tiny.static_model(), set()
    real = model.preprocess
    monkeypatch.setattr(model, "preprocess", lambda texts, **k: read.update(texts) or real(texts, **k))
    evaluate_once(model, TestSet("t", str(tmp_path), instruction="w1 w2", symmetric=symmetric), bf16=False)
    assert {text for text in read if "w4" in text} == {FIND + "w4", (FIND if symmetric else "") + "w4 w5"}


def test_negatives_are_mined_from_bare_texts():
    bare = replace(tiny.task("a", rows=30, negatives=0))
    prompted = replace(bare, instruction="w1 w2", symmetric=True)
    settings = MiningSettings("bm25", 3, random=True)
    mined = [mine_task(one, settings, seed=1).rows["negatives"][:] for one in (bare, prompted)]
    assert mined[0] == mined[1]


def test_a_run_evaluates_with_the_instructions_that_its_recipe_has_now(tmp_path: Path):
    """The models were saved with the prompts of the first run's test sets, which do not count any more."""
    again.write_data(tmp_path, "enough")
    entry = {"folder": str(tmp_path / "tests" / "task0"), "instruction": "w9 w9"}
    for instruction, prompt in (("w9 w9", "Instruct: w9 w9\nQuery: "), ("", "")):
        path = again.recipe(tmp_path, "sources", "bm25", prompts=True)
        content = yaml.safe_load(path.read_text())
        content["data"]["test_sets"] = {"other": {**entry, "instruction": instruction}}
        run_recipe(Recipe.model_validate(content))
        for model in ("untrained", "uniform-seed1"):
            found = read_json(tmp_path / "run" / "evaluation" / "main" / model / "other.json")
            assert found["prompts"] == {"query": prompt, "document": ""}


def test_a_development_set_without_an_instruction_has_no_prompt_as_a_test_set_has_none(tmp_path: Path):
    again.write_data(tmp_path, "enough")
    model = tiny.static_model()
    model.prompts = {"query": "Instruct: w1\nQuery: ", "document": ""}
    sets = [TestSet("other", str(tmp_path / "tests" / "task0"))]
    settings = Finetune(name="main", steps=4, evaluate_every=2)
    evaluator = evaluator_of(settings, sets, tmp_path / "model", tmp_path / "run", Machine())
    assert evaluator is not None
    with_its_prompt = evaluator(model)
    model.prompts = {"query": "", "document": ""}
    assert evaluator(model) == with_its_prompt
