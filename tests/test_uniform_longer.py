"""Uniform trained longer than its group: its trainings, and how many times the steps it needs for a mixture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

import tiny_mixture
from tdro.evaluation.compare.compare import compare, compare_places
from tdro.evaluation.compare.compare_table import comparison_table
from tdro.evaluation.compare.uniform_longer import steps_cell, steps_in_words, uniform_steps
from tdro.evaluation.results import Results
from tdro.files import read_json, write_json
from tdro.gain.learned_weights import LearnedWeights
from tdro.planning.trainings import planned_trainings
from tdro.recipe.names import longer_uniform, mixture_rank, times_longer
from tdro.run.pipeline import run_recipe
from tdro.weights import TaskWeights

TESTS = ("one", "two")


def result(level: float, seed: int, queries: np.ndarray | None = None, name: str = "x") -> Results:
    """Each query's value is its own plus the level; test sets of 40 queries."""
    own = np.linspace(-0.1, 0.1, 40) if queries is None else queries
    tests = {test: {"queries": list(range(len(own))), "ndcg@10": (own + level).tolist()} for test in TESTS}
    return Results(name, name, seed, Path(name), tests)


def found(model: float, *uniform: float, wiggle: float = 0.0, seeds: int = 3) -> dict:
    """What is said of a model's mean, with uniform's means at 1, 1.5 and 2 times the steps."""
    noise = np.random.default_rng(0)

    def runs(level: float) -> list[Results]:
        return [
            result(
                level + wiggle * noise.normal() / 3, seed, np.linspace(-0.1, 0.1, 40) + wiggle * noise.normal(size=40)
            )
            for seed in range(seeds)
        ]

    curve = {times: runs(level) for times, level in zip((1.0, 1.5, 2.0), uniform, strict=False)}
    steps = uniform_steps(runs(model), curve, "ndcg@10", TESTS)
    assert steps is not None
    return steps


def test_a_mixture_that_is_exactly_between_two_trained_uniforms():
    halfway = found(0.45, 0.4, 0.5, 0.6)
    assert halfway["times"] == pytest.approx(np.sqrt(1.5))  # half of the way in the logarithm of the steps
    assert found(0.5, 0.4, 0.5, 0.6)["times"] == pytest.approx(1.5)
    assert found(0.55, 0.4, 0.5, 0.6)["times"] == pytest.approx(np.sqrt(3))
    assert (halfway["most"], halfway["below"], halfway["pairs"]) == (2.0, False, 3)
    noisy = found(0.45, 0.4, 0.5, 0.6, wiggle=0.01)
    assert 1 < noisy["low"] < noisy["times"] < noisy["high"] < 1.5


def test_nothing_is_said_beyond_what_was_trained():
    above = found(0.8, 0.4, 0.5, 0.6)
    assert (above["times"], above["low"], above["high"], above["below"]) == (None, 2.0, None, False)
    assert steps_cell(above) == "more than 2 [2.00, more than 2]"
    below = found(0.2, 0.4, 0.5, 0.6)
    assert (below["times"], below["low"], below["high"], below["below"]) == (None, None, 1.0, True)
    assert steps_cell(below) == "at most 1 [less than 1, 1.00]"
    assert steps_in_words("top-70", below).startswith("top-70 saves no steps: uniform is as good with the same")


def test_the_interval_is_open_where_chance_could_reach_beyond():
    near_the_end = found(0.595, 0.4, 0.5, 0.6, wiggle=0.05)
    assert near_the_end["high"] is None and 1 < near_the_end["low"] < 2
    near_the_start = found(0.405, 0.4, 0.5, 0.6, wiggle=0.05)
    assert near_the_start["low"] is None and 1 < near_the_start["high"] < 2
    assert "less than 1 to " in steps_in_words("top-70", near_the_start)


def test_uniform_that_became_worse_counts_from_where_it_first_reached_the_mixture():
    assert found(0.45, 0.4, 0.5, 0.42)["times"] == pytest.approx(np.sqrt(1.5))


