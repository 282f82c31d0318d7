"""Random columns, names and cells: no row is trained on that a plain reading would not give.

The plain reading is written down here a second time, slowly and without looking at how tdro does it: which texts a cell
may mean, which columns may hold what, and when one must ask. Everything that is read must be one of these, and every
column that is not read must be named.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdro.data.read.reader import Reader, notes
from tdro.data.read.sources import Part

QUERY = {"query", "question", "anchor", "questiontext", "prompt"}
POSITIVE = {"positive", "positives", "pos", "positivepassages", "chosen"}
ANSWER = {"answer", "response", "passage", "document", "sentence2"}
NEGATIVE = {"negative", "negatives", "neg", "hardnegatives", "rejectedresponse", "hardneg"}
OTHER = {"url", "lang", "label", "isduplicate", "relevance", "y", "gold", "posscores", "whatever", "id", "index"}
SIDES = {"query": QUERY, "positives": POSITIVE | ANSWER, "negatives": NEGATIVE}
WORDS = ["nan", "None", "NULL", "#N/A", "\\N", "<NA>", "N/A"]
NOTHING = {"", "[]", *WORDS}
TEXTS = ["what do limpets eat", "algae off rocks", "they sleep on the wing", "paint, by mistake", 'it\'s "so"', "Café"]
# A text in quotes, and the spaces before the next one, if that follows at once.
LITERAL = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(\s+(?=['"]))?""")
PARTS = {
    **{"questiontext": ("question", "text"), "positivepassages": ("positive", "passages")},
    **{"hardnegatives": ("hard", "negatives"), "rejectedresponse": ("rejected", "response")},
    **{"hardneg": ("hard", "neg"), "isduplicate": ("is", "duplicate"), "posscores": ("pos", "scores")},
}


def spelled(name: str, how: int) -> str:
    """A column's name as people write it."""
    parts = PARTS.get(name, (name,))
    return [
        "_".join(parts),
        " ".join(parts).title(),
        parts[0] + "".join(map(str.title, parts[1:])),
        "-".join(parts).upper(),
        f" {'_'.join(parts)} ",
        "_".join(parts) + ("_1" if name in POSITIVE | NEGATIVE else ""),
    ][how]


def plain(name: str) -> str:
    """A column's name without what people write differently."""
    letters = re.sub(r"[^a-z0-9]", "", name.lower())
    return letters if letters == "sentence2" else re.sub(r"\d+$", "", letters)


def meanings(cell: Any, kept: bool) -> set[str]:
    """All texts that a cell of passages may mean; the text of a list may be ``kept`` as one where that is told."""
    if isinstance(cell, str):
        texts = listed(cell.strip())
        found = {cell.strip()} if kept or not texts else set()
        return (found | texts) - NOTHING
    if isinstance(cell, list):
        return set().union(*(meanings(item, True) for item in cell))
    if isinstance(cell, dict):
        texts = {value for key, value in cell.items() if key in ("text", "segment", "body", "contents") and value}
        title = cell["title"].strip() if isinstance(cell.get("title"), str) else ""
        titles = {"", title} - {*WORDS}
        alone = {title} - NOTHING if cell.get("text") is not None and not cell["text"].strip() else set()
        return alone | {f"{title} {text}".strip() for title in titles for one in texts for text in meanings(one, True)}
    return set()


def listed(text: str) -> set[str]:
    """The texts in the text of a list, as Python, JSON or NumPy write it."""
    if not re.match(r"[\[{]", text):
        return set()
    with_commas = LITERAL.sub(lambda found: found[1] + ("," if found[2] else ""), text)  # NumPy writes none
    for parse in (json.loads, ast.literal_eval):
        try:
            return meanings(parse(with_commas), True)
        except (ValueError, SyntaxError):
            continue
    return set()


def judges(rows: list[dict[str, Any]], key: str) -> bool:
    """Whether a column holds yes and no, or grades that differ, and nothing else."""
    words = {"true": "1", "false": "0"}
    values = [str(row[key]).strip() for row in rows if row.get(key) is not None]
    try:
        grades = {float(words.get(value.lower(), value)) for value in values if value not in NOTHING}
    except ValueError:
        return False
    return len(grades) > 1 and all(0 <= grade <= 5 for grade in grades) and plain(key) not in ("id", "index")


