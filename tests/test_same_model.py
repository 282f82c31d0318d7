"""Two rows of a comparison that are one model: said in table, verdict, page and card instead of a difference of 0."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from fake_run_folder import fake_run
from tdro.evaluation.compare.compare import compare, compare_places
from tdro.evaluation.compare.compare_table import comparison_table
from tdro.evaluation.compare.same_model import same_model_sentences
from tdro.files import read_json, write_json
from tdro.report.model_card import write_card
from tdro.report.report_page import write_report


def write(group, model, shift, weights=None, tests=("aws", "code")):
    """Results whose queries differ, shifted; and the model itself, where weights are given."""
    for number, test in enumerate(tests):
        values = (np.random.default_rng(number).uniform(0.3, 0.6, 30) + shift).tolist()
        content = {"test": test, "model": model, "task": test, "trained": True, "fingerprint": "f", "data": "x"}
        content |= {"queries": [f"q{q}" for q in range(30)], "ndcg@10": values, "recall@100": values, "mean": {}}
        write_json(group / model / f"{test}.json", content)
    if weights is not None:
        folder = group.parent.parent / "models" / group.name / model
        folder.mkdir(parents=True)
        save_file({"w": np.full(8, weights, dtype=np.float32)}, folder / "model.safetensors")


@pytest.fixture
def group(tmp_path):
    return tmp_path / "run" / "evaluation" / "g"


def same(group):
    found = compare(group, "g")
    return {row["mixture"]: row["same"] for row in found["rows"]}, comparison_table(found)


def test_the_same_weights_are_the_same_model(group):
    for mixture in ("uniform", "loss-reweight"):
        for seed in (1, 2):
            write(group, f"{mixture}-seed{seed}", 0.01 * seed, weights=seed)
    found, text = same(group)
    assert found == {"uniform": None, "loss-reweight": {"as": "uniform", "weights": True}}
    assert "loss-reweight is the same model as uniform, weight for weight: nothing was compared." in text
    assert "p 1.000" not in text and "+0.0 [" not in text
    overview = next(line for line in text.splitlines() if line.startswith("loss-reweight  "))
    assert overview.endswith("the same model")
    assert all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.parametrize("weights", [(1, 1 + 1e-6), (None, None), (1, None)])
def test_the_same_results_are_said_to_be_that(weights, group):
    """The weights are others by rounding, or they are not there."""
    for mixture, value in zip(("uniform", "loss-reweight"), weights, strict=True):
        write(group, f"{mixture}-seed1", 0, weights=value)
    found, text = same(group)
    assert found["loss-reweight"] == {"as": "uniform", "weights": False}
    assert "loss-reweight has the result of uniform on every query: they are the same model, or these" in text
    assert "the same results" in text and "p 1.000" not in text


def test_two_mixtures_that_are_one_and_not_the_baseline(group):
    for mixture, shift in (("uniform", 0), ("top-60", 0.1), ("top-70", 0.1)):
        write(group, f"{mixture}-seed1", shift, weights=shift)
    found, text = same(group)
    assert found == {"uniform": None, "top-60": None, "top-70": {"as": "top-60", "weights": True}}
    assert "top-70 is the same model as top-60, weight for weight" in text
    assert text.count("+10.0 [") >= 2  # both are compared with uniform as ever


def test_a_training_that_changed_nothing(group):
    write(group, "untrained", 0)
    for seed in (1, 2):
        write(group, f"uniform-seed{seed}", 0)
    found, text = same(group)
    assert found["uniform"] == {"as": "untrained", "weights": False}
    assert "uniform has the result of untrained on every query" in text


@pytest.mark.parametrize("other", ["another query", "another seed", "fewer seeds"])
def test_what_differs_is_not_the_same(other, group):
    write(group, "uniform-seed1", 0)
    write(group, "uniform-seed2", 0)
    write(group, "reweight-seed1", 0)
    if other != "fewer seeds":
        write(group, "reweight-seed2", 0.01 if other == "another seed" else 0)
    if other == "another query":
        path = group / "reweight-seed2" / "code.json"
        content = read_json(path)
        content["ndcg@10"][3] += 0.01
        write_json(path, content)
    assert set(same(group)[0].values()) == {None}


def test_models_of_several_places(tmp_path):
    for run in ("one", "two"):
        write(tmp_path / run / "evaluation" / "g", "uniform-seed1", 0, weights=3)
    found = compare_places([tmp_path / "one", tmp_path / "two"], baseline="one:uniform")
    assert same_model_sentences(found["rows"]) == [
        "two:uniform is the same model as one:uniform, weight for weight: nothing was compared."
    ]


def test_the_page_and_the_card_say_it(tmp_path):
    run = fake_run(tmp_path, seeds=(1,))
    path = run / "comparison" / "static.json"
    comparison = read_json(path)
    for row in comparison["rows"]:
        if row["mixture"] in ("top-70", "reweight"):
            row["same"] = {"as": "uniform", "weights": row["mixture"] == "top-70"}
    write_json(path, comparison)
    page = write_report(run).read_text()
    assert "Nothing compared" in page
    assert "top-70 is the same model as uniform, weight for weight: nothing was compared." in page
    assert "reweight has the result of uniform on every query" in page
    for model in ("top-70-seed1", "uniform-seed1"):
        write_json(run / "models" / "static" / model / "config_sentence_transformers.json", {"prompts": {}})
        for test in comparison["tests"]:
            mean = {"ndcg@10": 0.5, "recall@100": 0.9}
            write_json(run / "evaluation" / "static" / model / f"{test['name']}.json", {"mean": mean})
    card = write_card(run, "static", "top-70-seed1").read_text()
    assert "top-70 is the same model as uniform, weight for weight" in card and "tested query by query" not in card
