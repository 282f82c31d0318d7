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
from tdro.data.task import Task
from tdro.errors import UserError
from tdro.files import read_json, read_jsonl
from tdro.init.columns import columns_of
from tdro.init.files_as_tasks import task_names
from tdro.init.hold_out import hold_out
from tdro.init.mixture_rules import mixtures_for
from tdro.init.recipe_text import scalar
from tdro.init.settings_rules import settings_for
from tdro.planning.device import Device
from tdro.recipe.schema import load_recipe
from tdro.weights import TaskWeights


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
    assert list(recipe.data.sources) == ["my-faq", "log", "more-log"]
    assert recipe.data.sources["my-faq"].columns == {"query": "Question", "positives": "Answer Text"}
    assert recipe.data.sources["log"].columns is None
    assert (recipe.base.kind, recipe.negatives.mine) == ("static", "bm25")
    assert "32 rows have none" in text and "# test_sets: {" in text and "TODO" not in text
    assert "not read: 'url'" in " ".join(text.replace("#", " ").split()) and text.count('instruction: ""') == 3
    assert recipe.reference.batch == 16 and recipe.reference.steps == 12  # 4 x 16 rows x 3 tasks / 16
    assert "# 4.0 steps a task, " in text  # 12 steps, 3 tasks
    assert main(["run", "recipe.yaml"]) == 0
    run = Path("runs/recipe")
    weights = read_json(run / "weights" / "weights.json")["weights"]
    assert set(weights) == {"my-faq", "log", "more-log"}
    assert (run / "models" / "main" / "top-70^0.5-seed3" / "modules.json").exists()
    page = (run / "report.html").read_text(encoding="utf-8")
    assert [task["name"] for task in read_json(run / "data.json")["tasks"]] == ["my-faq", "log", "more-log"]
    assert '<section id="data">' in page and "shares of the texts whose language can be told" in page


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


def test_a_large_test_set_is_a_sample_with_all_answers(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tdro.init.hold_out._PASSAGES", 20)
    rows = tiny.task("a", rows=300, negatives=0).rows
    for folder in ("one", "two"):
        assert hold_out([Task("a", rows)], 5, Path(folder)) == hold_out([Task("a", rows)], 5, Path(folder), force=True)
    corpus = {row["_id"]: row["text"] for row in read_jsonl("one/tests/a/corpus.jsonl")}
    answers = {line.split()[1] for line in Path("one/tests/a/qrels/test.tsv").read_text().splitlines()[1:]}
    assert len(corpus) == 20 and answers < corpus.keys()
    places = [rows["positives"][:].index([text]) for key, text in corpus.items() if key not in answers]
    assert max(places) > 150  # from everywhere, not the first ones
    assert Path("one/tests/a/corpus.jsonl").read_bytes() == Path("two/tests/a/corpus.jsonl").read_bytes()


def test_nothing_is_overwritten_unasked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("recipe.yaml").write_text("mine")
    assert main(["init", *messy(here), "--base", "tokenizer"]) == 2
    assert "recipe.yaml: is there already" in capsys.readouterr().err
    assert Path("recipe.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"Frage": "kurz", "Antwort": "viel länger"}, r"--columns a.jsonl query=Frage positives=Antwort"),
        ({"title": "t", "text": "x", "body": "y"}, "may be 'text' or 'body'"),
        ({"sentence1": "a", "sentence2": "b", "label": 1}, "for some values of 'label'"),
        ({"title": "a", "body": "b", "score": 1}, "--columns a.jsonl query=title positives=body"),
        ({"premise": "a", "hypothesis": "bb", "label": 1}, "of pairs with a 'label', keep those that are an answer"),
        ({"text": "alone"}, "a row needs a query and a passage"),
        (  # SQuAD's
            {"id": "1", "title": "t", "context": "long text", "question": "q?", "answers": {"text": ["x"]}},
            "may be 'answers' or 'context'; it has 'id', 'title', 'context', 'question', 'answers'.\n"
            "Say which, for instance: --columns a.jsonl query=question positives=context",
        ),
        (  # MS MARCO's
            {"answers": ["short"], "passages": {"passage_text": ["p"]}, "query": "q"},
            "may be 'answers' or 'passages'",
        ),
        ({"Question": "q", "Answer": "short", "Context": "long text"}, "may be 'Answer' or 'Context'"),
    ],
)
def test_columns_that_do_not_tell_are_asked_for(
    here: Path, capsys: pytest.CaptureFixture[str], row: dict[str, Any], message: str
) -> None:
    Path("a.jsonl").write_text(json.dumps(row) + "\n")
    assert main(["init", "a.jsonl", "--base", "tokenizer"]) == 2
    error = capsys.readouterr().err
    assert "a.jsonl" in error and message in error
    assert not Path("recipe.yaml").exists()


