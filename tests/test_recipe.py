"""Recipes: what they hold, and what a user reads where one is wrong."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tdro.errors import UserError
from tdro.recipe.builtin import built_in, find
from tdro.recipe.keys_page import keys_as_markdown
from tdro.recipe.schema import Recipe, load_recipe

ROOT = Path(__file__).parent.parent
MINIMAL = "name: small\nbase: {kind: static, source: smollm2}\n"  # lines 1 and 2; tests add from line 3 on


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORLD_SIZE", raising=False)


def load(text: str | bytes) -> Recipe:
    Path("r.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_recipe("r.yaml")


def complaint(text: str | bytes) -> str:
    with pytest.raises(UserError) as caught:
        load(text)
    return str(caught.value)


def make_mixture(folder: str = "mix") -> None:
    Path(folder).mkdir()
    content = {"tasks": [{"name": "faq"}, {"name": "code"}], "tests": [{"name": "faq_test"}]}
    Path(folder, "mixture.json").write_text(json.dumps(content))


def test_defaults_are_the_papers() -> None:
    recipe = load(MINIMAL)
    assert recipe.folder == Path("runs/small")
    assert recipe.base.dimension == 256
    for training in (recipe.reference, recipe.weights, recipe.finetune[0]):
        assert (training.steps, training.batch, training.temperature) == (1000, 2048, 0.002)
        assert (training.learning_rate, training.schedule, training.warmup) == (1e-4, "cosine", 100)
        assert (training.floor, training.weight_decay) == (0.1, 0.1)
    assert (recipe.reference.negatives, recipe.weights.negatives, recipe.finetune[0].negatives) == (1, 7, 1)
    assert recipe.weights.eta_value == pytest.approx(0.02)
    assert (recipe.weights.measure, recipe.weights.max_norm, recipe.weights.offset) == ("relative", 1.0, 0.0)
    assert recipe.finetune[0].mixtures == ("uniform", "top-70")


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(MINIMAL).seed = 1


def test_eta_is_given_directly_or_times_the_steps() -> None:
    assert load(MINIMAL + "weights: {steps: 400, eta: 0.5}").weights.eta_value == 0.5
    assert load(MINIMAL + "weights: {steps: 400, eta_times_steps: 8}").weights.eta_value == 0.02


def test_warmup_is_a_share_or_a_number_of_steps() -> None:
    assert load(MINIMAL + "reference: {steps: 50, warmup_steps: 0.1}").reference.warmup == 5
    assert load(MINIMAL + "reference: {steps: 50, warmup_steps: 49}").reference.warmup == 49
    assert load(MINIMAL + "reference: {steps: 50, warmup_steps: 0}").reference.warmup == 0
    assert load(MINIMAL + "reference: {steps: 1}").reference.warmup == 0


@pytest.mark.parametrize(
    ("keys", "tasks", "steps"),
    [
        ("batch: 2048", 25, 1),  # 82 rows a task
        ("batch: 64", 16, 4),  # 4 rows a task
        ("batch: 100", 10, 2),
        ("batch: 160", 10, 1),
        ("batch: 64, average_steps: 1", 16, 1),
        ("batch: 2048, average_steps: 7", 25, 7),
    ],
)
def test_means_are_averaged_over_enough_steps_for_sixteen_rows_a_task(keys, tasks, steps) -> None:
    assert load(MINIMAL + f"weights: {{{keys}}}").weights.averaged_steps(tasks) == steps


def test_a_group_has_the_recipes_base_or_its_own() -> None:
    text = "finetune: [{name: a}, {name: b, base: {kind: decoder, source: smollm2, layers: 6, lora: {r: 4}}}]"
    recipe = load(MINIMAL + text)
    assert recipe.base_of(recipe.finetune[0]) == recipe.base
    own = recipe.base_of(recipe.finetune[1])
    assert (own.layers, own.lora.r, own.lora.alpha, own.lora.dropout) == (6, 4, 32.0, 0.1)


def test_merge_keys_share_settings() -> None:
    text = """finetune:
  - &one {name: a, steps: 7}
  - {<<: *one, name: b}
