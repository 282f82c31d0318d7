"""Raw values become rows: which keys are known, what is mended, what is dropped, and that everything is said."""

from __future__ import annotations

import unicodedata
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdro.data.read import rows
from tdro.data.read.layout import Layout, layout_of
from tdro.data.read.problem import REPAIRS
from tdro.data.read.rows import LONGEST_TEXT, Row, plain_rows, row_from
from tdro.data.same_text import normalise

PASSAGES = {
    "positive_passages": [{"docid": "1", "title": "T", "text": "A"}, {"docid": "2", "title": None, "text": "B"}],
    "negative_passages": [{"docid": "3", "title": "", "text": "C"}, {"docid": "4", "text": "D"}],
}


def kinds(raw, **how):
    """Kind and action of each problem of a raw value."""
    return [(problem.kind, problem.action) for problem in row_from(raw, "f.jsonl", 7, **how)[1]]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"id": "a", "query": "q", "positives": ["p"], "negatives": []}, Row("a", "q", ["p"], [])),
        ({"query": "q", "positives": ["p"]}, Row("7", "q", ["p"], [])),
        ({"query_id": 12, "query": "q", **PASSAGES}, Row("12", "q", ["T A", "B"], ["C", "D"])),
        ({"anchor": "q", "positive": "p", "negative": "n"}, Row("7", "q", ["p"], ["n"])),
        ({"question": "q", "answer": "p"}, Row("7", "q", ["p"], [])),
        ({"sentence1": "q", "sentence2": "p"}, Row("7", "q", ["p"], [])),
        ({"query": "q", "pos": ["p"], "neg": ["n", "m"]}, Row("7", "q", ["p"], ["n", "m"])),
        ({"query": "q", "positive": ["p", "o"], "negative": None}, Row("7", "q", ["p", "o"], [])),
        (
            {"anchor": "q", "negative_10": "z", "negative_2": "b", "positive": "p", "negative_1": "a"},
            Row("7", "q", ["p"], ["a", "b", "z"]),
        ),
        (
            {"question": "q", "answers": ["short"], "positive_ctxs": [{"title": "T", "text": "p"}], "score": 1},
            Row("7", "q", ["T p"], []),
        ),
    ],
)
def test_the_known_schemas(raw, expected):
    assert row_from(raw, "f.jsonl", 7) == (expected, [])


def test_columns_win_over_known_names():
    raw = {"query": "not this", "title": "q", "positive": "nor this", "body": "p", "bad_1": "n", "bad_2": None, "no": 5}
    columns = {"query": "title", "positives": "body", "negatives": "bad", "id": "no"}
    assert row_from(raw, "f", 1, columns) == (Row("5", "q", ["p"], ["n"]), [])
    row, (problem,) = row_from({"query": "q", "positive": "p"}, "f", 1, {"positives": "body"})
    assert row is None
    assert "'body'" in problem.message


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ({"qurey": "q", "positives": ["p"]}, "'qurey'"),
        ({"query": "q"}, "positives"),
        ({}, "none"),
        ({"sentence1": "q", "sentence2": "p", "label": 0}, "'label'"),
        ({f"key{n}": n for n in range(99)}, "and 91 more"),
    ],
)
def test_unknown_columns_say_what_is_there(raw, word):
    row, (problem,) = row_from(raw, "f.jsonl", 7)
    assert row is None
    assert (problem.file, problem.line, problem.kind, problem.action) == ("f.jsonl", 7, "unknown-columns", "dropped")
    assert word in problem.message


@pytest.mark.parametrize("raw", [None, 1, 1.5, "text", ["q", "p"], True])
def test_a_value_that_is_no_object_is_dropped(raw):
    assert kinds(raw) == [("not-an-object", "dropped")]


@pytest.mark.parametrize(
    ("query", "kind"),
    [(None, "null"), ("", "empty-text"), (" \t", "empty-text"), (3, "wrong-type"), (["q"], "wrong-type")],
)
def test_a_row_without_a_query_is_dropped(query, kind):
    assert (kind, "dropped") in kinds({"query": query, "positives": ["p"]})
    assert row_from({"query": query, "positives": ["p"]}, "f", 1)[0] is None


@pytest.mark.parametrize(
    "positives", [None, [], [None], "", [" "], [3], [[]], [{}], {"text": None}, ["Q."], {"title": 3}]
)
def test_a_row_without_a_positive_is_dropped(positives):
    found = kinds({"query": "q", "positives": positives})
    assert found[-1] == ("no-positive", "dropped")
    assert {action for _, action in found} == {"dropped"}


