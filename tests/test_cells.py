"""Cells that do not mean what they look like: words for nothing, texts of lists, objects with other keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from row_files import write_rows
from tdro.cli import main
from tdro.data.mixtures.build import built_task
from tdro.data.read.cells import is_nothing, list_in
from tdro.data.read.rows import row_from
from tdro.files import read_jsonl
from tdro.recipe.data_sections import Source


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def built(name: str, rows: list[dict[str, Any]]) -> tuple[list[tuple[Any, ...]], dict[str, int]]:
    """Query, positives and negatives of a file's rows, and how many problems there were of each kind."""
    write_rows(name, rows)
    task = built_task(Source(source=name), "a")
    made = [(row["query"], row["positives"], row["negatives"]) for row in task.open().to_list()]
    return made, {kind: sum(actions.values()) for kind, actions in task.problems.items()}


# ---- words for nothing

WORDS = ["nan", "NaN", "None", "NULL", "null", "#N/A", "N/A", "NA", "n/a", "\\N", "<NA>", "NaT", "#REF!", "(null)"]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_for_nothing_is_nothing(word: str) -> None:
    assert is_nothing(word)
    rows = [
        {"query": "one", "positive": "p", "negative": "n"},
        {"query": word, "positive": "p", "negative": "n"},
        {"query": "two", "positive": f" {word} ", "negative": "n"},
        {"query": "three", "positive": "p", "negative": word},
    ]
    expected = [("one", ["p"], ["n"]), ("three", ["p"], [])]
    for name in ("a.csv", "a.jsonl"):
        made, problems = built(name, rows)
        assert made == expected
        assert problems == {"null-word": 3, "no-positive": 1}


def test_words_that_only_contain_one_are_texts() -> None:
    texts = ["Nantes", "none of them", "NA 1", "null and void", "Nan, my grandmother", "naan", "-", "?"]
    assert built("a.jsonl", [{"query": f"q{n}", "positive": text} for n, text in enumerate(texts)]) == (
        [(f"q{n}", [text], []) for n, text in enumerate(texts)],
        {},
    )


def test_nothing_in_lists_titles_and_ids() -> None:
    titled = [{"title": "nan", "text": "p"}, {"title": "T", "text": "None"}]
    row, problems = row_from({"id": "nan", "query": "q", "positives": titled, "neg": ["NULL", "n"]}, "f", 7)
    assert row == ("7", "q", ["p"], ["n"])
    assert [problem.kind for problem in problems] == ["null-word"]


def test_check_tells_it_with_file_and_line(capsys: pytest.CaptureFixture[str]) -> None:
    built("a.csv", [{"query": f"q{n}", "positive": word} for n, word in enumerate(["p", "nan", "NULL"])])
    assert main(["data", "check", "a.csv", "--strict"]) == 1
    said = capsys.readouterr().out
    assert "null-word: 2 dropped" in said and "a.csv, line 3: positive: a word for nothing" in said
    assert main(["data", "describe", "a.csv"]) == 0
    assert "2 dropped (2 no-positive, 2 null-word: " in capsys.readouterr().out


# ---- the texts of lists


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("['a', 'b']", ["a", "b"]),
        ('["a", "b"]', ["a", "b"]),
        ("""['it\\'s', "it's", 'say "x"']""", ["it's", "it's", 'say "x"']),
        ('["caf\\u00e9 \\/ x"]', ["café / x"]),
        ("[]", []),
        (" [ 'a' ] ", ["a"]),
        ("['a',]", ["a"]),
        ("('a', 'b')", ("a", "b")),
        ("['a' 'b']", ["a", "b"]),  # NumPy's; to Python it is ['ab']
        ("['a'\n 'b'\n \"c's\"]", ["a", "b", "c's"]),
        ("array(['a', 'b'], dtype=object)", ["a", "b"]),
        ("array(['a',\n       'b'], dtype='<U1')", ["a", "b"]),
        ("['a', None, nan]", ["a", None, None]),
        ("[{'docid': '1', 'text': \"it's\"}]", [{"docid": "1", "text": "it's"}]),
        ('{"title": "T", "text": "x"}', {"title": "T", "text": "x"}),
        ("[1, 2]", [1, 2]),
        *((text, None) for text in ("['a', 'b", "[citation needed]", "[1] See there", "(so)", "('so')", "['a''b']")),
        *((text, None) for text in ("['a' 'b', 'c']", "[__import__('os')]", "[" * 5000, "['a'" * 5000, "plain", "")),
    ],
)
def test_the_list_that_a_text_is_of(text: str, expected: Any) -> None:
    found = list_in(text)
    assert (list(found) if isinstance(found, (list, tuple)) else found) == (
        list(expected) if isinstance(expected, (list, tuple)) else expected
    )


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
@pytest.mark.parametrize("style", [str, json.dumps, lambda texts: f"[{' '.join(map(repr, texts))}]"])
def test_columns_of_lists_are_read_as_lists(name: str, style: Any, capsys: pytest.CaptureFixture[str]) -> None:
    sides = [(["a1"], ["n1", "n2"]), (["b1", "b2"], []), (["c1"], ["n3"])]
    rows = [{"query": f"q{n}", "pos": style(pos), "neg": style(neg)} for n, (pos, neg) in enumerate(sides)]
    assert built(name, rows) == ([(f"q{n}", *both) for n, both in enumerate(sides)], {})
    for command in ("check", "describe"):
        assert main(["data", command, name]) == 0
        assert "a: read as lists, which their cells are the texts of: 'pos', 'neg'" in capsys.readouterr().out


