"""Columns that do not mean what they are taken for: each is read for what it means, asked for, or named as not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from row_files import write_rows
from tdro.cli import main
from tdro.data.mixtures.build import built_task
from tdro.data.read.reader import Reader, notes
from tdro.data.read.sources import Part
from tdro.errors import UserError
from tdro.init.columns import columns_of
from tdro.recipe.data_sections import Source


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def recipe(task: str, file: str) -> None:
    """The smallest recipe that reads a file."""
    Path("r.yaml").write_text(
        f"name: r\nbase: {{kind: static, source: minilm}}\nfinetune: [{{name: a, mixtures: [uniform]}}]\n"
        f"data: {{sources: {{{task}: {file}}}}}\n"
    )


def read(rows: list[dict[str, Any]], columns: dict[str, str] | None = None, file: str = "x.jsonl") -> Any:
    """What a reader makes of rows: query, positives and negatives of each, and the notes; or what it asks."""
    reader = Reader(columns)
    values = [(number, number, row) for number, row in enumerate(rows, 1)]
    if unclear := reader.open(Part(file, lambda *_: iter(values))):
        return unclear.question
    made = [reader.row(row, line)[0] for line, _, row in values]
    if unclear := reader.end():
        return unclear.question
    return [tuple(row)[1:] for row in made if row], notes(list(reader.unread.seen), reader.lists)


def asked(name: str, rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What check, describe, build and init say of a file that they must not read as it is."""
    write_rows(name, rows)
    said = []
    assert main(["data", "check", name, "--strict"]) == 1
    said.append(capsys.readouterr().out)
    assert main(["data", "describe", name]) == 2
    said.append(capsys.readouterr().err)
    recipe("a", name)
    assert main(["data", "build", "r.yaml"]) == 2
    said.append(capsys.readouterr().err)
    with pytest.raises(UserError) as error:
        columns_of(name, {})
    return [*said, str(error.value)]


# ---- judgements

YES_AND_NO = {
    "Label": (1, 0),
    "relevance": (1, 0),
    "is_relevant": (True, False),
    "isDuplicate": ("1", "0"),
    "relevance_score": (3, 0),
    "rel": (2, 1),
    "similarity": (0.9, 0.2),
    "gold": (4.5, 1.5),
    "y": (1, 0),
    "target": ("true", "false"),
    "Match?": ("yes", "no"),
    "paraphrase": (1.0, 0.0),
    "verdict": ("relevant", "irrelevant"),
    "gold_label": ("entailment", "neutral"),
    "esci": ("E", "I"),
    "cross_encoder_score": (11.2, -9.5),
    "relevance (percent)": (97, 12),
    "anything at all": (0, 1),
}
PAIRS = [("query", "document"), ("sentence1", "sentence2"), ("question", "answer"), ("Query Text", "passage")]


@pytest.mark.parametrize(("name", "values"), YES_AND_NO.items())
def test_a_judgement_under_any_name_is_asked_for(name: str, values: tuple[Any, Any]) -> None:
    for query, positives in PAIRS:
        rows = [{query: f"q{n % 7}", positives: f"passage {n}", name: values[n % 2]} for n in range(10)]
        question = read(rows)
        assert f"'{positives}' is a positive for some values of {name!r} only" in question
        assert "columns: {query:" in question and "label:" in question
        assert name in read([{key: str(value) for key, value in row.items()} for row in rows], file="x.csv")


def test_every_command_asks(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"query": f"q{n}", "document": f"passage {n}", "is_relevant": n % 2} for n in range(6)]
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        for said in asked(name, rows, capsys):
            assert "'document' is a positive for some values of 'is_relevant' only" in said and "label" in said