"""
    assert [(group.name, group.steps) for group in load(MINIMAL + text).finetune] == [("a", 7), ("b", 7)]
    wrong = text.replace("steps: 7", "steps: 0")
    assert complaint(MINIMAL + wrong) == (
        "r.yaml, line 4: finetune[0].steps: must be at least 1, found 0\n"
        "r.yaml, line 4: finetune[1].steps: must be at least 1, found 0"
    )


@pytest.mark.parametrize("number", ["1e-3", "1E-3", "0.001", ".001", "1.0e-3", "1_0e-4", "+1e-3"])
def test_numbers_are_numbers(number) -> None:
    assert load(MINIMAL + f"reference: {{learning_rate: {number}}}").reference.learning_rate == 1e-3


def test_words_that_older_yaml_takes_for_something_else_are_text() -> None:
    recipe = load(MINIMAL.replace("small", "2024-01-01") + "finetune: [{name: no}, {name: on}]")
    assert (recipe.name, [group.name for group in recipe.finetune]) == ("2024-01-01", ["no", "on"])
    assert load(recipe.to_yaml()) == recipe


def test_a_mixture_on_disk_and_a_subset_of_it() -> None:
    make_mixture()
    recipe = load(MINIMAL + "data: {mixture: mix, tasks: [code], tests: [faq_test]}")
    assert (recipe.data.mixture, recipe.data.tasks) == ("mix", ("code",))


@pytest.mark.parametrize("name", built_in())
def test_built_in_recipes_load_and_survive_a_round_trip(name) -> None:
    recipe = load_recipe(find(name))
    assert recipe.name == name
    assert load(recipe.to_yaml()) == recipe
    again = load(recipe.to_yaml()).to_yaml()
    assert again == recipe.to_yaml()


def test_what_is_written_reads_the_same_with_any_yaml_reader() -> None:
    recipe = load(MINIMAL.replace("small", "'1e-3'") + "finetune: [{name: yes}]")
    plain = yaml.safe_load(recipe.to_yaml())
    assert (plain["name"], plain["finetune"][0]["name"]) == ("1e-3", "yes")
    assert Recipe.model_validate(plain) == recipe


def test_the_quickstart_compares_mixtures_of_a_static_model_with_many_seeds() -> None:
    (static,) = load_recipe(find("quickstart")).finetune
    seeds = {each.name: len(each.seeds) for each in static.trainings()}
    assert seeds == {"uniform": 8, "top-70": 8, "top-70^0.5": 8, "gain": 3, "bottom-50": 3}


def test_its_second_act_tunes_the_model_that_learns_the_weights() -> None:
    recipe = load_recipe(find("quickstart-decoder"))
    (smollm2,) = recipe.finetune
    assert recipe.base_of(smollm2) == recipe.base and recipe.base.kind == "decoder"
    assert len(smollm2.seeds) == 3 and recipe.learns_alpha


def test_docs_list_every_key() -> None:
    text = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    assert text == keys_as_markdown(), "run `tdro recipe --keys > docs/recipe.md`"
    assert "`eta_times_steps`" in text


# ---- what is wrong, by file, line and key

BAD = {
    "typo": ("weights:\n  temprature: 1", 4, "weights.temprature: unknown key; did you mean 'temperature'?"),
    "typo at the top": ("wieghts: {}", 3, "wieghts: unknown key; did you mean 'weights'?"),
    "typo in a list": (
        "finetune:\n  - name: a\n  - name: b\n    seed: [1]",
        6,
        "finetune[1].seed: unknown key; did you mean 'seeds'?",
    ),
    "wrong section": ("eta: 1", 3, "eta: unknown key here; did you mean weights.eta?"),
    "nothing like it": (
        "evaluate: {xyzzy: 1}",
        3,
        "evaluate.xyzzy: unknown key; known here: permutations, bootstrap, bm25",
    ),
    "odd key": ('"a b\\n": 1', 3, r"'a b\n': unknown key; known here: "),
    "number key": ("3: 1", 3, "3: unknown key; keys are words"),
    "text for a number": ("seed: ten", 3, "seed: expected a whole number, found text 'ten'"),
    "quoted number": ("seed: '7'", 3, "seed: expected a whole number, found text '7'"),
    "fraction": ("reference: {steps: 1.5}", 3, "reference.steps: expected a whole number, found 1.5"),
    "true for a number": ("seed: true", 3, "seed: expected a whole number, found true"),
    "text for a float": (
        "reference: {temperature: warm}",
        3,
        "reference.temperature: expected a number, found text 'warm'",
    ),
    "number for true": ("data: {prompts: 1}", 3, "data.prompts: expected true or false, found 1"),
    "yes for true": ("data: {prompts: yes}", 3, "data.prompts: expected true or false, found text 'yes'"),
    "number for text": ("data: {mixture: 3}", 3, "data.mixture: expected text, found 3"),
    "number for a path": ("folder: 3", 3, "folder: expected a path, found 3"),
    "list for a section": ("weights: []", 3, "weights: expected a mapping of keys, found a list"),
    "nothing for a section": ("weights:", 3, "weights: expected a mapping of keys, found nothing"),
    "word for a list": (
        "finetune: [{name: a, seeds: 3}]",
        3,
        "finetune[0].seeds: expected a list, found 3",
    ),
    "mapping for a list": ("finetune: {name: a}", 3, "finetune: expected a list, found a mapping of keys"),
    "wrong item": (
        "finetune:\n- name: a\n  seeds:\n  - 1\n  - x",
        7,
        "finetune[0].seeds[1]: expected a whole number, found text 'x'",
    ),
    "word of a choice": (
        "weights: {measure: relativ}",
        3,
        "weights.measure: expected 'relative', 'excess', 'raw' or 'relative_per_row', found text 'relativ'; "
        "did you mean 'relative'?",
    ),
    "precision": (
        "precision: fp16",
        3,
        "precision: expected 'auto', 'bf16' or 'fp32', found text 'fp16'; did",
    ),
    "number of a choice": ("weights: {absent: 0}", 3, "weights.absent: expected 'last' or 'zero', found 0"),
    "infinite": ("weights: {offset: .inf}", 3, "weights.offset: expected a finite number, found inf"),
    "not a number": ("weights: {offset: .nan}", 3, "weights.offset: expected a finite number, found nan"),
    "temperature 0": ("weights: {temperature: 0}", 3, "weights.temperature: must be above 0, found 0"),
    "temperature < 0": (
        "reference: {temperature: -1}",
        3,
        "reference.temperature: must be above 0, found -1",
    ),
    "eta 0": ("weights: {eta: 0}", 3, "weights.eta: must be above 0, found 0"),
    "batch 1": ("reference: {batch: 1}", 3, "reference.batch: must be at least 2, found 1"),
    "steps 0": ("reference: {steps: 0}", 3, "reference.steps: must be at least 1, found 0"),
    "share": ("weights: {held_out_share: 1}", 3, "weights.held_out_share: must be below 1, found 1"),
    "floor": ("reference: {floor: 1.1}", 3, "reference.floor: must be at most 1, found 1.1"),
    "one token": ("data: {query_tokens: 1}", 3, "data.query_tokens: must be above 1, found 1"),
    "no stage-1 negatives": ("weights: {negatives: 0}", 3, "weights.negatives: must be at least 1, found 0"),
    "too many negatives": (
        "negatives: {per_row: 4}\nweights:\n  negatives: 5",
        5,
        "weights.negatives: a row has 4 hard negatives after mining, not 5; raise negatives.per_row or lower this",
    ),
    "negative seed": ("seed: -1", 3, "seed: must be at least 0, found -1"),
    "both etas": (
        "weights:\n  eta: 0.1\n  eta_times_steps: 20",
        4,
        "weights.eta: give eta or eta_times_steps, not both",
    ),
    "long warm-up": (
        "reference:\n  steps: 10\n  warmup_steps: 10",
        5,
        "reference.warmup_steps: a warm-up of 10 steps does not end within the 10 steps of training",
    ),
    "half a step": (
        "reference: {warmup_steps: 2.5}",
        3,
        "reference.warmup_steps: expected a share below 1 or a whole number of steps, found 2.5",
    ),
    "average 0": (
        "weights: {average_steps: 0}",
        3,
        "weights.average_steps: expected 'auto' or a whole number of at least 1, found 0",
    ),
    "average word": (
        "weights: {average_steps: some}",
        3,
        "weights.average_steps: expected 'auto' or a whole number of at least 1, found 'some'",
    ),
    "average list": ("weights: {average_steps: [1]}", 3, "weights.average_steps: expected 'auto' or a whole"),
    "top-0": (
        "finetune: [{name: a, mixtures: [top-0]}]",
        3,
        "finetune[0].mixtures[0]: 'top-0' is impossible: P of top-P and bottom-P is a percentage above 0 and at "
        "most 100",
    ),
    "top-101": (
        "finetune: [{name: a, mixtures: [top-101]}]",
        3,
        "finetune[0].mixtures[0]: 'top-101' is impos",
    ),
    "top-70 %": (
        "finetune: [{name: a, mixtures: [top-70%]}]",
        3,
        "finetune[0].mixtures[0]: unknown mixture 'top-70%'; did you mean 'top-70'?",
    ),
    "top70": (
        "finetune: [{name: a, mixtures: [top70]}]",
        3,
        "finetune[0].mixtures[0]: unknown mixture 'top70'; did you mean 'top-70'?",
    ),
    "top70^.5": (
        "finetune: [{name: a, mixtures: [top70^.5]}]",
        3,
        "finetune[0].mixtures[0]: unknown mixture 'top70^.5'; did you mean 'top-70^0.5'?",
    ),
    "uniform^0.5": (
        "finetune: [{name: a, mixtures: [uniform^0.5]}]",
        3,
        "finetune[0].mixtures[0]: 'uniform^0.5' is impossible: uniform samples all tasks equally, so it has no "
        "exponent; did you mean 'uniform'?",
    ),
    "alpha word": (
        "weights: {alpha: median}",
        3,
        "weights.alpha: expected 'last', 'mean' or 'ema', found text 'median'; did you mean 'mean'?",
    ),
    "alpha of loaded weights": (
        "weights: {load: paper, alpha: mean}",
        3,
        "weights.alpha: loaded weights are one set, without a mean over steps; remove alpha or load",
    ),
    "mixture typo": (
        "finetune:\n- name: a\n  mixtures:\n  - uniform\n  - proportinal",
        7,
        "finetune[0].mixtures[1]: unknown mixture 'proportinal'; did you mean 'proportional'?",
    ),
    "mixture word": (
        "finetune: [{name: a, mixtures: [xyz]}]",
        3,
        "finetune[0].mixtures[0]: unknown mixture 'xyz'; known: uniform, proportional, reweight, loss-reweight, gain, "
        "top-P, bottom-P",
    ),
    "no negatives of its own": (
        "data: {hard_negatives_only: [bio_term2def]}\nreference: {negatives: 0}",
        4,
        "reference.negatives: data.hard_negatives_only names tasks that need at least 1 here",
    ),
    "mixture twice": (
        "finetune: [{name: a, mixtures: [uniform, top-70, uniform]}]",
        3,
        "finetune[0].mixtures[2]: 'uniform' is listed twice",
    ),
    "seed twice": ("finetune: [{name: a, seeds: [1, 1]}]", 3, "finetune[0].seeds[1]: 1 is listed twice"),
    "group twice": (
        "finetune:\n- name: a\n- name: a",
        5,
        "finetune[1].name: another group is named 'a' too",
    ),
    "no groups": ("finetune: []", 3, "finetune: must not be empty"),
    "no mixtures": ("finetune: [{name: a, mixtures: []}]", 3, "finetune[0].mixtures: must not be empty"),
    "no tasks": ("data: {tasks: []}", 3, "data.tasks: must not be empty"),
    "unnamed group": ("finetune:\n- steps: 3", 4, "finetune[0].name: missing; this key is required"),
    "misspelt required key": (
        "finetune:\n- nmae: a",
        4,
        "finetune[0].nmae: unknown key; did you mean 'name'?",
    ),
    "group with a slash": (
        "finetune: [{name: a/b}]",
        3,
        "finetune[0].name: 'a/b' cannot name a folder; use letters, digits, '_', '-' and '.' only, no '.' first",
    ),
    "group ..": ("finetune: [{name: ..}]", 3, "finetune[0].name: '..' cannot name a folder"),
    "current folder": ("folder: .", 3, "folder: cannot be the current folder; give a folder of its own"),
    "no mixture": ("data: {mixture: nowhere}", 3, "data.mixture: no such folder: 'nowhere'"),
    "near sample": (
        "data: {mixture: smaple}",
        3,
        "data.mixture: no such folder: 'smaple'; did you mean 'sample'?",
    ),
    "no mixture.json": ("data: {mixture: .}", 3, "data.mixture: '.' holds no mixture.json"),
    "NUL in a path": ('data: {mixture: "a\\0b"}', 3, r"data.mixture: no such folder: 'a\x00b'"),
    "no weights file": ("weights: {load: w.json}", 3, "weights.load: no such file: 'w.json'"),
    "near paper": (
        "weights: {load: papers}",
        3,
        "weights.load: no such file: 'papers'; did you mean 'paper'?",
    ),
    "device": ("device: gpu", 3, "device: unknown device 'gpu'; "),
    "device number": ("device: cuda:x", 3, "device: unknown device 'cuda:x'; did you mean 'cuda'?"),
    "no model folder": (
        "finetune: [{name: a, base: {kind: encoder, source: ./m}}]",
        3,
        "finetune[0].base.source: no",
    ),
    "near model": (
        "finetune: [{name: a, base: {kind: decoder, source: smolm2}}]",
        3,
        "finetune[0].base.source: unknown model 'smolm2'; did you mean 'smollm2'?",
    ),
    "no layers": (
        "finetune: [{name: a, base: {kind: decoder, source: smollm2, layers: 0}}]",
        3,
        "finetune[0].base.layers: must be at least 1, found 0",
    ),
    "encoder cut": (
        "finetune: [{name: a, base: {kind: encoder, source: minilm, layers: 2}}]",
        3,
        "finetune[0].base.layers: only a decoder can be cut to its first layers; this one is 'encoder'",
    ),
    "dimension of a decoder": (
        "finetune: [{name: a, base: {kind: decoder, source: smollm2, dimension: 2}}]",
        3,
        "finetune[0].base.dimension: only a static model has a free dimension; remove it or the kind 'decoder'",
    ),
    "static lora": (
        "finetune: [{name: a, base: {kind: static, source: smollm2, lora: {}}}]",
        3,
        "finetune[0].base.lora: a static model has no layers for adapters; remove lora",
    ),
    "static checkpointing": (
        "finetune: [{name: a, base: {kind: static, source: x, gradient_checkpointing: true}}]",
        3,
        "finetune[0].base.gradient_checkpointing: a static model has no activations to recompute; remove it",
    ),
    "wrong kind": (
        "finetune: [{name: a, base: {kind: decoder, source: minilm}}]",
        3,
        "finetune[0].base.kind: 'minilm' is of kind 'encoder', not 'decoder'",
    ),
    "given twice": ("seed: 1\nprecision: auto\nseed: 2", 5, "seed: given twice (first on line 3)"),
    "given twice inside": (
        "finetune:\n- name: a\n  steps: 1\n  steps: 2",
        6,
        "finetune[0].steps: given twice (first on line 5)",
    ),
    "tab": ("weights:\n\tsteps: 3", 4, "a tab; indent with spaces (YAML allows no tabs before a key)"),
    "broken YAML": ("weights: {steps: 3", 4, "expected ',' or '}', but got '<stream end>'"),
    "stray colon": ("weights: a: b", 3, "mapping values are not allowed here"),
    "list as a key": ("? [1]\n: 2", 3, "a list or mapping cannot be a key"),
    "unknown alias": ("weights: *w", 3, "found undefined alias 'w'"),
    "python object": ("weights: !!python/object:os.system {}", 3, "could not determine a constructor"),
}


@pytest.mark.parametrize(("text", "line", "message"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_said_with_its_line_and_key(text, line, message) -> None:
    found = complaint(MINIMAL + text + "\n")
    assert found.startswith(f"r.yaml, line {line}: {message}")
    assert "\n" not in found
    if message.endswith("?") or "known here: p" in message:
        assert found.endswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "r.yaml: is empty; expected lines of the form 'key: value'"),
        ("# nothing\n", "r.yaml: is empty; expected lines of the form 'key: value'"),
        ("\n- a\n", "r.yaml, line 2: is no recipe; expected lines of the form 'key: value'"),
        ("hello", "r.yaml, line 1: is no recipe; expected lines of the form 'key: value'"),
        ("base: {kind: static, source: smollm2}", "r.yaml, line 1: name: missing; this key is required"),
        (
            "name: a/b\nbase: {kind: static, source: smollm2}",
            "r.yaml, line 1: name: 'a/b' cannot name a folder",
        ),
        ("name: x\nbase: {kind: static}", "r.yaml, line 2: base.source: missing; this key is required"),
        ("name: 3\nbase: {kind: static, source: smollm2}", "r.yaml, line 1: name: expected text, found 3"),
        (b"name: \xff\n", "r.yaml: cannot be read as UTF-8 text"),
        (b"name: \x07\n", "r.yaml: not YAML (unacceptable character"),
        ("name: a\n---\nname: b\n", "r.yaml, line 2: but found another document"),
        ("a: !!int b", "r.yaml: holds a value that YAML cannot read; remove explicit tags"),
        ("a: " + "[" * 900, "r.yaml: is nested too deeply to be a recipe"),
    ],
)
def test_files_that_are_no_recipe(text, message) -> None:
    assert complaint(text).startswith(message)


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert load(b"\xef\xbb\xbf" + MINIMAL.encode()).name == "small"


def test_missing_files_and_folders() -> None:
    with pytest.raises(UserError, match=r"^none\.yaml: no such file$"):
        load_recipe("none.yaml")
    with pytest.raises(UserError, match="is a folder; give the recipe's file"):
        load_recipe(".")


def test_names_are_looked_up_in_a_mixture_on_disk() -> None:
    make_mixture()
    assert complaint(MINIMAL + "data:\n  mixture: mix\n  tasks:\n  - code\n  - faqs\n") == (
        "r.yaml, line 7: data.tasks[1]: the mixture has no task 'faqs'; did you mean 'faq'?"
    )
    assert complaint(MINIMAL + "data: {mixture: mix, tests: [x]}").endswith("the mixture has no test set 'x'")
    Path("mix/mixture.json").write_text("{")
    assert complaint(MINIMAL + "data: {mixture: mix}").startswith("mix/mixture.json, line 1: not JSON")


def test_a_batch_smaller_than_the_ranks(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert complaint(MINIMAL + "weights: {batch: 4}") == (
        "r.yaml, line 3: weights.batch: a batch of 4 is smaller than the 8 ranks of this run"
    )
    assert load(MINIMAL + "weights: {batch: 8}").weights.batch == 8


def test_three_errors_in_the_order_of_the_file_and_a_count() -> None:
    text = "weights: {measure: x}\nseed: -1\ndata: {promts: true}\nfoo: 1\ndevice: tpu\n"
    lines = complaint(MINIMAL + text).splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == [
        "r.yaml, line 3",
        "r.yaml, line 4",
        "r.yaml, line 5",
    ]
    assert lines[3:] == ["and 2 more"]


def test_long_values_are_cut() -> None:
    assert len(complaint(MINIMAL + f"seed: {'x' * 10000}")) < 150
    assert len(complaint(MINIMAL + f"{'x' * 10000}: 1")) < 400
    assert len(complaint(MINIMAL + f"seed: {'9' * 5000}")) < 150


def test_a_recipe_is_refused_before_torch_is_imported() -> None:
    Path("r.yaml").write_text(MINIMAL + "sed: 1")
    code = """import sys; from tdro.errors import UserError; from tdro.recipe.schema import load_recipe
