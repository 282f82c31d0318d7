"""What a comparison claims: the terminal, the report and the card say the same, and no more than the data carry."""

from __future__ import annotations

import html
import json
import math
import re

import numpy as np
import pytest

from tdro import cli
from tdro.evaluation.compare.compare import compare
from tdro.evaluation.compare.compare_table import comparison_table
from tdro.evaluation.compare.verdict import verdict
from tdro.files import write_json
from tdro.report.model_card import write_card
from tdro.report.report_page import write_report


def write_results(folder, model, values, test="aws"):
    """One test set's results of a model, nDCG@10 by query."""
    write_json(
        folder / model / f"{test}.json",
        {
            **{"test": test, "model": model, "task": test, "trained": True, "fingerprint": "f", "data": "x"},
            "queries": [f"q{at}" for at in range(len(values))],
            **{measure: list(values) for measure in ("ndcg@10", "recall@100")},
            "mean": {measure: float(np.mean(values)) for measure in ("ndcg@10", "recall@100")},
        },
    )


def mixtures(folder, seeds, gain=0.03, luck=0.0, own=0.0, queries=60, baseline_seeds=None):
    """uniform and top-70, which is better by ``gain``; ``luck`` is of the seed, shared by both, ``own`` is not."""
    random = np.random.default_rng(0)
    quality, of_query = random.uniform(0.2, 0.7, queries), random.normal(0, 0.03, queries)
    for seed in range(1, 10):
        shared, other = random.normal(0, luck), random.normal(0, own, 2)
        if seed in (baseline_seeds or seeds):
            write_results(folder, f"uniform-seed{seed}", quality + shared + other[0])
        if seed in seeds:
            write_results(folder, f"top-70-seed{seed}", quality + gain + of_query + shared + other[1])


def a_run(folder, seeds, **how):
    """A run folder with the comparison of such mixtures."""
    results = folder / "evaluation" / "static"
    mixtures(results, seeds, **how)
    comparison = compare(results, "static", permutations=2000)
    write_json(folder / "comparison" / "static.json", comparison)
    write_json(folder / "run.json", {"name": "r", "seed": 1, "stages": [], "tasks": [{"name": "aws", "rows": 9}]})
    for seed in seeds:
        for mixture in ("uniform", "top-70"):
            model = folder / "models" / "static" / f"{mixture}-seed{seed}"
            write_json(model / "training.json", {"mixture": mixture, "seed": seed, "steps": 9, "batch": 8})
            write_json(model / "config_sentence_transformers.json", {"prompts": {}})
    return comparison


def said_everywhere(folder, seed=1):
    """The headline in the terminal, the report's page and the model card, in one line each."""
    comparison = json.loads((folder / "comparison" / "static.json").read_text())
    page = re.sub(r"<[^>]+>", " ", write_report(folder).read_text(encoding="utf-8"))
    card = write_card(folder, "static", f"top-70-seed{seed}").read_text(encoding="utf-8")
    return [" ".join(html.unescape(text).split()) for text in (comparison_table(comparison), page, card)]


@pytest.mark.parametrize(
    ("seeds", "how", "word", "sentence"),
    [
        (
            [1],
            {},
            "Not shown",
            "On these queries, with one training each, top-70 came out 3.26 points ahead of uniform (",
        ),
        ([1], {"gain": -0.03}, "Not shown", "On these queries, with one training each, top-70 came out "),
        ([1, 2, 3], {"luck": 0.05}, "Yes", "top-70 beat uniform by 3.26 points ("),
        ([1, 2, 3], {"luck": 0.05, "gain": -0.03}, "No", "top-70 did worse than uniform by "),
        (
            [1, 2],
            {"own": 0.03},
            "Not shown",
            "but other seeds could turn that; a difference of this size would need about ",
        ),
        ([1, 2, 3], {"gain": 0.0}, "Not shown", "too little to tell the two apart ("),
        ([1], {"queries": 3}, "Not shown", "on too few queries to judge: 3 queries."),
        ([1, 2, 3], {"queries": 5, "gain": 0.2}, "Not shown", "on too few queries to judge: only 5 differ."),
    ],
)
def test_terminal_report_and_card_say_the_same(tmp_path, seeds, how, word, sentence):
    a_run(tmp_path, seeds, **how)
    terminal, page, card = said_everywhere(tmp_path)
    assert all(sentence in said for said in ((page, card) if how.get("gain", 1) <= 0 else (terminal, page, card)))
    assert f"static {word} " in page
    if how.get("gain", 1) > 0:  # else uniform is the best
        assert (
            f"Best nDCG@10: top-70 ({terminal.split('Best nDCG@10: top-70 (')[1].split(')')[0]}). {word}: " in terminal
        )
    if word != "Yes":
        assert not any(claim in said for said in (terminal, page, card) for claim in ("beat uniform", "Yes:", " Yes "))


def test_one_seed_is_never_marked_as_significant(tmp_path):
    a_run(tmp_path, [1])
    (row,) = re.findall(r'<tr class="chosen">.*?</tr>', write_report(tmp_path).read_text(encoding="utf-8"), re.S)
    assert "+3.26" in row and "strong" not in row