def test_the_label_says_which_rows_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows("a.csv", [{"sentence1": f"q{n}", "sentence2": f"p{n}", "is_duplicate": n % 2} for n in range(6)])
    given = {"query": "sentence1", "positives": "sentence2"}
    with pytest.raises(UserError, match="label: 'is_duplicate' the rows with 1 or true are read"):
        built_task(Source(source="a.csv", columns=given), "a")
    for label, kept in (("is_duplicate", ["q1", "q3", "q5"]), ("", [f"q{n}" for n in range(6)])):
        built = built_task(Source(source="a.csv", columns={"label": label}), "a")
        assert built.open()["query"][:] == kept
        assert columns_of("a.csv", {"label": label}).wanted == {"label": label}
    assert built.unread == ["is_duplicate"] and "a: not read: 'is_duplicate'" in built.summary("a")
    write_rows("b.csv", [{"query": "q", "document": f"p{n}", "rel": n} for n in range(4)])
    with pytest.raises(UserError, match="the label 'rel' is '2', and not 1 or 0"):
        built_task(Source(source="b.csv", columns={"label": "rel"}), "b")
    unjudged = [{"query": "q", "document": "p", "ok": True}, {"query": "r", "document": "p"}]
    assert read(unjudged, {"label": "ok"})[0] == [("q", ["p"], [])]
    with pytest.raises(UserError, match="no column 'Rel', which is to be the label"):
        built_task(Source(source="b.csv", columns={"label": "Rel"}), "b")


@pytest.mark.parametrize("column", [{"label": "is_duplicate"}, {"label": ""}])
def test_an_answer_is_taken_by_the_recipe_and_on_the_command_line(column: dict[str, str]) -> None:
    assert Source(source="owner/name", columns=column).columns == column
    from tdro.commands.init import parse_columns

    assert parse_columns("a.csv", [f"label={column['label']}"]) == column


def test_a_judgement_that_only_the_whole_source_shows(tmp_path: Path) -> None:
    rows = [{"query": f"q{n}", "answer": f"p{n}", "ok": 1} for n in range(700)]
    rows += [{"query": f"r{n}", "answer": f"p{n}", "ok": 0} for n in range(10)]
    assert "'ok'" in read(rows)
    write_rows("a.jsonl", rows)
    with pytest.raises(UserError, match="for some values of 'ok' only"):
        built_task(Source(source="a.jsonl"), "a")
    (tmp_path / "parts").mkdir()
    for part, value in (("1", 1), ("2", 0)):
        write_rows(f"parts/{part}.jsonl", [{"query": f"q{value}{n}", "answer": f"p{n}", "ok": value} for n in range(3)])
    with pytest.raises(UserError, match="for some values of 'ok' only"):
        built_task(Source(source="parts"), "a")


@pytest.mark.parametrize(
    "extra",
    [
        *({"idx": n} for n in (0,)),
        *({"": n} for n in (0,)),
        {"Unnamed: 0": 0},
        {"chunk_id": 0},
        {"n_words": 0},
        {"always": 1},
        {"year": 0},
    ],
)
def test_numbers_that_judge_nothing_are_not_asked_about(extra: dict[str, int]) -> None:
    ((key, first),) = extra.items()
    rows = [{"query": f"q{n}", "answer": f"p{n}", key: first if key == "always" else n % 3} for n in range(9)]
    made, told = read(rows)
    assert len(made) == 9 and told == [f"not read: {key!r}"]


def test_negatives_or_a_name_say_that_positives_are_positives() -> None:
    triplet = {"query": "q", "positive": "p", "negative": "n"}
    assert read([{**triplet, "score": 3.2}, {**triplet, "score": -1}])[0] == [("q", ["p"], ["n"])] * 2
    assert "'label'" in read([{"query": "q", "positive": "p", "label": n} for n in (0, 1)])
    judged = [{"text": "yes", "is_selected": 1}, {"text": "no", "is_selected": 0}]
    assert read([{"query": "q", "positives": judged}])[0] == [("q", ["yes"], [])]