def test_seeds_that_not_all_have_do_not_count():
    model, even, longer = (
        [result(level, seed) for seed in seeds] for level, seeds in ((0.45, (1, 2)), (0.4, (2, 3)), (0.5, (2,)))
    )
    steps = uniform_steps(model, {1.0: even, 2.0: longer}, "ndcg@10", TESTS)
    assert steps is not None
    assert steps["pairs"] == 1 and "over queries:" in steps_in_words("top-70", steps)
    assert uniform_steps(model, {1.0: even, 2.0: [result(0.5, 9)]}, "ndcg@10", TESTS) is None


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Planted: uniform gains 0.1 for each doubling, the mixture is as good as uniform at 1.4 times the steps."""
    random, held, rounds = np.random.default_rng(5), 0, 25
    for _ in range(rounds):
        queries, shared = random.normal(0.4, 0.2, 60), 0.01 * random.normal(size=3)

        def runs(times, queries=queries, shared=shared):
            level = 0.1 * np.log2(times) + shared + 0.006 * random.normal(size=3)
            return [result(level[seed], seed, queries + 0.05 * random.normal(size=60)) for seed in range(3)]

        steps = uniform_steps(runs(1.4), {times: runs(times) for times in (1.0, 1.5, 2.0)}, "ndcg@10", TESTS)
        assert steps is not None
        held += (steps["low"] or 0) <= 1.4 <= (steps["high"] or 9)
    assert held / rounds >= 0.88  # of few rounds; 0.94 of 400


def test_names():
    assert [times_longer(longer_uniform(times)) for times in (1.5, 2.0, 1.25)] == [1.5, 2.0, 1.25]
    assert longer_uniform(2.0) == "uniform-2x"
    assert times_longer("uniform") is None and times_longer("top-2x") is None and times_longer("uniform-xx") is None
    order = ["untrained", "uniform", "uniform-1.5x", "uniform-2x", "proportional", "top-70"]
    assert sorted(reversed(order), key=mixture_rank) == order


# ---- comparisons


def write(folder: Path, model: str, level: float) -> None:
    for test in TESTS:
        values = (np.linspace(-0.1, 0.1, 40) + level).tolist()
        content = {"test": test, "task": test, "trained": True, "data": "x", "queries": [f"q{n}" for n in range(40)]}
        write_json(folder / model / f"{test}.json", {**content, "ndcg@10": values, "recall@100": [0.5] * 40})


@pytest.fixture
def group(tmp_path: Path) -> Path:
    levels = {"untrained": 0.1, "uniform": 0.4, "uniform-1.5x": 0.5, "uniform-2x": 0.6, "top-70": 0.45}
    for model, level in levels.items():
        for name in ["untrained"] if model == "untrained" else [f"{model}-seed{seed}" for seed in (1, 2)]:
            write(tmp_path / "evaluation" / "static", name, level)
    return tmp_path


def test_uniform_with_more_steps_is_no_row_of_a_comparison(group):
    places = (compare(group / "evaluation" / "static", "static", permutations=20), compare_places([group]))
    for comparison in places:
        rows = {row["mixture"]: row for row in comparison["rows"]}
        assert list(rows) == ["untrained", "uniform", "top-70"]
        assert rows["top-70"]["uniform_steps"]["times"] == pytest.approx(np.sqrt(1.5))
        assert rows["untrained"]["uniform_steps"] is None and rows["uniform"]["uniform_steps"] is None
        longer = [(one["times"], one["seeds"], round(one["ndcg@10"], 6)) for one in comparison["uniform_longer"]]
        assert longer == [(1.5, 2, 0.5), (2.0, 2, 0.6)]
        text = comparison_table(comparison)
        assert "Best nDCG@10: top-70" in text
        assert "1.5 times 50.0, 2 times 60.0" in text and "1.22 [" in text


def test_without_longer_uniform_nothing_is_said_of_steps(group):
    models = ["uniform-seed1", "uniform-seed2", "top-70-seed1", "top-70-seed2"]
    comparison = compare(group / "evaluation" / "static", "static", models=models, permutations=20)
    assert all(row["uniform_steps"] is None for row in comparison["rows"]) and comparison["uniform_longer"] == []
    assert "times the steps" not in comparison_table(comparison)


def test_alone_it_is_a_model_like_others(group):
    comparison = compare_places([group / "evaluation" / "static" / "uniform-2x-seed1"])
    assert [row["mixture"] for row in comparison["rows"]] == ["uniform-2x"]


# ---- recipes and runs


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"uniform_longer": [2], "mixtures": ["top-50"]}, "there is no uniform to compare with"),
        ({"uniform_longer": [1]}, "greater than 1"),
        ({"uniform_longer": [1.05]}, "no different numbers of steps"),  # of 6 steps
        ({"uniform_longer": [1.5, 1.51]}, "no different numbers of steps"),
        ({"uniform_longer": [2, 2.0]}, "listed twice"),
        ({"uniform_longer": [1.23456789]}, "too many digits"),
        ({"uniform_longer": [20]}, "less than or equal to 10"),
    ],
)
def test_what_is_refused(tmp_path, changes, said):
    with pytest.raises(ValidationError, match=said):
        tiny_mixture.recipe(tmp_path, **{f"finetune__{key}": value for key, value in changes.items()})


def tiny_run(folder: Path, **changes):
    TaskWeights.uniform([f"task{n}" for n in range(4)]).save(folder / "w.json")
    return tiny_mixture.recipe(folder, weights__load=str(folder / "w.json"), finetune__seeds=[1, 2], **changes)


def test_a_run_trains_it_and_keeps_what_was_trained_before(tmp_path, capsys):
    run_recipe(tiny_run(tmp_path))
    models = tmp_path / "run" / "models" / "main"
    before = {path.name: (path / "training.json").stat().st_mtime_ns for path in models.iterdir()}
    capsys.readouterr()
    run_recipe(tiny_run(tmp_path, finetune__uniform_longer=[1.5]))
    said = capsys.readouterr().out
    assert said.count("seed1: done before") == said.count("seed2: done before") == 2
    assert all((models / name / "training.json").stat().st_mtime_ns == time for name, time in before.items())
    longer, even = (read_json(models / name / "training.json") for name in ("uniform-1.5x-seed1", "uniform-seed1"))
    assert (even["steps"], longer["steps"], longer["settings"]["steps"]) == (6, 9, 9)
    assert longer["weights"] == even["weights"] and longer["mixture"] == "uniform-1.5x"
    card = (models / "uniform-1.5x-seed2" / "README.md").read_text()
    assert "This model does not depend on them." in card
    comparison = read_json(tmp_path / "run" / "comparison" / "main.json")
    assert [row["mixture"] for row in comparison["rows"]] == ["untrained", "bm25", "uniform", "top-50"]
    assert comparison["rows"][-1]["uniform_steps"]["pairs"] == 2
    page = (tmp_path / "run" / "report.html").read_text()
    assert "So many times the steps it needs" in page
    assert "Careful" not in page  # the mixtures themselves had the same steps


def test_a_plan_counts_it(tmp_path):
    recipe = tiny_run(tmp_path, finetune__uniform_longer=[2])
    sizes = {f"task{n}": 12 * (n + 1) for n in range(4)}
    weights = LearnedWeights(TaskWeights.uniform(sizes))
    trainings = {training.mixture: training for training in planned_trainings(recipe, sizes, weights)}
    assert list(trainings) == ["uniform", "top-50", "uniform-2x"]
    longer = trainings["uniform-2x"]
    assert (longer.settings.steps, longer.times) == (12, 2)
    assert longer.reading is not None and longer.reading.steps.tolist() == [3, 3, 3, 3]
