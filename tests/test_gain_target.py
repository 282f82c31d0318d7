"""``gain.target``: which queries are looked at and which judge, what is said of it, and what is refused before work."""

import shutil

import pytest
from pydantic import ValidationError

import tiny
import tiny_mixture
from tdro.data.testsets.halves import answered_queries, may_be_looked_at
from tdro.errors import UserError
from tdro.evaluation.compare.compare import compare_places
from tdro.evaluation.compare.compare_table import comparison_table
from tdro.evaluation.evaluate_models import evaluate_models
from tdro.evaluation.results_table import evaluated_table
from tdro.files import read_json, write_json
from tdro.machine import Machine
from tdro.planning.plan import make_plan
from tdro.report.report_page import write_report
from tdro.run.pipeline import run_recipe
from tdro.run.target_data import TargetData
from tdro.run.training_data import RunData, mixture_on_disk
from tdro.study.settings import make_setup

FEW = {"rounds": 2, "trial_steps": 1}
TESTS = ["task0", "unseen"]
SHARES = {"task0": 0.4, "unseen": 0.3, "dev": 0.2, "task4": 0.1}


def recipe(folder, target=None, mixtures=("uniform", "gain"), **changes):
    """A recipe over five tasks, whose six test sets have 40 queries each; a development set of 12 lies beside them."""
    if not (folder / "mixture" / "mixture.json").exists():
        tiny_mixture.mixture(folder / "mixture", tasks=5, queries=40)
        tiny_mixture.write_beir(folder / "dev", tiny.task("dev", rows=12, seed=4))
    named = target or {"tests": TESTS, "folders": {"dev": str(folder / "dev")}, "tasks": ["task4"], "shares": SHARES}
    return tiny_mixture.recipe(
        folder, finetune__mixtures=list(mixtures), **{"gain": {**FEW, "target": named}, "data__tests": TESTS, **changes}
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder with a finished run."""
    folder = tmp_path_factory.mktemp("target")
    run_recipe(recipe(folder))
    return folder


def halves(folder, test):
    """The ids of a test set's queries that may be looked at, and of those that judge."""
    found = answered_queries(folder / "mixture" / "tests" / test)
    looked = [key for key, text in found.items() if may_be_looked_at(text)]
    return looked, [key for key in found if key not in looked]


def test_another_task_of_a_set_is_another_target_where_it_changes_the_negatives(tmp_path):
    """Weights that were learned with in-batch negatives are not taken for weights learned without."""
    keys = []
    for task in ("task0", "task1", "task2"):
        target = {"folders": {"dev": {"folder": str(tmp_path / "dev"), "task": task}}}
        made = recipe(tmp_path, target, data__hard_negatives_only=["task1"])
        keys.append(TargetData(made, RunData(made, tmp_path / "run", Machine())).inputs)
    assert keys[0] == keys[2] != keys[1]


def test_a_set_of_a_task_of_a_mixture_folder_takes_its_instruction(tmp_path):
    recipe(tmp_path)
    content = read_json(tmp_path / "mixture" / "mixture.json")
    content["tasks"][1] |= {"instruction": "w1 find", "symmetric": True}
    write_json(tmp_path / "mixture" / "mixture.json", content)
    for task, prompt in (("task1", "Instruct: w1 find\nQuery: "), ("nobody", "")):
        target = {"folders": {"dev": {"folder": str(tmp_path / "dev"), "task": task}}}
        made = recipe(tmp_path, target, data__prompts=True)
        data = TargetData(made, RunData(made, tmp_path / "run", Machine()))
        if prompt:
            assert (data.sets[0].test.prompt, data.sets[0].test.symmetric) == (prompt, True)
            continue
        with pytest.raises(UserError, match=r"gain\.target\.folders\.dev\.task: no task 'nobody'; there are task0"):
            assert data.sets


# ---- the halves


def test_the_text_alone_says_the_half():
    texts = [f"query {number}" for number in range(1000)]
    assert 440 < sum(map(may_be_looked_at, texts)) < 560
    assert all(may_be_looked_at(f"  {text.upper()}? ") == may_be_looked_at(text) for text in texts[:50])
    assert "".join(str(int(may_be_looked_at(text))) for text in texts[:8]) == "00011000"  # for ever


def test_what_is_looked_at_is_persisted(done):
    found = {
        each["test"]: each["queries"] for each in read_json(done / "run/weights/gain/target.json")["looked_at"].values()
    }
    assert found == {test: halves(done, test)[0] for test in TESTS} | {"dev": [f"dev-{at}" for at in range(12)]}


def test_the_matrix_has_the_target_as_columns(done):
    content = read_json(done / "run" / "weights" / "gain" / "gain.json")
    looked = [len(halves(done, test)[0]) for test in TESTS]
    assert content["target"] == {"names": list(SHARES), "shares": list(SHARES.values()), "rows": [*looked, 12, 12]}
    assert all(len(row) == 4 for matrix in content["matrices"] for row in matrix) and len(content["names"]) == 5


# ---- a comparison leaves out what was looked at, and says so


def test_the_comparison_is_by_the_other_half_alone(done):
    comparison = read_json(done / "run" / "comparison" / "main.json")
    judging = {test: len(halves(done, test)[1]) for test in TESTS}
    assert {test["name"]: test["queries"] for test in comparison["tests"]} == judging
    found = read_json(done / "run" / "evaluation" / "main" / "gain-seed1" / "task0.json")
    judged = [
        value for key, value in zip(found["queries"], found["ndcg@10"], strict=True) if key in halves(done, "task0")[1]
    ]
    row = next(row for row in comparison["rows"] if row["mixture"] == "gain")
    assert row["ndcg@10"]["tests"]["task0"] == pytest.approx(sum(judged) / len(judged))
    assert comparison["looked_at"]["queries"] == 80 - sum(judging.values()) and comparison["looked_at"]["of"] == 80


def test_it_is_said_in_table_report_and_card(done):
    judging = sum(len(halves(done, test)[1]) for test in TESTS)
    said = f"Judged by {judging} of 80 test queries: the weights of gain were learned on the other {80 - judging}."
    table = comparison_table(read_json(done / "run" / "comparison" / "main.json"), width=200)
    assert said in table.splitlines()[1]
    later = comparison_table(compare_places([done / "run"]), width=200)
    assert said in later.splitlines()[1]
    page = write_report(done / "run").read_text(encoding="utf-8")
    assert said in page and "Its weights were learned on part of the test queries; the other part judges.</h1>" in page
    assert "of 40</small>" in page and "Which task helps the target" in page and "task4 helps dev" in page
    for model in ("gain-seed1", "uniform-seed1"):
        card = (done / "run" / "models" / "main" / model / "README.md").read_text(encoding="utf-8")
        assert f"**{said}**" in card
    card = (done / "run" / "models" / "main" / "gain-seed1" / "README.md").read_text(encoding="utf-8")
    assert "They are towards a target: `task0`, `unseen`, `dev`, `task4`." in card


def test_the_cards_scores_are_by_the_other_half(done):
    card = (done / "run" / "models" / "main" / "gain-seed1" / "README.md").read_text(encoding="utf-8")
    comparison = read_json(done / "run" / "comparison" / "main.json")
    row = next(row for row in comparison["rows"] if row["mixture"] == "gain")
    shown = next(line for line in card.splitlines() if line.startswith("| `task0` | yes"))
    assert f" {100 * row['ndcg@10']['tests']['task0']:.1f} " in shown


def test_models_evaluated_elsewhere_are_judged_by_the_same_queries(done, tmp_path):
    run = done / "run" / "models" / "main"
    tests = str(done / "mixture" / "tests" / "task0")
    results = evaluate_models([str(run / "gain-seed1"), str(run / "uniform-seed1")], [tests], tmp_path)
    looked, judging = halves(done, "task0")
    warning = f"the weights of gain-seed1 were learned on {len(looked)} of the 40 queries of task0"
    table = evaluated_table(results)
    assert table.count("were learned on") == 1 and f"warning: {warning}" in table
    comparison = compare_places([tmp_path / "gain-seed1", tmp_path / "uniform-seed1"])
    assert comparison["tests"][0]["queries"] == len(judging)
    assert "looked_at" not in compare_places([tmp_path / "uniform-seed1"])


def test_what_was_all_looked_at_judges_nothing(done, tmp_path):
    model = done / "run" / "models" / "main" / "gain-seed1"
    evaluate_models([str(model)], [str(done / "dev")], tmp_path)
    with pytest.raises(UserError, match="dev: weights of gain were learned on all of these"):
        compare_places([tmp_path / "gain-seed1"])


def test_a_broken_record_is_named(done, tmp_path):
    copy = shutil.copytree(done / "run", tmp_path / "run")
    write_json(copy / "weights" / "gain" / "target.json", {"format": "tdro-target/1"})
    with pytest.raises(UserError, match=r"target\.json: does not say which test queries"):
        compare_places([copy])


# ---- inputs


def test_the_same_recipe_again_does_nothing(done, capsys):
    before = (done / "run" / "weights" / "gain" / "weights.json").stat().st_mtime_ns
    run_recipe(recipe(done))
    assert (done / "run" / "weights" / "gain" / "weights.json").stat().st_mtime_ns == before
    assert capsys.readouterr().out.count("done before") == 3


def test_another_target_is_refused(done):
    for target in ({"tests": TESTS}, {"tests": TESTS, "tasks": ["task4"]}):
        with pytest.raises(UserError, match=r"'weights/gain' was made from other inputs \(target"):
            run_recipe(recipe(done, target), ["learn"])


def test_other_content_of_a_target_is_refused(done, tmp_path):
    copy = shutil.copytree(done, tmp_path / "copy")
    queries = copy / "dev" / "queries.jsonl"
    queries.write_text(queries.read_text().replace('"text": "w', '"text": "w7 w', 1))
    target = {"tests": TESTS, "folders": {"dev": str(copy / "dev")}, "tasks": ["task4"], "shares": SHARES}
    with pytest.raises(UserError, match=r"'weights/gain' was made from other inputs \(target"):
        run_recipe(recipe(copy, target), ["learn"])


def test_all_is_every_test_set(tmp_path):
    found = recipe(tmp_path, {"tests": "all"})
    run_recipe(found, ["learn"])
    content = read_json(tmp_path / "run" / "weights" / "gain" / "gain.json")
    assert content["target"]["names"] == TESTS and content["target"]["shares"] == [0.5, 0.5]


def test_the_plan_counts_the_targets_rows(tmp_path):
    found = recipe(tmp_path)
    training = make_plan(found, mixture_on_disk(found)).estimates[0].training
    queries = sum(len(halves(tmp_path, test)[0]) for test in TESTS) + 12  # each with 3 negatives; a row of a task has 1
    each = round(queries * 5 / 3 / 5)
    assert training.scored.tolist() == [2 * 6 * rows for rows in (each, each, each, each, each + 12)]


# ---- refused before work


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ({}, "names nothing"),
        ({"tests": []}, "expected 'all' or a list of names"),
        ({"tests": "task0"}, "expected 'all' or a list of names of test sets, found 'task0'"),
        ({"tests": ["task9"]}, "no test set 'task9'"),
        ({"tests": ["task1"]}, "no test set 'task1'"),  # data.tests leaves it out
        ({"tasks": ["tusk4"]}, "no task 'tusk4'; did you mean 'task"),
        ({"folders": {"dev": "nowhere/dev"}}, "no such folder: 'nowhere/dev'"),
        ({"tests": ["task0"], "tasks": ["task0"]}, "'task0' is named twice"),
        ({"tests": TESTS, "shares": {"task0": 0.5, "unseen": 0.4}}, "the shares sum to 0.9, not to 1"),
        ({"tests": TESTS, "shares": {"task0": 1.5, "unseen": -0.5}}, "above 0 and at most 1, found 1.5"),
        ({"tests": TESTS, "shares": {"task0": 1.0}}, "'unseen' has no share"),
        ({"tests": TESTS, "shares": {"task0": 0.5, "unsee": 0.5}}, "no 'unsee'; did you mean 'unseen'"),
    ],
)
def test_targets_that_cannot_work(done, target, says):
    with pytest.raises(ValidationError, match=says):
        recipe(done, {"tests": None, **target})