TEXT = st.sampled_from([*TEXTS, *TEXTS, *WORDS, "", " ", "[]"])
KEYS = ("title", "text", "segment", "body", "abc")
OBJECT = st.fixed_dictionaries({}, optional={key: TEXT | st.none() for key in KEYS})
LIST = st.lists(st.sampled_from(TEXTS), max_size=3)
WRITTEN = LIST.map(str) | LIST.map(json.dumps) | LIST.map(lambda texts: f"[{' '.join(map(repr, texts))}]")
NUMBER = st.sampled_from([0, 1, 2, 0.5, 17, 2019, True, False, float("nan")])
GRADE = st.sampled_from([0, 1]) | st.booleans() | st.sampled_from(["0", "1", "true", "false", 0.25, 3])
CELLS = {
    "texts": st.one_of(TEXT, TEXT, TEXT, st.none()),
    "mixed": st.one_of(TEXT, LIST, OBJECT, st.lists(OBJECT, max_size=2), WRITTEN, NUMBER, st.none()),
    "lists": LIST,
    "objects": st.lists(OBJECT, max_size=3),
    "written": WRITTEN,
    "grades": GRADE,
    "numbers": NUMBER,
}


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows of a file: a few columns, each with cells of one kind; in most tables there are a query and an answer."""
    names = draw(st.sets(st.sampled_from(sorted(QUERY | POSITIVE | ANSWER | NEGATIVE | OTHER)), max_size=4))
    names |= draw(st.sampled_from([set(), {"query", "answer"}, {"query", "positive"}, {"question", "document"}]))
    columns: dict[str, Any] = {}
    for name in sorted(names):
        kinds = ["texts", "texts", "mixed"] if name in QUERY else list(CELLS)
        kinds = ["grades", "grades", "numbers", "texts"] if name in OTHER else kinds
        columns[spelled(name, draw(st.integers(0, 5)))] = CELLS[draw(st.sampled_from(kinds))]
    row = st.fixed_dictionaries({}, optional=columns) | st.fixed_dictionaries(columns)
    rows = draw(st.lists(row, min_size=1, max_size=6))
    return [row for row in rows if row] or [dict.fromkeys(columns or ["query"])]


@st.composite
def ordinary(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[tuple[str, list[str], list[str]]]]:
    """Rows with one query, one column of positives and perhaps one of negatives; and what they plainly mean."""
    how = [draw(st.integers(0, 5)) for _ in range(4)]
    query, positives = (draw(st.sampled_from(sorted(names))) for names in (QUERY, POSITIVE | ANSWER))
    negatives = draw(st.sampled_from(["", *sorted(NEGATIVE)]))
    passages = [f"passage {n}" for n in range(9)]
    write: Any = draw(st.sampled_from([list, str, json.dumps, lambda texts: f"[{' '.join(map(repr, texts))}]"]))
    rows, meant = [], []
    for number in range(draw(st.integers(2, 5))):
        some = draw(st.lists(st.sampled_from(passages), min_size=2, max_size=4, unique=True))
        row = {spelled(query, how[0]): f"query {number}", spelled(positives, how[1]): write(some[:1])}
        if negatives:
            row[spelled(negatives, how[2])] = write(some[1:])
        row[spelled("url", how[3])] = f"http://x/{number}"
        rows.append(row)
        meant.append((f"query {number}", some[:1], some[1:] if negatives else []))
    return rows, meant


def as_csv(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows as a CSV file has them: texts and nothing."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    file = io.StringIO()
    csv.DictWriter(file, keys).writerows(rows)
    file.seek(0)
    return [{key: cell or None for key, cell in zip(keys, row, strict=True)} for row in csv.reader(file) if row]


def part(file: str, rows: list[dict[str, Any]]) -> Part:
    """A file of these rows."""
    return Part(file, lambda *_: ((line, line, row) for line, row in enumerate(rows, 1)))


def is_plainly_read(rows: list[dict[str, Any]], file: str) -> None:
    """Compare what a reader makes of rows with the plain reading."""
    reader = Reader(None)
    if reader.open(part(file, rows)):
        return
    made = [reader.row(row, line) for line, row in enumerate(rows, 1)]
    if reader.end() or reader.layout is None:
        return
    told = " ".join(notes(list(reader.unread.seen), reader.lists))
    for raw, (row, problems) in zip(rows, made, strict=True):
        assert row or problems  # nothing is dropped silently
        if row:
            kept = any(problem.kind == "list-like" for problem in problems)
            sides = {side: [key for key in raw if plain(key) in names] for side, names in SIDES.items()}
            may = {side: set().union(*(meanings(raw[key], kept) for key in keys)) for side, keys in sides.items()}
            assert row.query in may["query"]
            assert {*row.positives} <= may["positives"] and {*row.negatives} <= may["negatives"]
            read = {*sides["negatives"], reader.layout.query, *reader.layout.positives, reader.layout.id}
            assert all(key in read or ascii(key) in told for key in raw)
            if not problems:
                assert {*row.negatives} == may["negatives"]
    trained = [raw for raw, (row, _) in zip(rows, made, strict=True) if row]
    assert not trained or any(map(has_one_query, rows))
    keys = {key: plain(key) for raw in trained for key in raw}
    if not {*keys.values()} & (POSITIVE | NEGATIVE):
        assert not trained or not any(judges(rows, key) for key, name in keys.items() if name in OTHER)


def has_one_query(row: dict[str, Any]) -> bool:
    """Whether a row says which of its columns is the query; a prompt beside a query is an instruction."""
    queries = [plain(key) for key in row if plain(key) in QUERY]
    return len(queries) == 1 or sorted(queries) == ["prompt", "query"]


def check(rows: list[dict[str, Any]]) -> None:
    """In both kinds of files."""
    is_plainly_read(rows, "a.jsonl")
    is_plainly_read(as_csv(rows), "a.csv")


@settings(max_examples=150, derandomize=True)  # the slow one below looks elsewhere each time
@given(tables())
def test_no_row_is_trained_on_that_a_plain_reading_would_not_give(rows: list[dict[str, Any]]) -> None:
    check(rows)


@settings(max_examples=60, derandomize=True)
@given(ordinary())
def test_what_is_plain_is_read(made: tuple[list[dict[str, Any]], list[tuple[str, list[str], list[str]]]]) -> None:
    rows, meant = made
    for file, values in (("a.jsonl", rows), ("a.csv", as_csv(rows))):
        reader = Reader(None)
        assert reader.open(part(file, values)) is None
        assert [tuple(reader.row(row, line)[0] or ())[1:] for line, row in enumerate(values, 1)] == meant
        assert reader.end() is None and [*map(plain, reader.unread.seen)] == ["url"]


@pytest.mark.slow
@settings(max_examples=10_000)
@given(tables())
def test_no_row_is_trained_on_that_a_plain_reading_would_not_give_10000_times(rows: list[dict[str, Any]]) -> None:
    check(rows)
