"""Faults of one line each: what is damaged, doubled, endless or hidden is named, and nobody's paths are shown."""

import json

import pytest

import tiny_mixture
from tdro.cli import main
from tdro.console import visible
from tdro.errors import UserError
from tdro.evaluation.leaks.trained_on import trained_on
from tdro.evaluation.results import read_group
from tdro.evaluation.scoring.model_prompts import read_instructions
from tdro.files import read_json, write_json
from tdro.planning.plan import make_plan
from tdro.recipe.schema import load_recipe
from tdro.report.hide_paths import hide_paths, without_paths
from tdro.report.run_contents import read_run_folder
from tdro.run import pipeline
from tdro.run.training_data import mixture_on_disk
from tdro.weights import TaskWeights


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "null", '"0.5"'])
def test_a_result_that_is_no_number_is_named(value, tmp_path):
    path = tmp_path / "main" / "uniform-seed1" / "faq.json"
    write_json(path, {"test": "faq", "queries": ["q1", "q2"], "data": "d", "ndcg@10": [0.5, "HERE"]})
    path.write_text(path.read_text().replace('"HERE"', value))
    with pytest.raises(UserError, match=r"faq\.json: test set 'faq', query 'q2': ndcg@10 is .*, no finite number"):
        read_group(tmp_path / "main")


@pytest.mark.parametrize("text", ['{"a": 0.5, "b": 0.5, "a": 0.1}', '{"weights": {"a": 1, "a": 2}}'])
def test_a_key_that_is_there_twice_is_refused(text, tmp_path):
    (tmp_path / "weights.json").write_text(text)
    with pytest.raises(UserError, match=r"weights\.json: .*key 'a' is there twice"):
        TaskWeights.load(tmp_path / "weights.json")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-0.5"])
def test_weights_that_are_none_are_named(value, tmp_path):
    (tmp_path / "weights.json").write_text(f'{{"a": 0.5, "b": {value}}}')
    with pytest.raises(UserError, match="'b'"):
        TaskWeights.load(tmp_path / "weights.json")


@pytest.mark.parametrize("kind", ["merges", "aliases"])
def test_aliases_that_grow_without_end_are_refused_at_once(kind, tmp_path):
    lines = ["x0: &a0 {k: 1}"]
    for n in range(40):
        value = f"{{<<: [*a{n}, *a{n}], k{n}: 1}}" if kind == "merges" else f"[*a{n}, *a{n}, *a{n}, *a{n}]"
        lines.append(f"x{n + 1}: &a{n + 1} {value}")
    (tmp_path / "r.yaml").write_text("name: a\n" + "\n".join(lines))
    with pytest.raises(UserError, match=r"r\.yaml, line \d+: its aliases .* write them out"):
        load_recipe(tmp_path / "r.yaml")


ENDLESS = "a: &b [1, 1]\n" + "".join(f"k{n}: &b [*b, *b]\n" for n in range(60))


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: 2024-13-45", "a: !!int x", "[" * 900, ENDLESS])
def test_yaml_of_others_that_cannot_be_read_is_one_line_or_unknown(text, tmp_path):
    """The front matter of a model's card, and the file of --instruction."""
    (tmp_path / "README.md").write_text(f"---\n{text}\n---\n")
    assert not trained_on(str(tmp_path)).data
    (tmp_path / "i.yaml").write_text(text)
    with pytest.raises(UserError, match=r"i\.yaml") as raised:
        read_instructions([str(tmp_path / "i.yaml")])
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("seed", [float("nan"), "x", [1], True])
def test_a_training_whose_seed_is_none_is_named(seed, tmp_path):
    write_json(tmp_path / "models" / "main" / "uniform-seed1" / "training.json", {"mixture": "uniform", "seed": seed})
    with pytest.raises(UserError, match=r"uniform-seed1/training\.json: 'seed' is .*, no whole number"):
        read_run_folder(tmp_path)


@pytest.mark.parametrize("weights", [[1.0, float("nan")], [1.0, "x"], 2])
def test_weights_of_queries_that_are_no_numbers_are_named(weights, tmp_path):
    """Those of joined test sets, such as CQADupStack."""
    content = {"test": "faq", "queries": ["q1", "q2"], "data": "d", "ndcg@10": [0.5, 0.4], "weights": weights}
    write_json(tmp_path / "main" / "uniform-seed1" / "faq.json", content)
    with pytest.raises(UserError, match=r"faq\.json: test set 'faq': 'weights'"):
        read_group(tmp_path / "main")


def test_what_hides_or_turns_text_is_shown_as_its_escape():
    assert visible("a\u202eb\u2066c\x1b[2Jd\re") == "a\\u202eb\\u2066c\\u001b[2Jd\\u000de"
    assert visible("a\u200fb\u061cc\u2028d\ud800e\U000e0041f") == r"a\u200fb\u061cc\u2028d\ud800e\U000e0041f"
    plain = "q\tw\ne \u05d0\u05d1 \U0001f469\u200d\U0001f4bb é 漢"  # Hebrew, and an emoji of several
    assert visible(plain) == plain


def test_report_and_cards_hide_no_text_and_show_no_path(tmp_path):
    recipe = tiny_mixture.recipe(tmp_path)
    mixture = read_json(tmp_path / "mixture" / "mixture.json")
    for task in mixture["tasks"]:
        task |= {"licence": "CC0\u202e0.1", "source": f"a\u202eb of file://{tmp_path}/{task['name']}, {tmp_path}/b"}
    write_json(tmp_path / "mixture" / "mixture.json", mixture)
    pipeline.run_recipe(recipe)
    for path in (recipe.folder / "report.html", *recipe.folder.glob("models/*/*/README.md")):
        text = path.read_text(encoding="utf-8")
        assert "\u202e" not in text and "\\u202e" in text, path
        assert str(tmp_path) not in text, path


def test_the_terminal_is_not_controlled_by_data(tmp_path, capsys):
    row = {"query": "w1 \x1b[31m\u202e w2", "positive": "w3 w4"}
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row | {"id": str(n)}) + "\n" for n in range(3)))
    for command in ("check", "describe"):
        main(["data", command, str(tmp_path / "a.jsonl")])
    said = "".join(capsys.readouterr())
    assert "\x1b" not in said and "\u202e" not in said


def test_paths_become_their_last_part():
    assert hide_paths("tokens of /home/me/models/mini") == "tokens of mini"
    assert hide_paths("file:///home/me/x") == "x"
    assert hide_paths('json:/home/me/x.jsonl; b:"/home/me/y"') == 'json:x.jsonl; b:"y"'
    assert without_paths(["json:/home/me/x", "say and /or"]) == ["json:x", "say and /or"]
    assert hide_paths("hf://datasets/o/n and/or https://a.b/c") == "hf://datasets/o/n and/or https://a.b/c"


def test_a_cap_that_cannot_be_kept_names_its_group(tmp_path):
    recipe = tiny_mixture.recipe(tmp_path, finetune__max_epochs=0.01)
    for work in (pipeline.run_recipe, lambda recipe: make_plan(recipe, mixture_on_disk(recipe))):
        with pytest.raises(UserError, match="finetune 'main', max_epochs: "):
            work(recipe)


def test_a_report_of_nothing_makes_no_folder(tmp_path):
    with pytest.raises(UserError, match="no such run folder"):
        pipeline.run_recipe(tiny_mixture.recipe(tmp_path), ["report"])
    assert not (tmp_path / "run").exists()