@pytest.mark.parametrize("nothing", [None, float("nan"), "nan", "", "NULL"])
def test_cells_with_nothing_hide_no_judgement(nothing: object) -> None:
    rows = [{"query": f"q{n}", "document": f"p{n}", "ok": (0, nothing, 1)[n % 3]} for n in range(9)]
    assert "for some values of 'ok' only" in read(rows)
    assert [row[0] for row in read(rows, {"label": "ok"})[0]] == ["q2", "q5", "q8"]
    lists = [{"query": "q", "positive": "p", "neg": cell} for cell in ("['a']", nothing, "['b', 'c']")]
    assert [row[2] for row in read(lists)[0]] == [["a"], [], ["b", "c"]]


def test_a_judgement_behind_rows_that_are_none() -> None:
    rows: list[Any] = [7] * 600 + [{"query": f"q{n}", "document": f"p{n}", "ok": n % 2} for n in range(4)]
    assert "for some values of 'ok' only" in read(rows)


# ---- names

NEGATIVES = [
    *("negative", "Negatives", "hard_negative", "hardNegatives", "hard negatives", "HARD-NEGATIVES", "neg", "negs"),
    *(
        "negative_passages",
        "negative_1",
        "negative1",
        "neg_1",
        "Negative 1",
        "hard_neg",
        "hard_neg_0",
        "bm25_negatives",
    ),
    *("rejected", "rejected_response", "Rejected Responses", "rejected_messages", "distractors", "incorrect_answers"),
    *(
        "negative_messages",
        "hard_negative_ctxs",
        "bm25_negatives",
        "negatives_bm25",
        "mined_negatives",
        "hard_negative_docs",
    ),
]


@pytest.mark.parametrize("name", NEGATIVES)
def test_negatives_under_any_name_are_read(name: str) -> None:
    for positives in ("positive", "answer", "Positive Passages", "response"):
        assert read([{"query": "q", positives: "p", name: ["n", "m"]}]) == ([("q", ["p"], ["n", "m"])], [])


@pytest.mark.parametrize("name", ["pos_scores", "neg_scores", "negative_ids", "positive_id", "negation", "position"])
def test_names_that_only_begin_alike_are_not_read(name: str) -> None:
    assert read([{"query": "q", "positive": "p", name: [0.5]}]) == ([("q", ["p"], [])], [f"not read: {name!r}"])


@pytest.mark.parametrize(
    ("query", "positives"),
    [
        *(("Query", "Positive"), (" query ", "POS"), ("\ufeffquery", "positive_passages"), ("queryText", "pos_1")),
        *(("Question Text", "Answer Text"), ("user-query", "Positive Documents"), ("prompt", "chosen")),
        *(("instruction", "output"), ("title", "text"), ("ＱＵＥＲＹ", "ｐｏｓ")),
    ],
)
def test_case_spaces_and_camel_case_make_no_difference(query: str, positives: str) -> None:
    assert read([{query: "q", positives: "p", "url": "u"}]) == ([("q", ["p"], [])], ["not read: 'url'"])