try: load_recipe("r.yaml")
except UserError: print(sorted({"torch", "transformers", "datasets", "numpy"} & set(sys.modules)))"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "[]\n"


# ---- whatever is in the file, the answer is a recipe or a short message

QUICKSTART = find("quickstart").read_text(encoding="utf-8")
SNIPPETS = [
    "\t",
    ":",
    "- ",
    "[",
    "{",
    "}",
    "&a ",
    "*a",
    "<<: ",
    "!!int ",
    "'",
    '"',
    "0",
    "-1",
    "1e999",
    "\n",
    "~",
    "#",
    "%",
]


def _short_or_fine(text: str) -> None:
    try:
        load_recipe_text(text)
    except UserError as error:
        message = str(error)
        assert len(message.splitlines()) <= 4
        assert re.match(r"r\.yaml[:,]", message), message


def load_recipe_text(text: str) -> Recipe:
    Path("r.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    return load_recipe("r.yaml")


QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(
    st.lists(
        st.tuples(st.integers(0, len(QUICKSTART)), st.sampled_from(SNIPPETS) | st.text(max_size=3)),
        max_size=3,
    )
)
def test_mangled_text_gives_no_traceback(edits) -> None:
    text = QUICKSTART
    for place, snippet in edits:
        text = text[:place] + snippet + text[place + len(snippet) :]
    _short_or_fine(text)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["top-70", "static"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


@QUICK
@given(st.data())
def test_any_value_at_any_key_gives_no_traceback(data) -> None:
    recipe = yaml.safe_load(QUICKSTART)
    node, keys = recipe, list(recipe)
    while True:
        key = data.draw(st.sampled_from(keys))
        inner = node[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        node, keys = inner, list(inner) if isinstance(inner, dict) else list(range(len(inner)))
    node[key] = data.draw(VALUES)
    _short_or_fine(yaml.safe_dump(recipe, allow_unicode=True))
