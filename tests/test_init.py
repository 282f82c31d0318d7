"""``tdro init``: a recipe for three messy files that runs as it is; and what it asks for when it cannot know."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import tiny
from tdro.cli import main
from tdro.data.same_text import normalise
from tdro.files import read_json, read_jsonl
from tdro.init.columns import columns_of
from tdro.init.look import task_names
from tdro.init.rules import settings_for
from tdro.init.text import scalar
from tdro.planning.device import Device
from tdro.recipe import load_recipe


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    tiny.tokenizer(eos=False).save(str(folder / "tokenizer.json"))
    return tmp_path


def messy(folder: Path) -> list[str]:
    """A CSV of a FAQ, JSONL with broken lines, and triples in gzip; names that collide."""
    rows = {name: tiny.task(name, rows=16, negatives=2).rows.to_list() for name in ("one", "two", "three")}
    lines = ["Question,Answer Text,url"]
    lines += [f'"{row["query"]}","{row["positives"][0]}",http://x/{row["id"]}' for row in rows["one"]]
    (folder / "my faq.csv").write_text("\n".join([*lines, "w1,,", '"w1 w2",']) + "\n")
    released = [json.dumps({"query": row["query"], "positives": row["positives"]}) for row in rows["two"]]
    (folder / "log.jsonl").write_text("\n".join([*released, "{broken", '{"query": null, "positives": ["w1"]}']) + "\n")
    (folder / "more").mkdir()
    triples = [
        {"anchor": row["query"], "positive": row["positives"][0], "negative": row["negatives"][0]}
        for row in rows["three"]
    ]
    (folder / "more" / "log.jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps(row) + "\n" for row in triples).encode())
    )
    return ["my faq.csv", "log.jsonl", "more/log.jsonl.gz"]


def test_three_messy_files_become_a_recipe_that_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = messy(here)
    assert main(["init", *files, "--base", "tokenizer"]) == 0
    printed = capsys.readouterr().out
    assert "my-faq: 16 rows, 2 dropped" in printed and "see that it is right" in printed
    assert "models will be trained and not compared" in printed
    recipe, text = load_recipe("recipe.yaml"), Path("recipe.yaml").read_text(encoding="utf-8")
    assert recipe.data.sources is not None
    assert list(recipe.data.sources) == ["my-faq", "log", "log-2"]
    assert recipe.data.sources["my-faq"].columns == {"query": "Question", "positives": "Answer Text"}
    assert recipe.data.sources["log"].columns is None
    assert (recipe.base.kind, recipe.negatives.mine) == ("static", "bm25")
    assert "32 rows have none" in text and "# test_sets: {" in text and "TODO" not in text
    assert "not read: 'url'" in " ".join(text.replace("#", " ").split()) and text.count('instruction: ""') == 3
    assert recipe.reference.batch == 16 and recipe.reference.steps == 12  # 4 x 16 rows x 3 tasks / 16
    assert main(["run", "recipe.yaml"]) == 0
    run = Path("runs/recipe")
    weights = read_json(run / "weights" / "weights.json")["weights"]
    assert set(weights) == {"my-faq", "log", "log-2"}
    assert (run / "models" / "main" / "reweight-seed3" / "modules.json").exists()
    page = (run / "report.html").read_text(encoding="utf-8")
    assert [task["name"] for task in read_json(run / "data.json")["tasks"]] == ["my-faq", "log", "log-2"]
    assert '<section id="data">' in page and "a script is not a language" in page


def test_queries_are_held_out_with_all_their_rows_and_compared(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"query": f"w{number % 10} w1{number % 10}", "positive": f"w{number} w2 w3", "negative": "w9"}
        for number in range(30)
    ]
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["init", "a.jsonl", "--base", "tokenizer", "--hold-out", "5", "--out", "sub/mine.yaml"]
    assert main(command) == 0
    assert "6 rows held out for the test set, 24 left" in capsys.readouterr().out  # 2 of 10 queries, 3 rows each
    held = Path("sub/mine-held-out")
    queries = {normalise(row["text"]) for row in read_jsonl(held / "tests" / "a" / "queries.jsonl")}
    assert len(queries) == 2
    assert queries.isdisjoint(normalise(row["query"]) for row in read_jsonl(held / "train" / "a.jsonl"))
    assert len(read_jsonl(held / "tests" / "a" / "corpus.jsonl")) == 31  # every passage of the task
    recipe = load_recipe("sub/mine.yaml")
    assert recipe.data.test_sets is not None and recipe.data.test_sets["a"].task == "a"
    assert recipe.negatives.mine == "none"
    assert main(command) == 2 and main([*command, "--force"]) == 0
    assert main(["init", "a.jsonl", "--base", "tokenizer", "--tests", str(held / "tests" / "a")]) == 0
    assert load_recipe("recipe.yaml").data.test_sets is not None


def test_nothing_is_overwritten_unasked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("recipe.yaml").write_text("mine")
    assert main(["init", *messy(here), "--base", "tokenizer"]) == 2
    assert "recipe.yaml: is there already" in capsys.readouterr().err
    assert Path("recipe.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"Frage": "kurz", "Antwort": "viel länger"}, r"--columns a.jsonl query=Frage positives=Antwort"),
        ({"question": "q", "prompt": "p", "answer": "a"}, "may be 'question' or 'prompt'|query"),
        ({"title": "t", "text": "x", "body": "y"}, "may be 'text' or 'body'"),
        ({"sentence1": "a", "sentence2": "b", "label": 1}, "for some values of 'label'"),
        ({"text": "alone"}, "a row needs a query and a passage"),
    ],
)
def test_columns_that_do_not_tell_are_asked_for(
    here: Path, capsys: pytest.CaptureFixture[str], row: dict[str, Any], message: str
) -> None:
    Path("a.jsonl").write_text(json.dumps(row) + "\n")
    if "question" in row:  # question is a known name and counts
        assert columns_of("a.jsonl", {}).read[:2] == (("question",), ("answer",))
        return
    assert main(["init", "a.jsonl", "--base", "tokenizer"]) == 2
    error = capsys.readouterr().err
    assert "a.jsonl" in error and message in error
    assert not Path("recipe.yaml").exists()


def test_columns_are_taken_as_they_are_given(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.jsonl").write_text("".join(json.dumps({"Frage": f"w{n}", "Antwort": f"w{n} w7"}) + "\n" for n in range(4)))
    command = ["init", "a.jsonl", "--base", "tokenizer", "--columns", "a.jsonl"]
    assert main([*command, "query=Frage", "positives=Antwort"]) == 0
    sources = load_recipe("recipe.yaml").data.sources
    assert sources is not None and sources["a"].columns == {"query": "Frage", "positives": "Antwort"}
    for wrong, message in (
        ("query=Frag", "no column 'Frag'"),
        ("frage=Frage", "'frage' is no column"),
        ("x", "query=NAME"),
    ):
        assert main([*command, wrong, "--out", "other.yaml"]) == 2
        assert message in capsys.readouterr().err


def test_names_are_unique_and_fit_a_folder() -> None:
    assert task_names(["a/faq.csv", "b/faq.jsonl.gz", "../x y!.tsv", "owner/set", "..."]) == [
        "faq", "faq-2", "x-y", "set", "task",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["true", "1e3", "a: b", "null", "ünï", "#x", 'q"', "x\ny", "a.csv", "-", "", "~/x"])
def test_texts_are_read_back_from_the_recipe(text: str, tmp_path: Path) -> None:
    from tdro.recipe_errors import read_yaml

    path = tmp_path / "r.yaml"
    path.write_text(f"key: {scalar(text)}\nlist: {{a: {scalar(text)}}}\n", encoding="utf-8")
    assert read_yaml(path)[0] == {"key": text, "list": {"a": text}}


def test_settings_follow_the_device_and_the_smallest_task() -> None:
    from tdro.data.describe import Counts, Lengths, TaskCard

    def card(rows: int) -> TaskCard:
        lengths, counts = Lengths(9, 700), Counts(1, 1.0, 1)
        return TaskCard("t", rows, "", "", "", {}, {}, lengths, lengths, counts, counts, 0, 0, 0, [])

    cpu, gpu = Device("cpu", False, 16 << 30), Device("cuda", True, 24 << 30)
    tasks = [card(1000), card(100_000)]
    small = settings_for(tasks, [1000, 100_000], "encoder", cpu, 20_000_000)
    assert (small.batch, small.steps, small.repeats, small.lora) == (32, 250, 4.0, False)
    large = settings_for(tasks, [1000, 100_000], "decoder", gpu, 7_000_000_000)
    assert (large.batch, large.lora, large.gradient_caching, large.query_tokens) == (256, True, True, 512)
    tiny_task = settings_for([card(3)], [3], "static", cpu, None)
    assert (tiny_task.batch, tiny_task.steps, tiny_task.negatives) == (2, 10, 1)