@pytest.mark.parametrize(
    ("keys", "several"),
    [
        (["query", "question", "positive"], "'query' or 'question'"),
        (["Query", "query", "positive"], "'Query' or 'query'"),
        (["instruction", "input", "output"], "'instruction' or 'input'"),
        (["question", "answer", "context"], "'answer' or 'context'"),
        (["query", "positive", "positives"], "'positive' or 'positives'"),
        (["title", "text", "body"], "'text' or 'body'"),
    ],
)
def test_two_meanings_are_asked_for(keys: list[str], several: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [dict(zip(keys, ("short", "a longer text", "the longest of the texts"), strict=True))]
    assert f"may be {several}" in read(rows) and "columns: {query:" in read(rows)
    for said in asked("a.jsonl", rows, capsys):
        assert several in said and "columns" in said


def test_the_row_that_lacks_its_positive_gets_no_other_column() -> None:
    rows = [{"query": "q", "positive": "p", "document": "d"}] * 3 + [{"query": "r", "document": "d"}]
    assert read(rows) == ([("q", ["p"], [])] * 3, ["not read: 'document'"])


def test_a_column_that_the_user_named_and_that_is_not_there() -> None:
    for what in ("query", "positives", "negatives", "id", "label"):
        question = read([{"query": "q", "positive": "p", "neg": "n"}], {what: "nowhere"})
        assert "'nowhere'" in question and "'neg'" in question
    assert read([{"query": "q", "positive": "p", "neg": "n"}], {"negatives": ""}) == (
        [("q", ["p"], [])],
        ["not read: 'neg'"],
    )


# ---- formats that people have

USER, BOT = ({"role": "user", "content": "q"}, {"role": "assistant", "content": "good"})
BAD = {"role": "assistant", "content": "bad"}
FORMATS: dict[str, tuple[dict[str, Any], tuple[str, list[str], list[str]], list[str]]] = {
    "all-nli triplet": ({"anchor": "q", "positive": "good", "negative": "bad"}, ("q", ["good"], ["bad"]), []),
    "ms marco, mined": (
        {"query": "q", "positive": "good", **{f"negative_{n}": f"bad {n}" for n in (10, 2)}},
        ("q", ["good"], ["bad 2", "bad 10"]),
        [],
    ),
    "natural questions": ({"query": "q", "answer": "good"}, ("q", ["good"], []), []),
    "FlagEmbedding": (
        {"query": "q", "pos": ["good"], "neg": ["bad"], "pos_scores": [1.0], "neg_scores": [0.1], "prompt": "find"},
        ("q", ["good"], ["bad"]),
        ["pos_scores", "neg_scores", "prompt"],
    ),
    "Tevatron": (
        {"query_id": "1", "query": "q", "positive_passages": [{"docid": "1", "title": "T", "text": "good"}]}
        | {"negative_passages": [{"docid": "2", "title": "", "text": "bad"}]},
        ("q", ["T good"], ["bad"]),
        [],
    ),
    "DPR": (
        {"dataset": "nq", "question": "q", "answers": ["a"], "positive_ctxs": [{"title": "T", "text": "good"}]}
        | {"negative_ctxs": [{"title": "R", "text": "random"}], "hard_negative_ctxs": [{"title": "H", "text": "bad"}]},
        ("q", ["T good"], ["H bad"]),
        ["dataset", "answers", "negative_ctxs"],
    ),
    "ms-swift, old": (
        {"query": "q", "response": "good", "rejected_response": ["bad", "worse"]},
        ("q", ["good"], ["bad", "worse"]),
        [],
    ),
    "ms-swift, new": (
        {"messages": [USER], "positive_messages": [[{**USER, "content": "good"}]]}
        | {"negative_messages": [[{**USER, "content": "bad"}], [{**USER, "content": "worse"}]]},
        ("q", ["good"], ["bad", "worse"]),
        [],
    ),
    "ms-swift, DPO": ({"messages": [USER, BOT], "rejected_response": "bad"}, ("q", ["good"], ["bad"]), []),
    "ms-swift, DPO in messages": (
        {"messages": [USER, BOT], "rejected_messages": [USER, BAD]},
        ("q", ["good"], ["bad"]),
        [],
    ),
    "DPO": ({"prompt": "q", "chosen": "good", "rejected": "bad"}, ("q", ["good"], ["bad"]), []),
    "TRL's DPO": ({"prompt": "q", "chosen": [USER, BOT], "rejected": [USER, BAD]}, ("q", ["good"], ["bad"]), []),
    "content in parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, BOT]},
        ("q", ["good"], []),
        [],
    ),
    "SciQ": (
        {"question": "q", "distractor2": "worse", "distractor1": "bad", "correct_answer": "good", "support": "s"},
        ("q", ["good"], ["bad", "worse"]),
        ["support"],
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_that_people_have(name: str) -> None:
    row, expected, unread = FORMATS[name]
    told = [f"not read: {', '.join(map(repr, unread))}"] if unread else []
    assert read([row]) == ([expected], told)
    write_rows("a.jsonl", [row])
    built = built_task(Source(source="a.jsonl"), "a")
    (made,) = built.open().to_list()
    assert (made["query"], made["positives"], made["negatives"]) == expected and built.unread == unread
    assert list(columns_of("a.jsonl", {}).unread) == unread


@pytest.mark.parametrize(
    "row",
    [
        {"premise": "q", "hypothesis": "text", "label": 0},  # all-nli, pair-class
        {"sentence1": "q", "sentence2": "text", "score": 0.5},  # STS
        {"id": "1", "qid1": "2", "qid2": "3", "question1": "q", "question2": "text", "is_duplicate": "0"},  # Quora
        {"id": "1", "title": "t", "context": "long text", "question": "q?", "answers": {"text": ["x"]}},  # SQuAD
        {"instruction": "q", "input": "x", "output": "text"},  # Alpaca
        {"query": "q", "docs": ["a", "b"], "labels": [1, 0]},  # labelled lists
        {"query": "q", "passages": {"is_selected": [1], "passage_text": ["a"]}, "answers": ["x"]},  # MS MARCO
    ],
)
def test_formats_that_do_not_say_it_are_asked_about(row: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    for said in asked("a.jsonl", [row, row], capsys):
        assert "columns" in said and len(said.splitlines()) < 12


def test_a_conversation_of_several_questions_is_dropped() -> None:
    again = {"messages": [USER, BOT, {**USER, "content": "and"}, BOT]}
    assert read([{"messages": [USER, BOT]}, again])[0] == [("q", ["good"], [])]


# ---- what was not read


def test_every_command_says_what_was_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": n, "question": f"q{n}", "answer": f"p{n}", "url": "u", "lang": "de"} for n in range(3)]
    for name in ("faq.jsonl", "faq.csv", "faq.parquet"):
        write_rows(name, rows)
        recipe("faq", name)
        for command in (["check", name], ["describe", name], ["check", "r.yaml"], ["build", "r.yaml"]):
            for _ in range(2):  # the second time nothing is built
                assert main(["data", *command]) == 0
                assert "faq: not read: 'url', 'lang'\n" in capsys.readouterr().out
        assert "not read: 'url', 'lang'" in columns_of(name, {}).summary


def test_many_columns_are_allparse_columns() -> None:
    rows = [{"query": "q", "positive": "p", **{f"c{n}": "x" for n in range(80)}}]
    assert all(f"'c{n}'" in read(rows)[1][0] for n in range(80))


def mixture(rows: list[dict[str, Any]]) -> str:
    """A mixture's folder with one task."""
    Path("m").mkdir(exist_ok=True)
    write_rows("m/a.jsonl", rows)
    Path("m/mixture.json").write_text('{"format": "tdro-mixture/1", "tasks": [{"name": "a", "file": "a.jsonl"}]}')
    return "m"


def test_a_mixture_says_it_too_and_refuses_other_negatives(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"query": "q", "positives": ["p"], "url": "u"}
    for command in ("describe", "check"):
        assert main(["data", command, mixture([row])]) == 0
        assert "a: not read: 'url'" in capsys.readouterr().out
    for wrong, message in (
        ([{"query": "q", "positives": ["p"], "neg": ["n"]}], "no key 'negatives'; did you mean it by 'neg'?"),
        ([{"query": "q", "positives": ["p"], "label": n} for n in (0, 1)], "key 'label' judges the rows"),
    ):
        assert main(["data", "describe", mixture(wrong)]) == 2
        assert message in capsys.readouterr().err
        assert main(["data", "check", "--strict", "m"]) == 1
        said = capsys.readouterr().out
        assert message in said and "refused" in said