@pytest.mark.parametrize(
    ("row", "summary"),
    [
        (
            {"query": "q", "relevant_passages": ["p"], "hard_negatives": ["n"]},  # Cohere's
            "query: 'query'; positives: 'relevant_passages'; negatives: 'hard_negatives'",
        ),
        (
            {"query": "q", "pos": ["p"], "neg": ["n"], "prompt": "find"},  # FlagEmbedding's
            "query: 'query'; positives: 'pos'; negatives: 'neg'; not read: 'prompt'",
        ),
        (
            {"anchor": "q", "positive": "p", "negative_1": "n", "negative_2": "m"},
            "query: 'anchor'; positives: 'positive'; negatives: 'negative_1', 'negative_2'",
        ),
        ({"_id": "1", "title": "t", "text": "x"}, "query: 'title'; positives: 'text'; negatives: none"),
        ({"question": "q", "prompt": "p", "Response": "r"}, None),
    ],
)
def test_columns_whose_names_tell(here: Path, row: dict[str, Any], summary: str | None) -> None:
    Path("a.jsonl").write_text(json.dumps(row) + "\n")
    if summary is None:
        with pytest.raises(UserError, match="may be 'question' or 'prompt'"):
            columns_of("a.jsonl", {})
    else:
        assert columns_of("a.jsonl", {}).summary == summary


def test_what_is_no_task_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {"a.jsonl": [("w1", "w2"), ("w3", "w4")], "b.jsonl": [("w5", "w6")], "none.jsonl": []}
    for folder in ("mixed", "beir", "mixture"):
        Path(folder).mkdir()
    for name, pairs in rows.items():
        Path(name).write_text("".join(json.dumps({"query": q, "positive": p}) + "\n" for q, p in pairs))
    Path("copy.jsonl").write_bytes(Path("a.jsonl").read_bytes())
    Path("mixed/1.jsonl").write_bytes(Path("a.jsonl").read_bytes())
    Path("mixed/2.jsonl").write_text('{"input": "w1", "output": "w2"}\n')
    Path("mixture/mixture.json").write_text("{}")
    Path("beir/corpus.jsonl").write_text("")
    for files, message in (
        (["b.jsonl"], "b.jsonl: has one usable row"),
        (["none.jsonl"], "none.jsonl: no rows in it"),
        (["nowhere/a.jsonl"], "nowhere/a.jsonl: no such file or folder"),
        (["a.jsonl", "copy.jsonl"], "copy.jsonl: has the rows of a.jsonl"),
        (["mixed"], "mixed/2.jsonl has other columns ('input', 'output') than mixed/1.jsonl ('query', 'positive')"),
        (["beir"], "beir: a test set (there is no qrels/train.tsv); give it with --tests"),
        (["mixture"], "mixture: a mixture, whose tasks are known"),
    ):
        assert main(["init", *files, "--base", "tokenizer"]) == 2
        assert message in capsys.readouterr().err
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
    for out, message in (("tokenizer", "tokenizer: is a folder"), ("a.jsonl/r.yaml", "r.yaml: cannot be written")):
        assert main([*command, "query=Frage", "positives=Antwort", "--out", out, "--force"]) == 2
        assert message in capsys.readouterr().err


def test_names_are_unique_and_fit_a_folder() -> None:
    files = ["a/faq.csv", "b/faq.jsonl.gz", "../x y!.tsv", "owner/set", "...", "v1.2.jsonl", "B/FAQ.csv", "u\u0308/"]
    assert task_names(files) == ["a-faq", "b-faq", "x-y", "set", "task", "v1-2", "B-FAQ-2", "ü"]
    assert len(task_names(["日" * 99])[0].encode()) < 200  # a file's name has 255 bytes


@pytest.mark.parametrize("text", ["true", "1e3", "a: b", "null", "ünï", "#x", 'q"', "x\ny", "a.csv", "-", "", "~/x"])
def test_texts_are_read_back_from_the_recipe(text: str, tmp_path: Path) -> None:
    from tdro.recipe.yaml_lines import read_yaml

    path = tmp_path / "r.yaml"
    path.write_text(f"key: {scalar(text)}\nlist: {{a: {scalar(text)}}}\n", encoding="utf-8")
    assert read_yaml(path)[0] == {"key": text, "list": {"a": text}}


def test_settings_follow_the_device_and_the_smallest_task() -> None:
    from tdro.data.quality.data_card import Counts, Lengths, TaskCard

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
    assert tiny_task.mixtures.names == ("uniform",)
    assert mixtures_for("encoder", 2).names == ("uniform", "reweight^0.5")
    assert mixtures_for("decoder", 9).names == ("uniform", "top-70", "reweight^0.5")
    assert mixtures_for("decoder", 10).names == ("uniform", "top-70")
    assert mixtures_for("static", 10).names == ("uniform", "top-70^0.5", "reweight^0.5", "gain")
    assert "6 of the sample's" in mixtures_for("static", 9).why and "6 of" not in mixtures_for("static", 10).why
    for number, move, top in ((3, 6.9, "top-70"), (4, 8.0, "top-75"), (5, 8.9, "top-80"), (25, 20.0, "top-70")):
        settings = settings_for([card(99)] * number, [99] * number, "static", cpu, None)
        assert settings.eta_times_steps == move and settings.mixtures.names[1] == f"{top}^0.5"
        weights = TaskWeights.uniform(map(str, range(number)))
        assert abs(len(weights.top(float(top[4:]))) - 0.7 * number) <= 0.5
