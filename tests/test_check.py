"""Checking data: every problem with its file and line, what is done, the numbers of a task, and the command."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiny_mixture
from tdro.cli import main
from tdro.data.quality.bad_rows import bad_rows_file
from tdro.data.quality.check import check_files
from tdro.data.quality.check_table import check_text
from tdro.data.quality.outliers import odd_lengths, odd_ones, repeated
from tdro.data.quality.scripts import script_of
from tdro.data.read.problem import Problem
from tdro.errors import UserError
from tdro.files import read_jsonl

WORDS = ["river", "border", "castle", "bread", "cloud", "engine", "garden", "harbour", "island", "journey"]


def row(number: int, **changes):
    """A row that fits its task."""
    words = random.Random(number)
    query = " ".join(words.choices(WORDS, k=4))
    return {
        "query": f"{query} {number}",
        "positives": [" ".join(words.choices(WORDS, k=15))],
        "negatives": [],
        **changes,
    }


def rows(count: int):
    return [row(number) for number in range(count)]


def put(path, lines) -> str:
    """A JSONL file of these values and raw lines."""
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(path)


def problems(report):
    return [(p.line, p.kind, p.action) for shown in report.shown.values() for p in shown]


def test_good_rows_are_only_counted(tmp_path):
    report = check_files([put(tmp_path / "good.jsonl", rows(60))], batch=60)
    assert report.clean
    (task,) = report.tasks
    assert (task.name, task.read, task.kept, task.repaired, task.dropped, task.duplicates) == ("good", 60, 60, 0, 0, 0)
    assert task.query_characters == np.median([len(row(number)["query"]) for number in range(60)])
    assert max(task.positive_languages, key=task.positive_languages.__getitem__) == "en"


def test_each_problem_has_file_line_and_what_is_done(tmp_path):
    lines = [*rows(3), "nonsense", row(5, query=None), row(6, query=" x "), [1], row(8, positives=["p", None])]
    path = put(tmp_path / "bad.jsonl", lines)
    report = check_files([path])
    assert problems(report) == [
        (4, "not-json", "dropped"),
        (5, "null", "dropped"),
        (8, "null", "repaired"),
        (6, "whitespace", "repaired"),
        (7, "not-an-object", "dropped"),
    ]
    assert all(problem.file == path for shown in report.shown.values() for problem in shown)
    (task,) = report.tasks
    assert (task.read, task.kept, task.repaired, task.dropped) == (8, 5, 2, 3)


def test_the_same_query_again_names_the_first(tmp_path):
    first = put(tmp_path / "a.jsonl", [row(0), row(1, query="What is this?"), row(2), row(3, query="what is  THIS")])
    report = check_files([first])
    assert problems(report) == [(4, "duplicate-query", "kept")]
    assert report.shown["duplicate-query"][0].message == "the same query as line 2"
    assert report.tasks[0].duplicates == 1


def test_the_same_query_in_another_file_of_the_task(tmp_path):
    (tmp_path / "task").mkdir()
    first = put(tmp_path / "task" / "1.jsonl", rows(2))
    put(tmp_path / "task" / "2.jsonl", [row(7), row(1)])
    report = check_files([str(tmp_path / "task")])
    assert report.shown["duplicate-query"][0].message == f"the same query as {first}, line 2"
    assert [task.name for task in report.tasks] == ["task"]


def test_another_script_or_length_than_the_tasks(tmp_path):
    lines = rows(200)
    lines[50]["query"] = "когда построили эту крепость"
    lines[60]["positives"] = ["这座城堡是什么时候建造的，又是谁下令建造的"]
    lines[70]["positives"] = ["word" * 900]
    found = problems(check_files([put(tmp_path / "task.jsonl", lines)]))
    assert found == [(51, "odd-script", "kept"), (61, "odd-script", "kept"), (71, "odd-length", "kept")]


def test_another_language_than_the_tasks(tmp_path):
    lines = rows(1100)
    for number, line in enumerate(lines):
        line["query"] = f"Where can one read about the {WORDS[number % 10]} of the old town, part {number}?"
        line["positives"] = [f"Part {number}: the {WORDS[number % 9]} is one of the oldest in this country."]
    lines[40]["query"] = "Wo kann man etwas über die alte Brücke in der Stadt nachlesen?"
    lines[1050]["positives"] = ["Los visitantes pueden subir a la torre todos los días."]
    lines[60]["query"] = "когда построили эту крепость и кто приказал её построить"  # its script says it already
    lines[70]["query"] = "Alte Brücke"  # too short to be sure
    report = check_files([put(tmp_path / "task.jsonl", lines)])
    assert problems(report) == [
        (61, "odd-script", "kept"),
        (41, "odd-language", "kept"),
        (1051, "odd-language", "kept"),
    ]
    messages = [problem.message for problem in report.shown["odd-language"]]
    assert messages[0] == "the language of the query is de, of nearly all others en"
    assert messages[1] == "the language of the positive is es, of nearly all others en"
    assert report.tasks[0].positive_languages["en"] > 0.99
    assert "characters  languages" in check_text(report) and "en / en" in check_text(report)


def test_languages_of_a_large_task_are_from_a_sample_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("tdro.data.quality.row_facts.LANGUAGE_ROWS", 100)
    lines = [
        row(number, query=f"Where can one read about the {WORDS[number % 10]}, part {number}?") for number in range(300)
    ]
    lines[8]["query"] = "Wo kann man etwas über die alte Brücke in der Stadt nachlesen?"  # every fourth row is read
    lines[9]["query"] = "Wo kann man etwas über die alte Mauer in der Stadt nachlesen?"
    report = check_files([put(tmp_path / "task.jsonl", lines)])
    assert problems(report) == [(9, "odd-language", "kept")]
    assert (report.tasks[0].language_rows, report.tasks[0].kept) == (75, 300)
    text = check_text(report)
    assert "odd-language: 1 kept, in a sample of 75 of 300 rows\n" in text
    assert text.endswith("evenly spread rows a task")


def test_mixed_languages_and_short_texts_are_not_odd(tmp_path):
    lines = rows(200)
    for number in range(0, 200, 10):
        lines[number]["query"] = f"когда построили крепость {number}"
    lines[1]["query"] = "π + π = 2 × π"
    lines[2]["query"] = "one two"
    assert check_files([put(tmp_path / "task.jsonl", lines)]).clean


def test_a_task_smaller_than_a_batch_and_one_without_rows(tmp_path):
    small, empty = put(tmp_path / "small.jsonl", rows(5)), put(tmp_path / "empty.jsonl", [])
    assert problems(check_files([small, empty], batch=8)) == [
        (None, "small-task", "kept"),
        (None, "no-rows", "refused"),
    ]
    assert check_files([small], batch=5).clean
    assert check_files([small]).clean


def test_a_mixture_is_checked_as_strictly_as_it_is_read(tmp_path):
    tiny_mixture.mixture(tmp_path, tasks=2)
    assert check_files([str(tmp_path)]).clean
    path = tmp_path / "train" / "task1.jsonl"
    with path.open("a") as file:
        file.write('{"query": " q", "positives": ["q"]}\n{"anchor": "q", "positive": "p"}\n')
    report = check_files([str(tmp_path)])
    assert [task.name for task in report.tasks] == ["task0", "task1"]
    assert problems(report) == [
        (25, "whitespace", "kept"),
        (25, "positive-is-query", "kept"),
        (26, "unknown-columns", "refused"),
    ]


def test_a_recipe_says_the_columns_the_tasks_and_the_batch(tmp_path):
    path = put(tmp_path / "rows.jsonl", [{"title": f"q{n}", "body": f"p{n}", "query": ""} for n in range(5)])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: r\nbase: {kind: encoder, source: minilm}\nreference: {batch: 4}\nfinetune: [{name: main, batch: 6}]\n"
        f"data:\n  sources:\n    mine: {{source: {path}, columns: {{query: title, positives: body}}}}\n"
        f"    other: {path}\n  tasks: [mine]\n"
    )
    report = check_files([str(recipe)])
    assert [(task.name, task.kept) for task in report.tasks] == [("mine", 5)]
    assert problems(report) == [(None, "small-task", "kept")]


def test_other_formats(tmp_path):
    (tmp_path / "t.csv").write_text("query,positive\nq1,p1\n,p2\n")
    assert [(line, action) for line, _, action in problems(check_files([str(tmp_path / "t.csv")]))] == [(3, "dropped")]


@pytest.mark.parametrize("path", ["none.jsonl", "no/such/folder/", "recipe.yaml", "x\0y.jsonl"])
def test_what_is_not_there_is_named(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no such file|cannot be opened"):
        check_files([path])


def test_only_the_first_of_a_kind_are_shown_and_the_rest_is_counted(tmp_path):
    report = check_files([put(tmp_path / "t.jsonl", ["no"] * 30)])
    text = check_text(report)
    assert len(report.shown["not-json"]) == 5
    assert report.kinds == {"not-json": {"dropped": 30}, "no-rows": {"refused": 1}}
    assert "not-json: 30 dropped" in text
    assert "and 25 more" in text
    assert f"{tmp_path / 't.jsonl'}, line 3: not JSON" in text


def test_the_command_and_its_exit_status(tmp_path, capsys):
    good, bad = put(tmp_path / "good.jsonl", rows(3)), put(tmp_path / "bad.jsonl", ["no", row(1)])
    assert (
        main(["data", "check", good]) == main(["data", "check", good, "--strict"]) == main(["data", "check", bad]) == 0
    )
    assert "nothing wrong" in capsys.readouterr().out
    assert main(["data", "check", good, bad, "--strict"]) == 1
    out = capsys.readouterr().out
    assert f"{bad}, line 1: not JSON" in out
    assert [line.split()[:5] for line in out.splitlines() if line.startswith(("good ", "bad "))] == [
        ["good", "3", "3", "0", "0"],
        ["bad", "2", "1", "0", "1"],
    ]
    assert main(["data", "check", str(tmp_path / "none.jsonl")]) == 2


def test_all_bad_rows_go_to_a_file_that_is_never_overwritten_unasked(tmp_path, capsys):
    lines = ["no"] * 9 + [row(9, query=" q "), row(10), row(11, score=float("nan"))]
    bad = put(tmp_path / "bad.jsonl", lines)
    target = tmp_path / "out" / "problems.jsonl"
    assert main(["data", "check", bad, "--bad-rows", str(target)]) == 0
    found = read_jsonl(target)
    assert [(p["file"], p["line"], p["kind"]) for p in found] == [
        *((bad, line, "not-json") for line in range(1, 10)),
        (bad, 10, "whitespace"),
        (bad, 12, "not-finite"),
    ]
    assert found[9]["row"] == lines[9]
    assert f"and 4 more in {target}" in capsys.readouterr().out
    before = target.read_bytes()
    assert main(["data", "check", put(tmp_path / "b.jsonl", ["x"]), "--bad-rows", str(target)]) == 2
    assert target.read_bytes() == before
    assert "--force" in capsys.readouterr().err
    assert main(["data", "check", str(tmp_path / "b.jsonl"), "--bad-rows", str(target), "--force"]) == 0
    assert [p["kind"] for p in read_jsonl(target)] == ["not-json", "no-rows"]
    for data in (tmp_path / "b.jsonl", target.parent):  # what is checked is not overwritten, nor added to
        assert main(["data", "check", str(data), "--bad-rows", str(data if data.is_file() else target), "--force"]) == 2
    assert (tmp_path / "b.jsonl").read_text().strip() == "x"
    assert [path.name for path in target.parent.iterdir()] == ["problems.jsonl"]


def test_a_row_that_is_nested_as_deep_as_can_be_read(tmp_path):
    lines = ['{"query": "q", "positives": ' + "[" * depth + "NaN" + "]" * depth + "}" for depth in range(1, 1500, 10)]
    target = tmp_path / "problems.jsonl"
    assert main(["data", "check", put(tmp_path / "deep.jsonl", lines), "--bad-rows", str(target)]) == 0
    assert {problem["line"] for problem in read_jsonl(target)} == {None, *range(1, 151)}


def test_a_check_that_fails_leaves_no_file(tmp_path):
    target = tmp_path / "out" / "problems.jsonl"
    assert main(["data", "check", str(tmp_path / "none.jsonl"), "--bad-rows", str(target)]) == 2
    assert list(target.parent.iterdir()) == []


def test_names_in_the_data_are_neither_paths_nor_terminal_codes(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    evil = "../../escaped\x1b[2J"
    lines = [row(1, id=evil), {evil: 1}, row(3, **{evil: float("nan")}), '{"' + "\\u001b[2J" + '": 1, "\\u001b[2J": 2}']
    path = put(tmp_path / "work" / "rows.jsonl", lines)
    main(["data", "check", path, "--bad-rows", str(tmp_path / "work" / "bad.jsonl")])
    assert "\x1b" not in capsys.readouterr().out
    assert "\x1b" not in (tmp_path / "work" / "bad.jsonl").read_text()
    written = {file.name for file in tmp_path.rglob("*") if file.is_file() and "cache" not in file.parts}
    assert written == {"rows.jsonl", "bad.jsonl"}
    assert not any("escaped" in str(file) for file in tmp_path.parent.rglob("*"))


def test_the_command_line_stays_light():
    code = (
        "import sys, tdro.commands.parser as commands; commands.command_line(); "
        "print([name for name in ('torch', 'datasets', 'pyarrow', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@given(st.lists(st.integers(-3, 3), max_size=20))
def test_repeated_is_every_row_that_has_been_before(values):
    found, first = repeated(np.array(values, dtype=np.int64))
    assert found.tolist() == [place for place, value in enumerate(values) if value in values[:place]]
    assert first.tolist() == [values.index(values[place]) for place in found.tolist()]


def test_odd_needs_a_task_to_fall_out_of():
    assert odd_lengths(np.array([5] * 40 + [10_000])).tolist() == []
    assert odd_lengths(np.array([5] * 60 + [10_000, 1, 39])).tolist() == [60]
    spread = np.exp(np.random.default_rng(0).normal(5, 1.5, 10_000)).astype(int) + 1
    assert odd_lengths(spread).tolist() == []
    assert odd_ones(np.array([1] * 97 + [2] * 3))[0].tolist() == []
    assert odd_ones(np.array([1] * 99 + [2, 0]))[0].tolist() == [99]


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("", ""),
        ("12 + 3", ""),
        ("Hello, Ωmega 3", "Latin"),
        ("ｆｕｌｌ width", "Latin"),
        ("привет", "Cyrillic"),
        ("日本語です", "Japanese"),
        ("中文", "Han"),
        ("한국어", "Hangul"),
        ("สวัสดี", "Thai"),
        ("iPhone 多少钱", ""),
    ],
)
def test_scripts(text, script):
    assert script_of(text) == script


# What a line may be, and what must be said of it: nothing, for an empty kind.
LINES = st.sampled_from(
    [
        *((json.dumps(row(number)), "") for number in range(5)),
        ("", ""),
        ('{"query": "日本 😀", "positives": ["é"]}', ""),
        ('{"query": "q", "positives": ["p"]', "not-json"),
        ("\0\0\0", "not-json"),
        ('\0{"query": "q", "positives": ["p"]}', "not-json"),
        ('{"query": "q\0", "positives": ["p"]}', "control-character"),
        ('{"query": "q", "positives": ["p"], "n": 1e999}', "not-finite"),
        ('{"query": -Infinity, "positives": ["p"]}', "null"),
        ('{"query": "q", "positives": ["p"], "n": ' + "7" * 5000 + "}", "huge-number"),
        ("[" * 100_000, "nested-too-deep"),
        ('{"query": "q", "positives": ' + "[" * 500 + '"p"' + "]" * 500 + "}", "wrong-type"),
        ('{"query": "q", "query": "r", "positives": ["p"]}', "duplicate-key"),
        ('{"query": "\\ud83d", "positives": ["p"]}', "surrogate"),
        ('{"query": 12, "positives": ["p"]}', "wrong-type"),
        ('{"query": "q", "positives": {}}', "no-positive"),
        ('{"query": "q", "positives": ["p", "p"]}', "duplicate-text"),
        ("[[[[1]]]]", "not-an-object"),
        ("null", "not-an-object"),
        ("1e999", "not-an-object"),
    ]
)
ANYTHING = st.binary(max_size=40).map(lambda raw: raw.decode("latin-1"))
LONG = st.just(('{"query": "q", "positives": ["' + "long " * 2_000_000 + '"]}', "overlong"))


@st.composite
def files(draw, lines):
    """A file's bytes, and (line, kind) of all that must be said; None where the file may break off anywhere."""
    chosen = draw(st.lists(lines, max_size=8))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"]))
    if chosen and not chosen[0][0].startswith("{"):
        encoding = "utf-8"  # what is no row tells no encoding
    content = "".join(line + end for line, _ in chosen).encode(encoding)  # a last line without end may be cut
    expected = [(number, kind) for number, (_, kind) in enumerate(chosen, 1) if kind]
    if draw(st.booleans()):
        content = gzip.compress(content)
        if draw(st.booleans()):
            return content[: draw(st.integers(2, len(content) - 1))], None
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(content)))
        return content[:at] + draw(st.binary(max_size=9)) + content[at + draw(st.integers(0, 9)) :], None
    return content, expected


