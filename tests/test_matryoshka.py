"""Matryoshka: the loss at several sizes, what is refused, models and results at each size, and after a kill."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Normalize

import tiny
import tiny_mixture
from tdro.errors import UserError
from tdro.gain.learned_weights import LearnedWeights
from tdro.machine import Machine
from tdro.models.load import load_model
from tdro.models.saving import Saving, save_model
from tdro.recipe.finetune_section import Finetune
from tdro.run.pipeline import run_recipe
from tdro.run.stages import Stages
from tdro.run.workspace import Workspace
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
    for sizes, said in (([8, 0], "greater than or equal to 1"), ([8, 4, 8], "8 is listed twice"), ([8.5], "integer")):
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
