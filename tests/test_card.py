"""The result of a fine-tuning: a folder that loads without tdro, adapters alone or merged, and its model card."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from safetensors import safe_open
from sentence_transformers import SentenceTransformer

import fake_run_folder
import tiny
import tiny_mixture
from tdro import cli
from tdro.errors import UserError
from tdro.evaluation.leaks.trained_on import TrainedDataSet, trained_on
from tdro.files import read_json, write_json
from tdro.models.base import build_base
from tdro.models.fingerprint import model_fingerprint
from tdro.models.saving import public_base
from tdro.recipe.schema import Recipe
from tdro.recipe.training_sections import Base
from tdro.report.model_card import cell, hide_paths, write_card
from tdro.run import pipeline, stages
from tdro.weights import TaskWeights

QUERIES = ["w1 w2", "w3", "w4 w5 w6"]


def lora_recipe(folder: Path, **first) -> Recipe:
    """Two groups of one LoRA training each, which differ in ``merge`` only, on tasks with instructions."""
    if not (folder / "mixture").exists():
        tiny_mixture.mixture(folder / "mixture", negatives=2)
        content = read_json(folder / "mixture" / "mixture.json")
        for entry in [*content["tasks"], *content["tests"]]:
            entry["instruction"] = f"w7 {entry['name']}"
        content["tasks"][3]["symmetric"] = content["tests"][3]["symmetric"] = True
        content["tasks"][0] |= {"licence": "CC0 | mine\n<b>", "source": f"{folder}/private/rows.jsonl of w1"}
        write_json(folder / "mixture" / "mixture.json", content)
        tiny.decoder(folder / "llama")
        TaskWeights.uniform([f"task{number}" for number in range(4)]).save(folder / "given.json")
    training = {"steps": 3, "batch": 8, "temperature": 0.05, "learning_rate": 0.01, "mixtures": ["uniform"]}
    base = {"kind": "decoder", "source": str(folder / "llama"), "lora": {"r": 4}}
    alone = {**training, "name": "alone", "base": base, **first}
    merged = {**training, "name": "merged", "base": base, "merge": True, "untrained": False}
    return tiny_mixture.recipe(
        folder,
        data__prompts=True,
        negatives__mine="none",
        weights__load=str(folder / "given.json"),
        finetune=[alone, merged],
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("result")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDRO_CACHE", str(folder / "cache"))
        pipeline.run_recipe(lora_recipe(folder))
    return folder


def model_of(finished: Path, group: str) -> Path:
    return finished / "run" / "models" / group / "uniform-seed1"


def card_of(finished: Path, group: str) -> str:
    return (model_of(finished, group) / "README.md").read_text()


# ---- the folder


def test_it_loads_without_tdro(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from another working folder, and with the prompts of tasks and test sets."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "tdro"]:
        monkeypatch.setitem(sys.modules, name, None)  # whoever imports it now fails
    monkeypatch.chdir(tmp_path)
    for group in ("alone", "merged"):
        model = SentenceTransformer(str(model_of(finished, group)), device="cpu")
        written_out = model.encode([f"Instruct: w7 unseen\nQuery: {query}" for query in QUERIES])
        np.testing.assert_array_equal(model.encode(QUERIES, prompt_name="unseen"), written_out)


@pytest.mark.slow
def test_it_loads_in_a_process_without_tdro(finished: Path, tmp_path: Path) -> None:
    script = """