@pytest.mark.parametrize(
    ("raw", "kind", "expected"),
    [
        ({"query": " q\n", "positives": ["p"]}, "whitespace", Row("1", "q", ["p"], [])),
        ({"query": "q\0\x07", "positives": ["p\x9f"]}, "control-character", Row("1", "q", ["p"], [])),
        ({"query": "\ufeffq", "positives": ["p"]}, "control-character", Row("1", "q", ["p"], [])),
        ({"query": "q\ud800", "positives": ["p"]}, "surrogate", Row("1", "q", ["p"], [])),
        ({"query": "q", "positives": ["p", None]}, "null", Row("1", "q", ["p"], [])),
        ({"query": "q", "positives": ["p", ["x"]]}, "wrong-type", Row("1", "q", ["p"], [])),
        ({"query": "q", "positives": [{"title": 3, "text": "p"}]}, "wrong-type", Row("1", "q", ["p"], [])),
        ({"query": "q", "positives": ["p"], "negatives": ["", "n"]}, "empty-text", Row("1", "q", ["p"], ["n"])),
        ({"query": "q", "positives": ["p", "P."]}, "duplicate-text", Row("1", "q", ["p"], [])),
        ({"query": "q", "positives": ["p"], "negatives": ["n", "n"]}, "duplicate-text", Row("1", "q", ["p"], ["n"])),
        ({"query": "q", "positives": ["Q", "p"]}, "positive-is-query", Row("1", "q", ["p"], [])),
        ({"query": "q", "positives": ["ｐ"], "negatives": ["P"]}, "positive-is-negative", Row("1", "q", ["ｐ"], [])),
        ({"query": "q", "positives": ["p"], "score": float("nan")}, "not-finite", Row("1", "q", ["p"], [])),
        ({"query": "q", "positives": ["p"], "id": ["x"]}, "wrong-type", Row("1", "q", ["p"], [])),
    ],
)
def test_what_is_mended_is_said(raw, kind, expected):
    row, (problem,) = row_from(raw, "f", 1)
    assert row == expected
    assert (problem.kind, problem.action) == (kind, "repaired")
    assert kind in REPAIRS


def test_tabs_and_line_ends_inside_a_text_stay():
    text = "def f():\n\treturn 1\r\n# done"
    assert row_from({"query": "q", "positives": [text]}, "f", 1) == (Row("1", "q", [text], []), [])


def test_a_number_that_is_none_instead_of_a_text():
    assert kinds({"query": float("nan"), "positives": ["p"]}) == [("not-finite", "dropped"), ("null", "dropped")]
    assert kinds({"query": "q", "positives": [{"title": float("inf"), "text": "p"}]}) == [("wrong-type", "repaired")]


def test_texts_that_are_too_long_are_cut():
    row, (problem,) = row_from({"query": "q", "positives": ["x" * (LONGEST_TEXT + 1)]}, "f", 1)
    assert row is not None
    assert len(row.positives[0]) == LONGEST_TEXT
    assert (problem.kind, problem.action) == ("overlong", "repaired")
    assert kinds({"query": "abcd", "positives": ["p"]}, longest=3) == [("overlong", "repaired")]


@pytest.mark.parametrize("text", ["cafÃ©", "Ã¼ber", "donâ€™t", "25Â°C", "ÐŸÑ€Ð¸Ð²ÐµÑ‚", "ï»¿query", "lost \ufffd"])
def test_text_in_a_wrong_encoding_is_kept_and_said(text):
    row, (problem,) = row_from({"query": "q", "positives": [text]}, "f", 1)
    assert row is not None
    assert row.positives == [text]
    assert (problem.kind, problem.action) == ("wrong-encoding", "kept")


@pytest.mark.parametrize(
    "text",
    ["SÃO PAULO", "AMANHÃ…", "«MANHû", "Â NGHĨA", "Ñandú", "Ðað", "naïve café", "ÑОЛЬ", "привет", "Ñ“x”", "10 °C"],
)
def test_languages_are_no_wrong_encoding(text):
    assert kinds({"query": "q", "positives": [text]}) == []


def test_several_problems_of_a_row_are_counted_together():
    row, (problem,) = row_from({"query": " q ", "positives": ["p "], "negatives": [" n", " m"]}, "f", 1)
    assert row == Row("1", "q", ["p"], ["n", "m"])
    assert problem.message == "the query, positive, 2 negatives: whitespace around the text"


def test_keys_in_messages_are_plain_ascii_and_short():
    _, (problem,) = row_from({"\x1b[31m" + "é" * 1000: 1}, "f", 1)
    assert problem.message.isascii()
    assert problem.message.isprintable()
    assert len(problem.message) < 300