def is_examined(path, made) -> None:
    """No traceback; every row is kept or named by file and line; what is known to be wrong is said."""
    content, expected = made
    path.write_bytes(content)
    with bad_rows_file(path.with_suffix(".problems"), force=True) as sink:
        try:
            report = check_files([str(path)], sink=sink)
        except UserError as error:  # chance, or hypothesis, made a Parquet file's first bytes
            assert expected is None and str(path) in str(error)
            return
    said = [
        Problem(**{key: value for key, value in p.items() if key != "row"})
        for p in read_jsonl(path.with_suffix(".problems"))
    ]
    (task,) = report.tasks
    assert task.read == task.kept + task.dropped
    lost = {problem.line for problem in said if problem.action == "dropped"}
    assert len(lost) == task.dropped
    assert {problem.file for problem in said if problem.line is not None} <= {str(path)}
    assert all(problem.line is None or problem.line >= 1 for problem in said)
    assert all(problem.message and problem.message.isprintable() for problem in said)
    found = {(problem.line, problem.kind) for problem in said}
    if expected is None:
        return
    assert set(expected) <= found
    wrong = {line for line, _ in expected}
    others = {line for line, kind in found if kind not in ("duplicate-query", "no-rows", "small-task")}
    assert others == wrong


@settings(max_examples=100)
@given(made=files(LINES))
def test_malformed_files(tmp_path_factory, made):
    is_examined(tmp_path_factory.getbasetemp() / "malformed.jsonl", made)


@pytest.mark.slow
@settings(max_examples=5000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(made=files(st.integers(0, 99).flatmap(lambda n: LONG if n == 0 else LINES)))
def test_malformed_files_5000_times(tmp_path_factory, made):
    is_examined(tmp_path_factory.getbasetemp() / "malformed.jsonl", made)