import sys, json
sys.modules["tdro"] = None
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
print(json.dumps(model.encode(sys.argv[2:], prompt_name="unseen").tolist()))
"""
    for group in ("alone", "merged"):
        command = [sys.executable, "-c", script, str(model_of(finished, group)), *QUERIES]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        here = SentenceTransformer(str(model_of(finished, group)), device="cpu").encode(QUERIES, prompt_name="unseen")
        np.testing.assert_allclose(json.loads(done.stdout.splitlines()[-1]), here, atol=1e-6)


def test_results_that_an_earlier_recipe_left_are_not_in_the_card(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    results = tmp_path / "run" / "evaluation" / "merged"
    shutil.copytree(results / "uniform-seed1", results / "untrained")  # the group has `untrained: false`
    write_card(tmp_path / "run", "merged", "uniform-seed1")
    assert "nDCG@10, untrained" not in card_of(tmp_path, "merged")
    assert "nDCG@10, untrained" in card_of(tmp_path, "alone")


def test_merged_adapters_give_the_same_embeddings_and_leave_no_trace(finished: Path) -> None:
    alone, merged = (SentenceTransformer(str(model_of(finished, group)), device="cpu") for group in ("alone", "merged"))
    untrained = SentenceTransformer(str(finished / "llama"), device="cpu")
    np.testing.assert_allclose(alone.encode(QUERIES), merged.encode(QUERIES), atol=1e-5)
    assert np.abs(alone.encode(QUERIES) - untrained.encode(QUERIES)).max() > 1e-3  # the adapters do something
    folder = model_of(finished, "merged")
    assert not list(folder.glob("adapter*")) and (folder / "training.json").exists()
    with safe_open(folder / "model.safetensors", "np") as tensors:
        assert not [key for key in tensors.keys() if "lora" in key or "base_layer" in key]  # noqa: SIM118
    assert alone.prompts == merged.prompts and alone.prompts["task1"] == "Instruct: w7 task1\nQuery: "


def test_adapters_alone_name_the_base_that_the_user_named(finished: Path) -> None:
    folder = model_of(finished, "alone")
    assert not (folder / "model.safetensors").exists()
    config = read_json(folder / "adapter_config.json")
    assert Path(config["base_model_name_or_path"]) == (finished / "llama").resolve()
    assert str(finished / "cache") not in "".join(path.read_text() for path in folder.rglob("*.json"))


def test_adapters_are_merged_later_without_training_but_not_taken_out_again(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(finished / "cache"))
    monkeypatch.setattr(stages, "finetune", lambda *arguments: pytest.fail("trained again"))
    shutil.copytree(finished / "run", tmp_path / "run")
    recipe = lora_recipe(finished).model_copy(update={"folder": tmp_path / "run"})
    pipeline.run_recipe(recipe.merged(), ["finetune"])
    alone, merged = (tmp_path / "run" / "models" / group / "uniform-seed1" for group in ("alone", "merged"))
    for file in ("model.safetensors", "config_sentence_transformers.json"):
        assert (alone / file).read_bytes() == (merged / file).read_bytes()
    assert {path.name for path in alone.iterdir()} == {path.name for path in merged.iterdir()}
    assert (alone / "training.json").read_bytes() == (model_of(finished, "alone") / "training.json").read_bytes()
    pipeline.run_recipe(recipe, ["finetune"])  # merged is as good, and a run is not refused for it
    assert (alone / "model.safetensors").exists()


@pytest.mark.parametrize("command", ["run", "finetune"])
def test_the_flag_merges_in_every_group(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(pipeline, "run_recipe", lambda recipe, *rest: given.append(recipe))
    (tmp_path / "recipe.yaml").write_text(lora_recipe(tmp_path).to_yaml())
    assert cli.main([command, str(tmp_path / "recipe.yaml"), "--merge"]) == 0
    assert cli.main([command, str(tmp_path / "recipe.yaml")]) == 0
    assert [[group.merge for group in recipe.finetune] for recipe in given] == [[True, True], [False, True]]


def test_a_base_that_tdro_made_has_no_name_for_others(tmp_path: Path) -> None:
    tiny.decoder(tmp_path / "llama")
    settings = {
        "whole": Base(kind="decoder", source=str(tmp_path / "llama")),
        "cut": Base(kind="decoder", source=str(tmp_path / "llama"), layers=1),
    }
    built = {name: build_base(base, tmp_path / name) for name, base in settings.items()}
    assert public_base(settings["whole"], built["whole"]) == str((tmp_path / "llama").resolve())
    assert public_base(settings["cut"], built["cut"]) is None
    for kind, source in [("decoder", "smollm2"), ("encoder", "minilm"), ("static", str(tmp_path / "llama"))]:
        assert public_base(Base(kind=kind, source=source), built["whole"]) is None
    config = read_json(built["whole"] / "config.json")
    write_json(built["whole"] / "config.json", {**config, "vocab_size": config["vocab_size"] + 1})  # a new pad token
    assert public_base(settings["whole"], built["whole"]) is None


# ---- the card


def test_the_card_says_what_the_model_is(finished: Path) -> None:
    text = card_of(finished, "alone")
    for said in (
        "fine-tuned on 3 of 4\ntasks", "llama", "LoRA adapters of rank 4, saved alone", "pip install peft",
        'prompt_name="task0"', "`Instruct: w7 task3\\nQuery: `", "Both sides of `task3` are of one kind",
        "nDCG@10, this model | nDCG@10, untrained", "| **mean** |", "| `task0` | 12 | 33.3 % | 0.67 |",
        "CC0 \\| mine \\<b\\>", "Loaded from `given.json`", "3 steps of 8 rows", "- sentence-transformers ",
    ):  # fmt: skip
        assert said in text, said
    recipe = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert recipe["finetune"][1]["merge"] is True and recipe["data"]["mixture"] == "mixture"
    assert "merged into the weights" in card_of(finished, "merged")


def test_the_card_holds_no_path_of_this_machine(finished: Path) -> None:
    for group in ("alone", "merged"):
        text = card_of(finished, group)
        assert str(finished) not in text and str(Path.home()) not in text and "rows.jsonl of w1" in text


def test_the_hub_reads_the_results_from_the_card(finished: Path) -> None:
    data = ModelCard(card_of(finished, "alone")).data
    assert (data.library_name, data.pipeline_tag) == ("sentence-transformers", "sentence-similarity")
    assert {"sentence-transformers", "tdro", "lora"} <= set(data.tags)
    means = {
        path.stem: read_json(path)["mean"]
        for path in (finished / "run" / "evaluation" / "alone" / "uniform-seed1").glob("*.json")
    }
    assert len(data.eval_results) == 2 * len(means)
    for result in data.eval_results:
        key = {"ndcg_at_10": "ndcg@10", "recall_at_100": "recall@100"}[result.metric_type]
        assert result.metric_value == pytest.approx(means[result.dataset_name][key], abs=1e-5)


def test_the_card_is_the_same_each_time_and_no_part_of_the_model(finished: Path) -> None:
    folder, before = model_of(finished, "alone"), card_of(finished, "alone")
    fingerprint = model_fingerprint(folder)
    assert write_card(finished / "run", "alone", "uniform-seed1").read_text() == before
    (folder / "README.md").unlink()
    assert model_fingerprint(folder) == fingerprint
    write_card(finished / "run", "alone", "uniform-seed1")


def fake(folder: Path, group: str = "static", model: str = "top-70-seed1") -> Path:
    fake_run_folder.fake_run(folder, seeds=(1,))
    write_json(folder / "models" / group / model / "config_sentence_transformers.json", {"prompts": {}})
    return folder


def test_a_card_is_written_before_the_evaluation_and_filled_after_it(tmp_path: Path) -> None:
    run = fake(tmp_path)
    assert "Not evaluated yet" in write_card(run, "static", "top-70-seed1").read_text()
    tests = [test["name"] for test in read_json(run / "comparison" / "static.json")["tests"]]
    for at, model in enumerate(("top-70-seed1", "uniform-seed1", "untrained")):
        for test in tests:
            mean = {"ndcg@10": 0.5 - at / 10, "recall@100": 0.9 - at / 10}
            write_json(run / "evaluation" / "static" / model / f"{test}.json", {"mean": mean})
    text = write_card(run, "static", "top-70-seed1").read_text()
    assert "nDCG@10, this model | nDCG@10, uniform | nDCG@10, untrained" in text
    assert "| **50.0** | **40.0** | **30.0** | **90.0** | **80.0** | **70.0** |" in text
    assert (
        "Over 1 seed, tested query by query: On these queries, with one training each, top-70 " in text
        and "fine-tuned on 11 of 16" in text
    )
    assert "Not evaluated yet" in write_card(run, "static", "top-70-seed1", evaluated=False).read_text()


def test_the_card_names_the_training_data_and_no_way_to_it(tmp_path: Path) -> None:
    """What the hub knows as `datasets`; the rest for whoever looks for leaks where the run folder is not."""
    run = fake(tmp_path / "run", model="uniform-seed1")
    hub, local = fake_run_folder.NAMES[:2]
    sources = {hub: {"source": "owner/name", "subset": "en"}, local: {"source": "/home/me/rows.jsonl", "limit": 9}}
    (run / "recipe.yaml").write_text(yaml.dump({"data": {"mixture": None, "sources": sources}}))
    card = write_card(run, "static", "uniform-seed1")
    assert ModelCard(card.read_text()).data.datasets == ["owner/name"] and "/home" not in card.read_text()
    shutil.copytree(card.parent, tmp_path / "copy")
    rows = fake_run_folder.ROWS
    assert trained_on(str(tmp_path / "copy")).data == (
        TrainedDataSet(hub, "owner/name", settings={"subset": "en"}, rows=rows[hub]),
        TrainedDataSet(local, "rows.jsonl", local=True, settings={"limit": 9}, rows=rows[local]),
    )


def test_a_card_of_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tdro finetune"):
        write_card(fake(tmp_path), "static", "top-70-seed9")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/me/data/rows.jsonl", "rows.jsonl"), ("see ~/data/a.csv, b", "see a.csv, b"), (r"C:\me\a.csv", "a.csv"),
        ("https://host/a/b", "https://host/a/b"), ("awscli, examples/**/*.rst", "awscli, examples/**/*.rst"),
        ("owner/name and/or x / y", "owner/name and/or x / y"), ("file ('/a/b/c')", "file ('c')"),
    ],
)  # fmt: skip
def test_absolute_paths_are_cut_to_their_last_part(text: str, shown: str) -> None:
    assert hide_paths(text) == shown


def test_other_peoples_text_is_no_markup() -> None:
    assert cell("a|b\n<i>*c*_d_`e`[f]") == r"a\|b \<i\>\*c\*\_d\_\`e\`\[f\]"
