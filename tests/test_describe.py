"""The data card: what its numbers mean, by counting by hand; and that texts cannot break the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from tokenizers import Regex, pre_tokenizers

import tiny
import tiny_mixture
from tdro.cli import main
from tdro.data.quality.data_card import Counts, Lengths, describe, spread
from tdro.data.quality.data_card_table import describe_text
from tdro.data.quality.languages import shares_text
from tdro.data.task import Mixture, Task
from tdro.files import read_json
from tdro.machine import Machine
from tdro.run.describe_data import write_data_card
from tdro.run.workspace import Workspace


def row(query: str, positives: list[str], negatives: list[str] | None = None) -> dict[str, Any]:
    return {"id": "", "query": query, "positives": positives, "negatives": negatives or []}


ROWS = [
    row("Who won?", ["The home side."], ["It rained."]),
    row("who won", ["the home side", "Nobody"], ["It rained.", "Tea was had."]),
    row("東京の人口は", ["約1400万人"]),
    row("Кто выиграл", ["Nobody", "nobody!"]),
]


def card_of(rows: list[dict[str, Any]], **keys: Any):
    task = Task("t", Dataset.from_list(rows), licence="CC0-1.0", source="here")
    return describe(Mixture([task]), **keys).tasks[0]


def test_numbers_are_those_of_a_count_by_hand() -> None:
    card = card_of(ROWS)
    assert (card.rows, card.without_negatives) == (4, 2)
    assert card.same_query == 1  # the second, after normalisation
    assert card.same_positive == 2  # "the home side" again, "Nobody" again; a row's own repetition does not count
    assert card.positives == Counts(1, 1.5, 2) and card.negatives == Counts(0, 0.75, 2)
    assert card.query_lengths == Lengths(7.5, 11)
    assert (card.licence, card.source) == ("CC0-1.0", "here")
    assert [sample["negative"] for sample in card.samples][-1] is None


def test_lengths_are_in_tokens_where_there_is_a_tokenizer() -> None:
    def words(texts: list[str]) -> np.ndarray:
        return np.array([len(text.split()) for text in texts])

    task = Task("t", Dataset.from_list(ROWS))
    card = describe(Mixture([task]), words, "words")
    assert (card.unit, card.tokenizer) == ("tokens", "words")
    assert card.tasks[0].query_lengths == Lengths(2, 2)
    assert "tokens of words" in describe_text(card, 80)


def test_languages_are_those_that_can_be_told() -> None:
    rows = [
        row("How long does the journey to the coast take?", ["Sie dauert mit dem Zug ungefähr zwei Stunden."]),
        row("Which of the two roads is open in winter?", ["Nur die untere Straße ist im Winter geöffnet."]),
        row("Combien de temps dure le voyage jusqu'à la côte ?", ["x1"]),
        row("ok", ["42"]),
    ]
    card = card_of(rows)
    assert card.query_languages == {"en": 0.5, "und": 0.25, "fr": 0.25}
    assert card.passage_languages == {"und": 0.5, "de": 0.5}
    assert shares_text(card.query_languages) == "en 67 %, fr 33 %" and shares_text(card.passage_languages) == "de"
    assert shares_text({"und": 0.95, "la": 0.05}) == shares_text({}) == "–"
    assert shares_text({"en": 0.7, "de": 0.2, "fr": 0.1}) == "en 70 %, de 20 %"


def test_a_part_of_the_rows_is_looked_at_for_lengths_and_it_is_said() -> None:
    rows = [row("a" * (1 + number % 7), ["p" + "x" * number]) for number in range(300)]
    card = describe(Mixture([Task("t", Dataset.from_list(rows))]), length_rows=50)
    assert "from 50 rows a task" in describe_text(card)
    assert card.tasks[0].same_query == 293  # counted over all rows all the same
    assert abs(card.tasks[0].passage_lengths.median - 150) < 10


def test_places_are_spread_from_the_first_to_the_last() -> None:
    assert spread(5, 10) == [0, 1, 2, 3, 4]
    assert spread(101, 3) == [0, 50, 100]
    assert spread(1, 3) == [0]


def test_samples_are_the_same_each_time_cut_to_the_width_and_harmless() -> None:
    rows = [row(f"q{number}\x1b[2J\n\u202e", ["東京" * 60], ["n" * 500]) for number in range(9)]
    mixture = Mixture([Task("t", Dataset.from_list(rows))])
    text = describe_text(describe(mixture), 40)
    assert text == describe_text(describe(mixture), 40)
    assert "\x1b" not in text and "\u202e" not in text
    samples = text.split("\nt\n")[-1].splitlines()
    assert [line[:5] for line in samples[::3]] == ["  ? q"] * 3
    assert all(len(line) <= 40 for line in samples)
    wide = next(line for line in samples if "東" in line)
    assert wide.endswith("…") and len(wide) <= 22  # two columns a character


@pytest.fixture
def mixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    return tiny_mixture.mixture(tmp_path / "mixture", tasks=2)


def test_the_command_prints_a_mixture_and_writes_json_once(
    mixture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "card.json"
    assert main(["data", "describe", str(mixture), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "task0" in printed and "in characters" in printed and "CC0-1.0" in printed
    assert [task["rows"] for task in read_json(out)["tasks"]] == [12, 24]
    assert main(["data", "describe", str(mixture), "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["data", "describe", str(mixture), "--out", str(tmp_path), "--force"]) == 2
    assert "is a folder; name a file in it" in capsys.readouterr().err


def test_no_command_writes_over_what_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"query": "q", "positive": "p"}\n')
    name = str(file)
    for command in (
        ["data", "describe", name, "--out", name],
        ["data", "dedup", name, "--within", "--audit", name],
        ["compare", name, name, "--out", name],
        ["init", name, "--base", "minilm", "--out", name],
    ):
        assert main([*command, "--force"]) == 2
        assert f"{name}: is read by this command" in capsys.readouterr().err
    assert file.read_text().startswith('{"query"')


def test_the_command_takes_files_and_a_model(mixture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.static_model().save_pretrained(str(tmp_path / "static"))
    (tmp_path / "tokenizer").mkdir()
    tiny.tokenizer(eos=False).save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    file = tmp_path / "faq.jsonl"
    file.write_text(json.dumps({"question": "w1 w2", "answer": "w3 w4 w5"}) + "\n")
    for base in ("static", "tokenizer"):
        assert main(["data", "describe", str(file), "--base", str(tmp_path / base)]) == 0
        printed = capsys.readouterr().out
        assert f"tokens of {tmp_path / base}" in printed
        assert printed.splitlines()[1].split()[:8] == ["faq", "1", "2", "/", "2", "3", "/", "3"]
    assert main(["data", "describe", str(file), "--base", str(tmp_path / "no-model")]) == 2
    assert "no such model folder" in capsys.readouterr().err


def test_a_runs_card_is_counted_again_after_the_base_was_changed_in_place(tmp_path: Path) -> None:
    recipe = tiny_mixture.recipe(tmp_path)

    def card() -> dict[str, Any]:
        write_data_card(Workspace(recipe, tmp_path / "run", Machine()), tmp_path / "data.json")
        found: dict[str, Any] = read_json(tmp_path / "data.json")["tasks"][0]["query_lengths"]
        return found

    before = card()
    tokenizer = tiny.tokenizer(eos=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")  # each character is a token
    tokenizer.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    assert card()["median"] > before["median"]