TEXTS = (
    st.sampled_from(["q", "Q.", "p", " p", "P", "n", "", "\0", "x\ud800", "Ã©", "ß", "SS", "日本", "long" * 9])
    | st.text()
)
VALUES = st.one_of(
    st.none(), TEXTS, st.integers(), st.floats(), st.booleans(), st.just(10**5000), st.just([[["deep"]]])
)
PASSAGE = st.one_of(VALUES, st.fixed_dictionaries({}, optional={"text": VALUES, "title": VALUES, "docid": VALUES}))
KEYS = st.sampled_from(
    [
        "id",
        "query",
        "positives",
        "negatives",
        "anchor",
        "positive",
        "negative_1",
        "negative_2",
        "answer",
        "label",
        "other",
    ]
)
RAW = st.one_of(
    VALUES,
    st.dictionaries(KEYS, PASSAGE | st.lists(PASSAGE, max_size=4), max_size=6),
    st.fixed_dictionaries({"query": TEXTS, "positives": st.lists(TEXTS), "negatives": st.lists(TEXTS)}),
)


def nothing_is_silent(raw: object) -> None:
    """Whatever the value: a row that holds what a row must, or a reason; and a problem for every change."""
    row, problems = row_from(raw, "f.jsonl", 3, longest=30)
    assert all((problem.file, problem.line) == ("f.jsonl", 3) and problem.message for problem in problems)
    if row is None:
        assert problems
        assert {problem.action for problem in problems} == {"dropped"}
        return
    texts = [row.query, *row.positives, *row.negatives]
    for text in [*texts, row.id]:
        assert text
        assert text == text.strip()
        text.encode()
        assert "\0" not in text
    assert all(len(text) <= 30 for text in texts)
    passages = [normalise(text) for text in (*row.positives, *row.negatives)]
    assert len(set(passages)) == len(passages)
    assert row.positives
    assert normalise(row.query) not in passages[: len(row.positives)]
    again, more = row_from(row._asdict(), "f.jsonl", 3, longest=30)
    assert again == row
    assert all(problem.action == "kept" for problem in more)
    assert {problem.action for problem in problems} <= {"repaired", "kept"}
    assert isinstance(raw, dict)
    lists = [raw.get("positives"), raw.get("negatives")]
    if all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists):
        assert problems or [raw["query"], *lists] == [row.query, row.positives, row.negatives]


@settings(max_examples=75)
@given(RAW)
def test_nothing_is_silent(raw):
    nothing_is_silent(raw)


@pytest.mark.slow
@settings(max_examples=5000)
@given(RAW)
def test_nothing_is_silent_5000_times(raw):
    nothing_is_silent(raw)


WORDS = [
    "word",
    "Straße",
    "ＡＢＣ",
    "e\u0301",
    "“x”",
    "—" * 60,
    "日本語",
    "ﾞ",
    "Ã©",
    "€",
    "ﬁ",
    "\n",
    " ",
    "\x9f",
    "\u00a0",
    "½",
    "undefined",
    "wo-rd",
    "NULL",
    "abcdefgh\nijklmnop",
]


@st.composite
def alike(draw):
    """A row whose texts are equal, or nearly, or begin with the same hundred letters."""
    words = draw(st.lists(st.sampled_from(WORDS), max_size=30))
    text = draw(st.sampled_from(["", " "])).join(words)
    others = [text, text.upper(), f"{text}!", f"“{text}", text.replace(" ", "  "), unicodedata.normalize("NFD", text)]
    texts = st.sampled_from([*others, f"{text} more", f"{'— ' * 60}{text}"]) | TEXTS
    return {"query": draw(texts), "positives": draw(st.lists(texts)), "negatives": draw(st.lists(texts, max_size=3))}


def one_look_says_the_same(raw: object) -> None:
    """A row that is taken at one look is what the long way makes of it, and the long way has nothing to tell."""
    layout = layout_of(tuple(raw)) if isinstance(raw, dict) else None
    if isinstance(layout, Layout) and not layout.label and (found := plain_rows([raw], layout, [3])):
        with mock.patch.object(rows, "are_clean", lambda *_: False):
            assert row_from(raw, "f.jsonl", 3) == (found[0], [])


@settings(max_examples=75)
@given(RAW | alike())
def test_one_look_says_the_same(raw):
    one_look_says_the_same(raw)


@pytest.mark.slow
@settings(max_examples=5000)
@given(RAW | alike())
def test_one_look_says_the_same_5000_times(raw):
    one_look_says_the_same(raw)
