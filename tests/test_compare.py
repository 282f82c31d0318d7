"""The comparison of mixtures: its numbers, what it refuses, and its table."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from tdro import cli
from tdro.errors import UserError
from tdro.evaluation.compare.compare import compare, compare_places
from tdro.evaluation.compare.compare_table import comparison_table
from tdro.files import write_json

TESTS = {"aws": "aws", "code": "code", "korean": ""}
FEW = {"permutations": 200}


def write(folder, model, values, tests=TESTS, queries=40, data="x"):
    """``values``: the mean nDCG of each test set; queries differ by a pattern that all models share."""
    for number, (name, task) in enumerate(tests.items()):
        pattern = np.random.default_rng(number).uniform(-0.05, 0.05, queries)
        ndcg = (values[number] + pattern - pattern.mean()).tolist()
        content = {
            "test": name,
            "model": model,
            "task": task,
            "trained": bool(task),
            "fingerprint": "f",
            "data": data,
        }
        content |= {
            "queries": [f"q{q}" for q in range(queries)],
            "ndcg@10": ndcg,
            "recall@100": [0.5] * queries,
        }
        write_json(folder / model / f"{name}.json", content | {"mean": {}})


@pytest.fixture
def group(tmp_path):
    write(tmp_path, "untrained", [0.1, 0.1, 0.1])
    write(tmp_path, "uniform-seed1", [0.2, 0.3, 0.1])
    write(tmp_path, "uniform-seed2", [0.2, 0.3, 0.16])
    write(tmp_path, "top-70-seed1", [0.3, 0.3, 0.2])
    write(tmp_path, "top-70-seed2", [0.3, 0.4, 0.2])
    return tmp_path


def test_means_spread_and_differences(group):
    found = compare(group, "static", **FEW)
    assert (found["group"], found["seeds"]) == ("static", [1, 2])
    assert found["tests"][2] == {"name": "korean", "task": "", "trained": False, "queries": 40}
    rows = {row["mixture"]: row for row in found["rows"]}
    assert list(rows) == ["untrained", "uniform", "top-70"]
    assert [row["seeds"] for row in found["rows"]] == [1, 2, 2]
    uniform = rows["uniform"]["ndcg@10"]
    assert uniform["tests"] == pytest.approx({"aws": 0.2, "code": 0.3, "korean": 0.13})
    assert (uniform["all"], uniform["trained"], uniform["untrained"]) == pytest.approx((0.21, 0.25, 0.13))
    assert uniform["spread"] == pytest.approx(np.std([0.2, 0.22], ddof=1))
    assert rows["untrained"]["ndcg@10"]["spread"] is None
    assert rows["top-70"]["recall@100"]["all"] == pytest.approx(0.5)
    assert rows["uniform"]["versus"] is None
    shared = [np.random.default_rng(number).uniform(-0.05, 0.05, 40).var(ddof=1) / 40 for number in range(3)]
    assert uniform["error"] == pytest.approx(np.sqrt(sum(shared)) / 3)
    versus = rows["top-70"]["versus"]["ndcg@10"]
    assert versus["all"]["difference"] == pytest.approx((0.1 + 0.05 + 0.07) / 3)
    assert versus["trained"]["difference"] == pytest.approx(0.075)
    assert versus["untrained"]["difference"] == pytest.approx(0.07)
    reach = np.mean(
        [3 / 40 * (1 + gain) for gain in (0.1, 0.05, 0.07)]
    )  # every query gains the same: the rule of three
    assert versus["all"]["high"] - versus["all"]["difference"] == pytest.approx(reach)
    assert (versus["all"]["too_few"], versus["all"]["one_seed"]) == ("", False)
    assert (versus["all"]["wins"], versus["all"]["ties"], versus["all"]["losses"]) == (120, 0, 0)
    both = versus["all"]["with_seeds"]
    assert both["low"] < versus["all"]["low"] and versus["all"]["high"] < both["high"]
    assert both["pairs"] == 2
    assert rows["untrained"]["versus"]["ndcg@10"]["all"]["with_seeds"] is not None  # it has no seeds to vary
    assert versus["tests"]["aws"]["p"] == 1 / 201
    assert versus["tests"]["aws"]["p_holm"] == pytest.approx(3 / 201)
    json.dumps(found)


def test_equal_models_do_not_differ(tmp_path):
    for model in ("uniform-seed1", "proportional-seed1"):
        write(tmp_path, model, [0.2, 0.3, 0.1])
    versus = compare(tmp_path, "static", **FEW)["rows"][1]["versus"]["ndcg@10"]["all"]
    assert versus == {
        **{"difference": 0, "low": None, "high": None, "p": 1, "wins": 0, "ties": 120, "losses": 0},
        **{"means": [pytest.approx(0.2)] * 2, "too_few": "none of 120 queries differ"},
        **{"one_seed": True, "with_seeds": None},
    }
    assert "proportional has the result of uniform on every query" in comparison_table(
        compare(tmp_path, "static", **FEW)
    )


def test_only_trained_test_sets_and_no_uniform(tmp_path):
    write(tmp_path, "top-70-seed3", [0.2], {"aws": "aws"})
    found = compare(tmp_path, "static", **FEW)
    assert found["rows"][0]["ndcg@10"]["untrained"] is None
    assert found["rows"][0]["versus"] is None
    write(tmp_path, "uniform-seed3", [0.1], {"aws": "aws"})
    assert compare(tmp_path, "static", **FEW)["rows"][1]["versus"]["ndcg@10"]["untrained"] is None
    comparison_table(found)


def test_refuses_other_queries_other_texts_and_missing_files(group):
    with pytest.raises(UserError, match="nowhere: no evaluations"):
        compare(group / "nowhere", "static")
    for change in ({"data": "other texts"}, {"queries": 39}):
        write(group, "reweight-seed1", [0.2, 0.2, 0.2], **change)
        with pytest.raises(UserError, match=r"/aws.json and .*reweight-seed1/aws.json are of different queries"):
            compare(group, "static", **FEW)
    write(group, "reweight-seed1", [0.2, 0.2, 0.2])
    (group / "reweight-seed1" / "code.json").unlink()
    with pytest.raises(UserError, match=r"reweight-seed1/code.json: no such file, but other models have"):
        compare(group, "static", **FEW)
    (group / "reweight-seed1" / "code.json").write_text('{"queries": ["q1"]}')
    with pytest.raises(UserError, match=r"reweight-seed1/code.json: no key 'test'"):
        compare(group, "static", **FEW)


def test_table_names_the_best_and_fits_the_terminal(group):
    write(group, "a-mixture-with-a-very-long-name-indeed-seed1", [0.1, 0.1, 0.1])
    for number in range(8):
        write(group, f"top-{10 + number}-seed1", [0.1, 0.1, 0.1])
    text = comparison_table(compare(group, "static", **FEW))
    assert max(map(len, text.splitlines())) <= 100
    assert (
        text.splitlines()[1]
        == "Best nDCG@10: top-70 (28.3). Not shown: top-70 came out 7.33 points ahead of uniform, too little to"
    )
    line = next(line for line in text.splitlines() if line.startswith("uniform"))
    assert line.split() == ["uniform", "21.0", "±", "1.4", "25.0", "13.0", "50.0", "±", "0.0", "-"]
    lines = [line for line in text.splitlines() if line.startswith("top-70 ")]
    line = lines[0]
    assert re.search(r"\+7.3 \[-0.7, \+15.4\] p 0.005$", line)
    assert re.search(r"top-70 +2.36 +0.\d\d  \+7.3 \[-?\+?\d.*\] +120 +0 +0$", lines[1])
    assert "aws*" in text
    assert "korean*" not in text


def test_table_says_plainly_if_uniform_is_best(tmp_path):
    write(tmp_path, "uniform-seed1", [0.3, 0.3, 0.3])
    write(tmp_path, "top-70-seed1", [0.2, 0.3, 0.3])
    said = comparison_table(compare(tmp_path, "g", **FEW))
    assert "Best nDCG@10: uniform (30.0). The others are compared with it." in said


def test_table_says_where_the_best_may_be_chance(tmp_path):
    write(tmp_path, "uniform-seed1", [0.3, 0.3, 0.3])
    write(tmp_path, "top-70-seed1", [0.3, 0.3, 0.3])
    path = tmp_path / "top-70-seed1" / "aws.json"
    content = json.loads(path.read_text())
    content["ndcg@10"][0] += 0.1
    write_json(path, content)
    said = comparison_table(compare(tmp_path, "g", **FEW))
    assert "on too few queries to judge: 1 of 120 queries differs." in " ".join(said.split())
    assert re.search(r"\+0.1 too few queries$", said, re.M)
    content["ndcg@10"] = [value + 0.1 * (-1) ** at for at, value in enumerate(content["ndcg@10"])]
    write_json(path, content)
    assert "too little to tell the two apart" in " ".join(comparison_table(compare(tmp_path, "g", **FEW)).split())


def test_table_says_where_other_seeds_could_turn_it(tmp_path):
    for seed, (first, second) in enumerate(((0.3, 0.5), (0.5, 0.3)), start=1):
        write(tmp_path, f"uniform-seed{seed}", [first, 0.3, 0.3])
        write(tmp_path, f"top-70-seed{seed}", [second + 0.01, 0.3, 0.3])
    said = " ".join(comparison_table(compare(tmp_path, "g", **FEW)).split())
    assert "Not shown" in said and "another" not in said


def seeds_of(folder, mixture, values, seeds=(1, 2)):
    for seed in seeds:
        write(folder, f"{mixture}-seed{seed}", values)


def test_places_are_runs_groups_and_models_and_every_name_tells_them_apart(tmp_path):
    for run in ("one", "two"):
        for group in ("static", "smollm2"):
            seeds_of(tmp_path / run / "evaluation" / group, "uniform", [0.2, 0.2, 0.2])
            seeds_of(tmp_path / run / "evaluation" / group, "top-70", [0.3, 0.2, 0.2])
    one, two = tmp_path / "one", tmp_path / "two"

    def names(*places):
        return [(row["mixture"], row["baseline"]) for row in compare_places(places)["rows"]]

    assert names(one / "evaluation" / "static") == [("uniform", None), ("top-70", "uniform")]
    assert names(one)[2:] == [("static/uniform", None), ("static/top-70", "static/uniform")]
    static = [place / "evaluation" / "static" for place in (one, two)]
    assert names(*static) == [
        *(("one:uniform", None), ("one:top-70", "one:uniform")),
        *(("two:uniform", None), ("two:top-70", "two:uniform")),
    ]
    assert ("two:static/top-70", "two:static/uniform") in names(one, two)
    models = [static[0] / "top-70-seed1", static[0] / "uniform-seed2"]
    assert names(*models, static[0] / "top-70-seed1") == [("uniform", None), ("top-70", "uniform")]
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "one").symlink_to(one, target_is_directory=True)
    assert len(names(one, tmp_path / "again" / "one")) == 4  # the same folder twice is one


def test_models_without_uniform_are_compared_with_the_first_or_the_named(tmp_path):
    for model, value in (("a", 0.1), ("b", 0.2), ("c", 0.3)):
        write(tmp_path, model, [value] * 3)
    found = compare_places([tmp_path / "b", tmp_path / "a", tmp_path / "c"])
    assert {row["mixture"]: row["baseline"] for row in found["rows"]} == {"a": "b", "b": None, "c": "b"}
    found = compare_places([tmp_path], "c")
    assert {row["mixture"]: row["baseline"] for row in found["rows"]} == {"a": "c", "b": "c", "c": None}
    assert found["rows"][0]["versus"]["ndcg@10"]["all"]["losses"] == 120
    assert "Best nDCG@10: c (30.0). The others are compared with it." in comparison_table(found)
    with pytest.raises(UserError, match="--baseline d: no model of a, b, c"):
        compare_places([tmp_path], "d")


def test_two_models_are_shown_with_every_number_of_every_test_set(tmp_path):
    write(tmp_path, "uniform-seed1", [0.2, 0.2, 0.2])
    write(tmp_path, "top-70-seed1", [0.3, 0.2, 0.1])
    text = comparison_table(compare(tmp_path, "static", **FEW))
    assert re.search(r"aws\* +20.0 +30.0  \+10.0 \[\+1.\d, \+18.\d\] p 0.005 +0.015 +40 +0$", text, re.M)
    assert re.search(r"korean +20.0 +10.0  -10.0 .* +0 +40$", text, re.M)
    assert "- (one seed)" in text


def test_other_measures_and_test_sets_that_not_all_have(tmp_path):
    write(tmp_path / "a", "one", [0.1, 0.1, 0.1])
    write(tmp_path / "b", "two", [0.2, 0.2], {"aws": "aws", "code": "code"})
    found = compare_places([tmp_path / "a" / "one", tmp_path / "b"], measure="recall@100")
    assert "Left out, since not all models were evaluated on them: korean" in comparison_table(found)
    assert [test["name"] for test in found["tests"]] == ["aws", "code"]
    assert found["measures"] == ["recall@100", "ndcg@10"]
    assert found["rows"][1]["versus"]["recall@100"]["all"]["ties"] == 80
    assert "Recall@100 minus one's" in comparison_table(found)
    with pytest.raises(UserError, match=r"aws.json: no measure 'mrr@10'; it has ndcg@10, recall@100"):
        compare_places([tmp_path / "a"], measure="mrr@10")
    write(tmp_path / "c", "three", [0.2], {"korean": ""})
    with pytest.raises(UserError, match=r"(?s)no test set has been evaluated for all of .*three"):
        compare_places([tmp_path / "b", tmp_path / "c"])


def test_command(tmp_path, capsys):
    folder = tmp_path / "run" / "evaluation" / "static"
    write(folder, "uniform-seed1", [0.2, 0.2, 0.2])
    write(folder, "top-70-seed1", [0.3, 0.2, 0.1])
    out = tmp_path / "out.json"
    assert cli.main(["compare", str(tmp_path / "run"), "--out", str(out), "--examples", "1"]) == 0
    said = capsys.readouterr().out
    assert (
        "top-70 against uniform: queries that gained most" in said
        and "(text not found)" in said
        and "top-70 first: not known, its run file" in said
    )
    content = json.loads(out.read_text())
    assert content["rows"][1]["versus"]["ndcg@10"]["tests"]["aws"]["p_holm"] < 0.05
    assert content["leaks"] is None
    assert cli.main(["compare", str(tmp_path / "run"), "--out", str(out)]) == 2  # other examples
    assert "is there already" in capsys.readouterr().err
    assert cli.main(["compare", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err
    write_json(tmp_path / "model" / "modules.json", [])
    assert cli.main(["compare", str(tmp_path / "model")]) == 2
    assert "a model, not its results" in capsys.readouterr().err