def test_only_the_negatives_are_lists() -> None:
    rows = [{"query": f"q{n}", "positive": f"p{n}", "negatives": "['a', 'b']"} for n in range(3)]
    for name in ("a.csv", "a.jsonl"):
        assert built(name, rows)[0] == [(f"q{n}", [f"p{n}"], ["a", "b"]) for n in range(3)]


def test_a_list_that_a_spreadsheet_has_cut_is_left_out() -> None:
    rows = [{"query": "q", "pos": "['p']", "neg": "['n']"}, {"query": "r", "pos": "['s']", "neg": "['n', 'mmm"}]
    rows += [{"query": "t", "pos": "['a', 'bb", "neg": "plain"}]
    made, problems = built("a.csv", rows)
    assert made == [("q", ["p"], ["n"]), ("r", ["s"], [])] and problems["list-text"] == 2


def test_code_that_looks_like_a_list_is_a_text_in_json_and_told() -> None:
    rows = [{"query": "q", "positive": "x = 1"}, {"query": "r", "positive": "['a', 'b']"}]
    made, problems = built("a.jsonl", rows)
    assert made == [("q", ["x = 1"], []), ("r", ["['a', 'b']"], [])] and problems == {"list-like": 1}
    rows = [{"query": f"q{n}", "positive": text} for n, text in enumerate(['{"a": 1}', "[1] See there.", "(so)"])]
    assert built("b.jsonl", rows) == ([(row["query"], [row["positive"]], []) for row in rows], {})


# ---- passages as objects

TEXT_KEYS = ["text", "Text", "segment", "content", "contents", "body", "passage", "document", "para", "paragraph_text"]


@pytest.mark.parametrize("key", [*TEXT_KEYS, "page_content", "chunk", "passageText"])
def test_the_text_of_a_passage_under_any_key(key: str) -> None:
    positive, negative = {"docid": "1", "title": "T", key: "the text"}, {"docid": "2", key: "another"}
    raw = {"query": "q", "positive_passages": [positive], "negative_passages": [negative]}
    assert row_from(raw, "f", 1) == (("1", "q", ["T the text"], ["another"]), [])
    assert row_from({"query": "q", "positive": positive}, "f", 1)[0] == ("1", "q", ["T the text"], [])


@pytest.mark.parametrize(
    ("passage", "message"),
    [
        ({"title": "T", "abc": "x"}, "no key text; found 'title', 'abc'"),
        ({"docid": "1", "title": "T"}, "no key text; found 'docid', 'title'"),
        ({"title": "T", "body": "x", "content": "y"}, "the text may be 'body' or 'content'"),
        ({"title": "T", "text": None}, "null"),
        ({"title": "T", "body": " "}, "empty"),
        ({"title": "T", "text": "nan"}, "a word for nothing"),
        ({"title": "T", "text": ["x"]}, "not a text"),
    ],
)
def test_a_title_never_becomes_the_passage(passage: dict[str, Any], message: str) -> None:
    row, problems = row_from({"query": "q", "positives": [passage, {"text": "p"}]}, "f", 1)
    assert row == ("1", "q", ["p"], []) and message in " ".join(problem.message for problem in problems)
    row, problems = row_from({"query": "q", "positives": [passage]}, "f", 1)
    assert row is None and message in problems[0].message


def test_an_empty_text_has_the_title_as_in_beirs_corpora() -> None:
    assert row_from({"query": "q", "positives": [{"title": "T", "text": ""}]}, "f", 1)[0] == ("1", "q", ["T"], [])


def test_check_names_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    passages = [{"title": f"Title {n}", "abc": f"text {n}"} for n in range(3)]
    rows = [{"query": f"q{n}", "positive_passages": [passage]} for n, passage in enumerate(passages)]
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["data", "check", "a.jsonl", "--bad-rows", "bad.jsonl", "--strict"]) == 1
    assert "no-text: 3 dropped" in capsys.readouterr().out
    assert "no key text; found 'title', 'abc'" in read_jsonl("bad.jsonl")[0]["message"]


@pytest.mark.parametrize("value", [2019, 3.5, True, {"a": 1}, ["x", "y"], float("nan")])
def test_what_is_no_text_is_never_made_one(value: object) -> None:
    row, problems = row_from({"query": value, "positives": ["p"]}, "f", 1)
    assert row is None and problems[0].kind in ("wrong-type", "not-finite")
    if not isinstance(value, list):
        row, problems = row_from({"query": "q", "positives": ["p", value], "neg": value}, "f", 1)
        assert row == ("1", "q", ["p"], []) and problems
