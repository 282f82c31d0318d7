"""The comparison of mixtures: its numbers, what it refuses, and its table."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from tdro.errors import UserError
from tdro.evaluation.compare import compare, table
from tdro.files import write_json

TESTS = {"aws": "aws", "code": "code", "korean": ""}
FEW = {"permutations": 200, "resamples": 100}


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
    assert rows["uniform"]["versus_uniform"] is None
    versus = rows["top-70"]["versus_uniform"]["ndcg@10"]
    assert versus["all"]["difference"] == pytest.approx((0.1 + 0.05 + 0.07) / 3)
    assert versus["trained"]["difference"] == pytest.approx(0.075)
    assert versus["untrained"]["difference"] == pytest.approx(0.07)
    assert versus["all"]["low"] == pytest.approx(versus["all"]["high"])  # every query gains the same
    assert versus["tests"]["aws"]["p"] == 1 / 201
    assert versus["tests"]["aws"]["p_holm"] == pytest.approx(3 / 201)
    json.dumps(found)


def test_equal_models_do_not_differ(tmp_path):
    for model in ("uniform-seed1", "proportional-seed1"):
        write(tmp_path, model, [0.2, 0.3, 0.1])
    versus = compare(tmp_path, "static", **FEW)["rows"][1]["versus_uniform"]["ndcg@10"]["all"]
    assert versus == {"difference": 0, "low": 0, "high": 0, "p": 1}


def test_only_trained_test_sets_and_no_uniform(tmp_path):
    write(tmp_path, "top-70-seed3", [0.2], {"aws": "aws"})
    found = compare(tmp_path, "static", **FEW)
    assert found["rows"][0]["ndcg@10"]["untrained"] is None
    assert found["rows"][0]["versus_uniform"] is None
    write(tmp_path, "uniform-seed3", [0.1], {"aws": "aws"})
    assert compare(tmp_path, "static", **FEW)["rows"][1]["versus_uniform"]["ndcg@10"]["untrained"] is None
    table(found)


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
    text = table(compare(group, "static", **FEW))
    assert max(map(len, text.splitlines())) <= 100
    assert "Best nDCG@10: top-70 (28.3, against uniform +7.3 [" in text
    assert "chance" not in text
    line = next(line for line in text.splitlines() if line.startswith("uniform"))
    assert line.split() == ["uniform", "21.0", "±", "1.4", "25.0", "13.0", "50.0", "±", "0.0", "-"]
    line = next(line for line in text.splitlines() if line.startswith("top-70 "))
    assert re.search(r"\+7.3 \[\+\d.\d, \+\d.\d\] p 0.005$", line)
    assert "aws*" in text
    assert "korean*" not in text


def test_table_says_plainly_if_uniform_is_best(tmp_path):
    write(tmp_path, "uniform-seed1", [0.3, 0.3, 0.3])
    write(tmp_path, "top-70-seed1", [0.2, 0.3, 0.3])
    assert "No mixture beats uniform: it has the highest nDCG@10 (30.0)." in table(compare(tmp_path, "g", **FEW))


def test_table_says_where_the_best_may_be_chance(tmp_path):
    write(tmp_path, "uniform-seed1", [0.3, 0.3, 0.3])
    write(tmp_path, "top-70-seed1", [0.3, 0.3, 0.3])
    path = tmp_path / "top-70-seed1" / "aws.json"
    content = json.loads(path.read_text())
    content["ndcg@10"][0] += 0.1
    write_json(path, content)
    assert "That may be chance." in table(compare(tmp_path, "g", **FEW))