def test_one_seed_against_several_is_one_seed(tmp_path):
    """Nobody knows how much of the single training is luck, however often the other was trained."""
    mixtures(tmp_path, [1], baseline_seeds=[1, 2, 3])
    difference = compare(tmp_path, "g", permutations=500)["rows"][1]["versus"]["ndcg@10"]["all"]
    assert difference["one_seed"] and difference["with_seeds"] is None
    assert verdict("top-70", difference, 0.5, 0.4, 1)[0] == "Not shown"


def test_models_without_seeds_are_judged_by_their_queries(tmp_path):
    random = np.random.default_rng(1)
    values = random.uniform(0.2, 0.6, 50)
    write_results(tmp_path, "theirs", values)
    write_results(tmp_path, "ours", values + random.normal(0.05, 0.02, 50))
    said = comparison_table(compare(tmp_path, "g", "theirs", permutations=2000))
    assert "Yes: ours beat theirs by 4." in " ".join(said.split()) and "seed" not in said.split("x 100.")[0]


def test_a_comparison_of_before_is_of_trainings():
    """Its file has no word on seeds; where it has no interval over them, there was one."""
    difference = {"difference": 0.01, "low": 0.005, "high": 0.02, "p": 0.001, "with_seeds": None}
    assert verdict("top-70", difference, 0.5, 0.4, 1)[0] == "Not shown"
    assert verdict("top-70", difference | {"one_seed": False}, 0.5, 0.4, 1)[0] == "Yes"


def test_the_same_seeds_are_compared_in_pairs_and_others_are_not(tmp_path):
    """Seed k reads the same rows for both mixtures: the luck that they share is no doubt about the difference."""

    def width(seeds, baseline_seeds):
        folder = tmp_path / "-".join(map(str, [*seeds, 0, *baseline_seeds]))
        mixtures(folder, seeds, luck=0.05, own=0.002, baseline_seeds=baseline_seeds)
        found = compare(folder, "g", permutations=200)["rows"][1]["versus"]["ndcg@10"]["all"]
        both = found["with_seeds"]
        return both["high"] - both["low"], both["pairs"], found["difference"]

    same, pairs, difference = width([1, 2, 3], [1, 2, 3])
    assert pairs == 3 and difference == pytest.approx(0.03, abs=0.005)
    others, pairs, _ = width([1, 2, 3], [4, 5, 6])
    assert pairs == 0 and others > 5 * same
    some, pairs, difference = width([1, 2, 3], [2, 3, 4, 5])
    assert pairs == 2 and some < others and difference == pytest.approx(0.03, abs=0.005), "of the pairs alone"
    assert width([1, 2], [2, 3])[1] == 0, "a single pair says nothing of seeds"


def test_the_sentence_names_the_means_of_the_seeds_that_are_compared(tmp_path):
    mixtures(tmp_path, [1, 2, 3], luck=0.05, own=0.002, baseline_seeds=[1, 2, 3, 4, 5, 6, 7, 8])
    comparison = compare(tmp_path, "g", permutations=200)
    versus = comparison["rows"][1]["versus"]["ndcg@10"]["all"]
    assert math.isclose(versus["means"][0] - versus["means"][1], versus["difference"])
    assert not math.isclose(versus["means"][1], comparison["rows"][0]["ndcg@10"]["all"], abs_tol=1e-4)
    one, other = (f"{100 * mean:.1f}" for mean in versus["means"])
    assert f"({one} against {other} nDCG@10" in " ".join(comparison_table(comparison).split())


def test_seeds_in_another_order_are_the_same_pairs(tmp_path):
    """Folders come by name: seed10 before seed2."""
    for seed in (2, 10):
        random = np.random.default_rng(seed)
        values = random.uniform(0.2, 0.6, 40) * 0 + np.linspace(0.2, 0.6, 40) + seed / 100
        write_results(tmp_path, f"uniform-seed{seed}", values)
        write_results(tmp_path, f"top-70-seed{seed}", values + 0.02 + 0.01 * np.sin(np.arange(40)))
    both = compare(tmp_path, "g", permutations=200)["rows"][1]["versus"]["ndcg@10"]["all"]["with_seeds"]
    assert both["pairs"] == 2 and both["high"] - both["low"] < 0.01


def test_the_table_says_how_many_seeds_each_difference_needs_and_fits(tmp_path, capsys):
    for mixture in ("top-70", "reweight", "a-mixture-with-a-very-long-name-indeed"):
        mixtures(tmp_path / "evaluation" / "g", [1, 2], own=0.02)
        for seed in (1, 2):
            source = tmp_path / "evaluation" / "g" / f"top-70-seed{seed}"
            if mixture != "top-70":
                write_results(
                    source.parent, f"{mixture}-seed{seed}", json.loads((source / "aws.json").read_text())["ndcg@10"]
                )
    assert cli.main(["compare", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 100
    assert re.search(r"To show differences of these sizes takes: top-70 (about \d+ seeds|more queries)", said)


def test_thousands_of_queries_have_a_verdict_too(tmp_path):
    """The smallest p of sign flips over 1,024 queries and more was computed by a power that no float holds."""
    mixtures(tmp_path, (1, 2, 3), queries=3000)
    comparison = compare(tmp_path, "static", permutations=200)
    assert "top-70" in comparison_table(comparison)
    (row,) = [row for row in comparison["rows"] if row["mixture"] == "top-70"]
    assert verdict("top-70", row["versus"]["ndcg@10"]["all"], 0.5, 0.45, 1)[0] == "Yes"