def test_a_target_that_no_mixture_asks_for(tmp_path):
    with pytest.raises(ValidationError, match="no mixture asks for gain"):
        recipe(tmp_path, mixtures=["uniform"])


def test_a_study_of_a_target(tmp_path):
    with pytest.raises(UserError, match=r"gain\.target: a study judges by all test queries"):
        make_setup(recipe(tmp_path), {"mixture": "uniform"})
    with pytest.raises(UserError, match=r"gain\.target: a study judges by all test queries"):
        make_setup(tiny_mixture.recipe(tmp_path), {"gain.target.tests": "all"})


def test_a_target_with_too_few_queries(tmp_path):
    tiny_mixture.write_beir(tmp_path / "few", tiny.task("few", rows=9, seed=4))
    with pytest.raises(UserError, match=r"'few' has too few queries: 9 with a relevant passage in .*few; it takes 10"):
        run_recipe(recipe(tmp_path, {"folders": {"few": str(tmp_path / "few")}}))
    assert not (tmp_path / "run" / "weights").exists()


def test_a_task_with_too_few_held_out_rows(tmp_path):
    with pytest.raises(UserError, match=r"of the 12 rows of task 'task0' only 2 would be held out; it takes 10"):
        run_recipe(recipe(tmp_path, {"tasks": ["task0"]}))


def test_a_development_set_that_is_a_test_set(tmp_path):
    found = recipe(tmp_path, {"folders": {"dev": str(tmp_path / "mixture" / "tests" / "task0")}})
    with pytest.raises(
        UserError, match=r"all 40 queries of the test set 'task0' are in the target(.|\n)*gain.target.tests"
    ):
        run_recipe(found)
    assert not (tmp_path / "run" / "weights").exists()


def test_shares_of_all_test_sets_are_checked_against_them(tmp_path):
    found = recipe(tmp_path, {"tests": "all", "shares": {"task0": 0.5, "other": 0.5}})
    with pytest.raises(UserError, match=r"gain\.target\.shares: .* '(other|unseen)'"):
        run_recipe(found)
