"""Matryoshka: the loss at several sizes, what is refused, models and results at each size, and after a kill."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Normalize

import tiny
import tiny_mixture
from tdro import cli
from tdro.errors import UserError
from tdro.evaluation.compare.at_sizes import sizes_lines
from tdro.evaluation.compare.compare_table import comparison_table
from tdro.evaluation.judged import model_folder
from tdro.evaluation.results import Results
from tdro.evaluation.scoring.evaluate import evaluate_all
from tdro.files import read_json
from tdro.gain.learned_weights import LearnedWeights
from tdro.machine import Machine
from tdro.models.load import load_model
from tdro.models.saving import Saving, save_model
from tdro.recipe.finetune_section import Finetune
from tdro.run.pipeline import run_recipe
from tdro.run.stages import Stages
from tdro.run.workspace import Workspace
from tdro.search import embedding_store
from tdro.study.settings import make_setup
from tdro.training.finetune import FinetuneJob, finetune
from tdro.training.gradient_factors import GradientFactors
from tdro.training.in_batch_loss import InBatchLoss
from tdro.weights import TaskWeights

SIZES = (16, 8, 3)
TAU = 0.05


def batch(model):
    """Twelve rows with a negative each; two rows have the same positive, and two the same query."""
    rows = tiny.task("a", rows=12).rows.to_list()
    texts = [[row["query"] for row in rows], *([row[key][0] for row in rows] for key in ("positives", "negatives"))]
    labels = torch.arange(48).reshape(12, 4)
    labels[:, 0], labels[5, 2], labels[7, 1] = 0, labels[3, 2], labels[2, 1]
    return [model.preprocess(column) for column in texts], labels


def value_and_gradient(model, loss, labelled=True):
    model.zero_grad()
    features, labels = batch(model)
    value = loss(features, labels if labelled else None)
    value.backward()
    gradients = [each.grad.to_dense().flatten() for each in model.parameters() if each.grad is not None]
    return value.detach(), torch.cat(gradients).clone()


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("kind", tiny.MODELS)
def test_the_loss_is_that_of_the_librarys_matryoshka_around_it(kind, cached, tmp_path):
    model = tiny.model(kind, tmp_path)
    found = value_and_gradient(model, InBatchLoss(model, TAU, 5, cached, sizes=SIZES))
    wrapped = value_and_gradient(model, MatryoshkaLoss(model, InBatchLoss(model, TAU, 5, cached), SIZES))
    torch.testing.assert_close(found, wrapped, rtol=1e-5, atol=1e-4)
    plain = value_and_gradient(model, InBatchLoss(model, TAU, 5, cached))
    assert found[0] > plain[0] + 1 and not torch.allclose(found[1], plain[1], rtol=0.1)


@pytest.mark.parametrize("kind", ["static", "encoder"])
def test_without_masks_it_is_the_librarys_matryoshka_of_the_librarys_loss(kind, tmp_path):
    model = tiny.model(kind, tmp_path)
    found = value_and_gradient(model, InBatchLoss(model, TAU, sizes=SIZES), labelled=False)
    library = MatryoshkaLoss(model, MultipleNegativesRankingLoss(model, scale=1 / TAU), SIZES)
    torch.testing.assert_close(found, value_and_gradient(model, library, labelled=False), rtol=1e-5, atol=1e-4)


def test_labels_as_wide_as_the_model_stay_labels():
    """Around a loss, the library takes them for embeddings and cuts them."""
    model = tiny.static_model(dimension=4)  # a label has 4 numbers too: task, query, positive, negative
    features, labels = batch(model)
    found = InBatchLoss(model, TAU, sizes=(4, 2))(features, labels)
    cut = tiny.static_model(dimension=4)
    terms = []
    for size in (4, 2):
        cut.truncate_dim = size
        terms.append(InBatchLoss(cut, TAU)(features, labels))
    torch.testing.assert_close(found, sum(terms))
    with pytest.raises((RuntimeError, ValueError)):
        MatryoshkaLoss(model, InBatchLoss(model, TAU), [4, 2])(features, labels)


# ---- what is refused


def test_sizes_are_positive_and_distinct_and_in_any_order():
    assert Finetune(name="g", matryoshka=[64, 768, 256]).matryoshka == (768, 256, 64)
    for sizes, said in (
        ([8, 0], "greater than or equal to 1"),
        ([8, 4, 8], "8 is listed twice"),
        ([8.5, 4], "integer"),
        ([8], "8 alone is no choice"),
    ):
        with pytest.raises(ValidationError, match=said):
            Finetune(name="g", matryoshka=sizes)


@pytest.mark.parametrize(("sizes", "said"), [([9, 4], "9 is more than the 8 numbers"), ([4, 2], "8, the width")])
def test_sizes_that_do_not_fit_the_model_are_refused_before_any_work(sizes, said, tmp_path, monkeypatch):
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=f"finetune.matryoshka of the group 'main': {said}") as error:
        run_recipe(tiny_mixture.recipe(tmp_path, finetune__matryoshka=sizes))
    assert "\n" not in str(error.value) and not (tmp_path / "run" / "reference").exists()


def test_a_study_has_the_full_size(tmp_path):
    recipe = tiny_mixture.recipe(tmp_path, finetune__matryoshka=[8, 4])
    assert make_setup(recipe, {"mixture": "uniform"}).training.finetune[0].matryoshka == ()
    with pytest.raises(UserError, match=r"finetune\.matryoshka: is no key of a study"):
        make_setup(recipe, {"finetune.matryoshka": [8, 4]})


# ---- models


def inputs(folder, **changes):
    recipe = tiny_mixture.recipe(folder, finetune__mixtures=["uniform"], **changes)
    stages = Stages(recipe, Workspace(recipe, folder / "run", Machine()), folder / "run")
    return next(
        stages.finetune(recipe.finetune[0], LearnedWeights(TaskWeights.uniform([f"task{n}" for n in range(4)])))
    ).inputs


def test_it_is_an_input_only_where_it_is_set(tmp_path, monkeypatch):
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    plain, sized = inputs(tmp_path), inputs(tmp_path, finetune__matryoshka=[4, 8])
    assert sized == plain | {"matryoshka": [8, 4]} and "matryoshka" not in str(plain)


def train(base, folder, sizes, **more):
    """Six steps; returns the weights."""
    settings = {"steps": 6, "batch": 4, "temperature": TAU, "learning_rate": 5e-3, "checkpoint_steps": 2}
    job = FinetuneJob("test", "uniform", np.full(2, 0.5), Finetune(name="g", matryoshka=sizes, **settings), 1, **more)
    data = tiny.tokenized(load_model(base, device="cpu"), [tiny.task("a"), tiny.task("b")])
    finetune(lambda: load_model(base, device="cpu"), data, job, folder / "model", Machine())
    return load_model(folder / "model", device="cpu").state_dict()


def test_a_killed_training_ends_with_the_same_model(tmp_path, monkeypatch):
    tiny.encoder(tmp_path / "e", dropout=0.1).save_pretrained(str(tmp_path / "base"), create_model_card=False)
    whole, plain = (train(tmp_path / "base", tmp_path / name, sizes) for name, sizes in (("w", SIZES), ("p", ())))
    assert any(not torch.equal(whole[name], plain[name]) for name in whole)

    def kill(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(GradientFactors, "on_pre_optimizer_step", kill)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "base", tmp_path / "killed", SIZES, factors=np.ones(2))
    found = train(tmp_path / "base", tmp_path / "killed", SIZES)
    assert found.keys() == whole.keys() and all(torch.equal(found[name], whole[name]) for name in whole)


def test_cut_embeddings_are_compared_by_the_cosine(tmp_path):
    """A base that ends in unit vectors keeps its dot product, unless its vectors may be cut."""
    model = tiny.static_model()
    model.append(Normalize())
    model.similarity_fn_name = "dot"
    save_model(model, tmp_path / "whole", Saving())
    save_model(model, tmp_path / "cut", Saving(may_be_cut=True))
    assert load_model(tmp_path / "whole", device="cpu").similarity_fn_name == "dot"
    assert load_model(tmp_path / "cut", device="cpu").similarity_fn_name == "cosine"


# ---- a run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a static model of width 8, and how many texts were encoded at each pass over its test sets."""
    folder, passes = tmp_path_factory.mktemp("run"), []
    encode = embedding_store.encode_tokens

    def counted(model, tokens, *arguments, **named):
        passes.append(len(tokens.lengths))
        return encode(model, tokens, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDRO_CACHE", str(folder / "cache"))
        patch.setattr(embedding_store, "encode_tokens", counted)
        patch.chdir(folder)
        recipe = tiny_mixture.recipe(
            folder, finetune__matryoshka=[8, 4, 2], finetune__seeds=[1, 2], evaluate__bm25=True
        )
        run_recipe(recipe)
    return folder / "run", recipe, passes


def test_every_text_is_encoded_once_for_all_sizes(run):
    _, _, passes = run
    assert len(passes) == 5 and len(set(passes)) == 1  # untrained, and two mixtures with two seeds


@pytest.mark.parametrize("size", [8, 4, 2])
def test_results_at_a_size_are_those_of_the_model_that_is_loaded_at_it(run, tmp_path, size):
    folder, recipe, _ = run
    tests = Workspace(recipe, folder, Machine()).data.tests
    model = SentenceTransformer(str(folder / "models/main/top-50-seed1"), truncate_dim=size, device="cpu")
    place = folder / ("evaluation/main" if size == 8 else f"sizes/main/{size}") / "top-50-seed1"
    for expected in evaluate_all(model, tests, tmp_path, model_name="m", progress=False):
        found = read_json(place / f"{expected['test']}.json")
        assert found.get("size") == (None if size == 8 else size)
        assert found["ndcg@10"] == pytest.approx(expected["ndcg@10"]) and found["queries"] == expected["queries"]


def test_the_comparison_the_report_and_the_card_have_all_sizes(run, capsys):
    folder, _, _ = run
    comparison = read_json(folder / "comparison/main.json")
    assert [each["size"] for each in comparison["sizes"]] == [8, 4, 2]
    for each in comparison["sizes"]:
        rows = {row["mixture"]: row for row in each["rows"]}
        assert list(rows) == ["untrained", "uniform", "top-50"]
        place = folder / ("evaluation/main" if each["size"] == 8 else f"sizes/main/{each['size']}")
        means = [read_json(path)["mean"]["ndcg@10"] for path in place.glob("top-50-*/*.json")]
        assert rows["top-50"]["ndcg@10"] == pytest.approx(np.mean(means))
        difference = rows["top-50"]["ndcg@10"] - rows["uniform"]["ndcg@10"]
        assert rows["top-50"]["versus"]["difference"] == pytest.approx(difference) and not rows["uniform"]["versus"]
    assert {row["mixture"] for row in comparison["rows"]} == {*rows, "bm25"}
    table = comparison_table(comparison)
    assert "at each size of the embeddings, and the difference" in table and max(map(len, table.splitlines())) <= 100
    many = {**comparison, "sizes": 3 * comparison["sizes"]}
    wide = sizes_lines(many)
    assert wide[0].endswith("embeddings:") and "(" not in "".join(wide) and max(map(len, wide)) <= 100
    assert "Sizes of embeddings, main" in (folder / "report.html").read_text()
    card = (folder / "models/main/top-50-seed1/README.md").read_text()
    assert "8, 4, 2 (Matryoshka)" in card and "truncate_dim=2)" in card
    assert cli.main(["compare", str(folder / "sizes/main/4")]) == 0
    assert "top-50" in capsys.readouterr().out


def test_nothing_is_encoded_again(run, monkeypatch):
    folder, recipe, _ = run
    monkeypatch.setenv("TDRO_CACHE", str(folder.parent / "cache"))
    monkeypatch.setattr(embedding_store, "encode_tokens", lambda *_, **__: pytest.fail("encoded"))
    before = (folder / "comparison/main.json").read_bytes()
    run_recipe(recipe)
    assert (folder / "comparison/main.json").read_bytes() == before


def test_a_size_whose_results_are_missing_is_scored_again(run, monkeypatch):
    folder, recipe, _ = run
    monkeypatch.setenv("TDRO_CACHE", str(folder.parent / "cache"))
    path = folder / "sizes/main/2/uniform-seed1/task0.json"
    before = path.read_bytes()
    path.unlink()
    run_recipe(recipe)
    assert path.read_bytes() == before


def test_results_at_a_size_that_the_recipe_no_longer_has_are_removed(run, tmp_path, monkeypatch):
    """They are of older models, and nothing would say so."""
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    shutil.copytree(run[0].parent, tmp_path / "a")
    for sizes, left in (([8, 4], ["4"]), ([], [])):
        recipe = tiny_mixture.recipe(tmp_path / "a", finetune__matryoshka=sizes, finetune__seeds=[1, 2])
        run_recipe(recipe, force=True)
        assert [path.name for path in (tmp_path / "a/run/sizes/main").iterdir()] == left
    assert "sizes" not in read_json(tmp_path / "a/run/comparison/main.json")


def test_queries_that_weights_looked_at_are_left_out_at_each_size(tmp_path):
    run, place = tmp_path / "run", tmp_path / "run/sizes/main/64/gain-seed1"
    results = Results("gain", "gain", 1, place, {})
    assert results.run is None
    (run / "evaluation/main").mkdir(parents=True)
    assert results.run == run and model_folder(results) == run / "models/main/gain-seed1"
