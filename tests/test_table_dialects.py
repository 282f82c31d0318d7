"""CSV and TSV as programs and people write them: texts come out as they were, or the file is refused by its line."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tdro.cli import main
from tdro.data.mixtures.build import built_task
from tdro.data.read import dialect
from tdro.data.read.problem import Problem
from tdro.data.read.tables import table_rows
from tdro.errors import UserError
from tdro.recipe.data_sections import Source

HEADER = ["query", "positive", "negative"]
PANDAS = [  # what `DataFrame.to_csv(sep="\t")` puts into quotes
    ['what does "hot take" mean', 'A "hot take" is a quick, provocative opinion.', "An oven mitt."],
    ["where is the setting", "Under Settings,\nthen Privacy.", 'In the "About" box.'],
    ["plain question", "A plain answer without anything.", "Another text."],
    ["how to write a tab", "Press\tTab.", "No key."],
]


def written(rows: list[list[str]], delimiter: str = "\t", **keys: Any) -> str:
    """What Python's csv module, which pandas writes by, makes of the rows."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n", **keys).writerows(rows)
    return text.getvalue()


def read(path: Path, content: str | bytes) -> tuple[list[list[Any]], list[Problem]]:
    """The cells of the rows that are read, and the problems."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    values = [value for _, _, value in table_rows(path, "," if path.suffix == ".csv" else "\t")]
    return (
        [list(value.values()) for value in values if isinstance(value, dict)],
        [value for value in values if isinstance(value, Problem)],
    )


def refused(problems: list[Problem]) -> tuple[int | None, str]:
    """Line and kind of the one problem, which ends the file."""
    (problem,) = (problem for problem in problems if problem.action == "refused")
    assert problem is problems[-1]
    return problem.line, problem.kind


# ---- written by programs


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "semicolons.csv", "bars.csv"])
def test_what_a_program_wrote_is_what_is_read(tmp_path: Path, name: str, quoting: int, end: str) -> None:
    delimiter = {"a.tsv": "\t", "a.csv": ",", "semicolons.csv": ";"}.get(name, "|")
    content = written([HEADER, *PANDAS], delimiter, quoting=quoting)
    rows = [[cell.replace("\n", end) for cell in row] for row in PANDAS]
    assert read(tmp_path / name, content.replace("\n", end)) == (rows, [])


def test_pandas_itself(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(PANDAS, columns=HEADER)
    for name, keys in {
        "a.tsv": {"sep": "\t"},
        "b.tsv": {"sep": "\t", "quoting": csv.QUOTE_ALL},
        "c.tsv": {"sep": "\t", "escapechar": "\\", "doublequote": False},
        "d.csv": {"sep": ";"},
        "e.csv": {"encoding": "utf-16"},
    }.items():
        frame.to_csv(tmp_path / name, index=False, **keys)
        assert read(tmp_path / name, (tmp_path / name).read_bytes()) == (PANDAS, []), name


@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
def test_quotes_that_are_escaped_by_a_backslash(tmp_path: Path, delimiter: str) -> None:
    rows = [["plain", "a", "b"], ['say "hi"', f'"one{delimiter}two"', r"C:\temp"], [r"\n is \\ text", 'x\n"y"', ""]]
    content = delimiter.join(HEADER) + "\n"
    for row in rows:
        cells = [cell.replace("\\\\", "\\\\\\\\").replace('"', '\\"') for cell in row]
        content += delimiter.join(f'"{cell}"' for cell in cells) + "\n"
    found, problems = read(tmp_path / ("a.tsv" if delimiter == "\t" else "a.csv"), content)
    assert (found, problems) == ([[cell or None for cell in row] for row in rows], [])


def test_a_backslash_before_the_quote_that_closes_is_a_character_where_quotes_are_doubled(tmp_path: Path) -> None:
    rows = [["what is a, b", 'say "x"', "C:\\"], ["q2", "p2", "n2"]]
    content = written([HEADER, *rows], ",", quoting=csv.QUOTE_ALL)
    assert '"C:\\"\n' in content
    assert read(tmp_path / "a.csv", content) == (rows, [])


def test_excel(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", "sep=;\nquery;positive\nq;p, and more\n") == ([["q", "p, and more"]], [])
    text = 'query\tpositive\nwho\t"me, and you"\nwhen\tnow\nwhere\t"here, there"\n'  # quotes where there is a comma
    expected = [["who", "me, and you"], ["when", "now"], ["where", "here, there"]]
    assert read(tmp_path / "a.tsv", text) == (expected, [])
    assert read(tmp_path / "b.tsv", b"\xff\xfe" + text.encode("utf-16-le")) == (expected, [])
    assert read(tmp_path / "c.tsv", b"\xef\xbb\xbf" + text.encode()) == (expected, [])


def test_a_csv_file_that_has_tabs(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", "query\tpositive\nq, r\tp\n") == ([["q, r", "p"]], [])
    assert read(tmp_path / "a.tsv", 'query,positive\n"q\tr",p\n') == ([["q\tr", "p"]], [])


# ---- plain lines, in which a quote is a character


RAW = [
    ["who", '"Deep" is a word.'],
    ['what is a 5" pipe', "a tube"],
    ['"', "a lone quote"],
    ["when", '"We came'],
    ["where", 'and went."'],
    ["why", '""'],
    ['"how', "so"],
]


def test_a_quote_in_plain_lines_is_a_character(tmp_path: Path) -> None:
    content = "".join("\t".join(row) + "\n" for row in [["query", "positive"], *RAW])
    assert read(tmp_path / "a.tsv", content) == (RAW, [])


@pytest.mark.parametrize("row", range(len(RAW)))
def test_each_of_them_alone(tmp_path: Path, row: int) -> None:
    rows = [["q1", "p1"], RAW[row], ["q2", "p2"], ["q3", "p3"]]
    content = "".join("\t".join(row) + "\n" for row in [["query", "positive"], *rows])
    found, problems = read(tmp_path / "a.tsv", content)
    assert (found, [problem.kind for problem in problems]) in ((rows, []), (rows, ["quotes-kept"]))


def test_rows_are_not_joined_though_the_quotes_of_two_fit(tmp_path: Path) -> None:
    rows = [["a", "b", '"We came'], ["c", "d", "e"], ["f", "g", 'and went."'], ["h", "i", "j"]]
    found, problems = read(tmp_path / "a.tsv", "".join("\t".join(row) + "\n" for row in [HEADER, *rows]))
    assert found == rows and all(problem.action == "kept" for problem in problems)


def test_quotes_around_a_text_are_kept_and_told_where_nothing_shows_what_they_are(tmp_path: Path) -> None:
    found, problems = read(tmp_path / "a.tsv", 'query\tpositive\nwho\t"Me."\nwhen\tnow\n')
    assert found == [["who", '"Me."'], ["when", "now"]]
    assert [(problem.line, problem.kind, problem.action) for problem in problems] == [(2, "quotes-kept", "kept")]
    assert read(tmp_path / "b.tsv", 'query\tpositive\nwho\t"Me."\nwhen\t"now"\n') == (
        [["who", "Me."], ["when", "now"]],
        [],
    )


# ---- neither


def test_a_file_of_both_kinds_is_refused(tmp_path: Path) -> None:
    plain = "".join("\t".join(row) + "\n" for row in RAW)
    quoted = written([row[:2] for row in PANDAS] * 5)
    found, problems = read(tmp_path / "a.tsv", "query\tpositive\n" + quoted + plain)
    assert not found and refused(problems) == (2, "unclear-quotes")
    assert "save the table in one way, or as JSONL" in problems[-1].message


@pytest.mark.parametrize("first", ["plain", "quoted", "told"])
def test_what_was_told_by_the_beginning_is_watched_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.setattr("tdro.data.read.tables.WINDOW", 200)
    plain = "".join("\t".join(row) + "\n" for row in RAW) + "x\ty\n" * 100
    quoted = written([row[:2] for row in PANDAS]) + "x\ty\n" * 100
    told = 'who\t"Me."\n' + "x\ty\n" * 100
    content = {"plain": plain + quoted, "quoted": quoted + plain, "told": told + quoted}[first]
    found, problems = read(tmp_path / "a.tsv", "query\tpositive\n" + content)
    line, kind = refused(problems)
    assert kind == ("not-csv" if first == "quoted" else "unclear-quotes")
    assert line is not None and line > 100 and len(found) >= 100


def test_memory_is_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    ahead = dialect.Lines.ahead

    def watched(lines: dialect.Lines, characters: int) -> tuple[list[str], bool]:
        found = ahead(lines, characters)
        sizes.append(sum(map(len, found[0])))
        return found

    monkeypatch.setattr(dialect.Lines, "ahead", watched)
    text = "query\tpositive\n" + ('who\t"Deep" is a word, and ' + "more " * 100 + "\n") * 6000
    found, problems = read(tmp_path / "a.tsv", text)
    assert len(found) == 6000 and not problems
    assert 1 < len(sizes) < 6 and max(sizes) < dialect.WINDOW + 1000


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("cut", range(1, 36, 3))
def test_a_table_that_was_cut_in_a_row_is_refused(tmp_path: Path, name: str, cut: int) -> None:
    rows = [["q1", "p1", "n1"], ["q2", "a\nb, and so on and so forth", "n2"]]
    whole = written([HEADER, *rows], "," if name == "a.csv" else "\t")
    found, problems = read(tmp_path / name, whole[:-cut])
    cut_in_last_cell = cut <= len("n2\n")  # what is left has all its columns; nobody can see it
    assert len(found) == 1 + cut_in_last_cell
    if not cut_in_last_cell:
        assert refused(problems) in ((3, "broken-file"), (3, "not-csv"), (4, "broken-file"))


def test_a_broken_row_whose_quotes_are_in_pairs_costs_no_other(tmp_path: Path) -> None:
    found, problems = read(tmp_path / "a.csv", 'query,positive\nq1,p1\nq2,"a "bad" cell"\nq3,"p, 3"\n')
    assert found == [["q1", "p1"], ["q3", "p, 3"]]
    assert [(problem.line, problem.kind, problem.action) for problem in problems] == [(3, "not-csv", "dropped")]


@pytest.mark.parametrize("text", ["Grüße", "l’été"])
def test_windows_encoding_is_refused_with_a_remedy(tmp_path: Path, text: str) -> None:
    content = f"query,positive\nq1,p1\nq2,{text}\nq3,p3\nq4,{text}\n"
    _, problems = read(tmp_path / "a.csv", content.encode("cp1252"))
    assert refused(problems) == (3, "not-utf8") and "iconv -f WINDOWS-1252 -t UTF-8" in problems[-1].message
    mixed = content.encode() + content.partition("\n")[2].encode("cp1252")
    found, problems = read(tmp_path / "a.csv", mixed)
    assert len(found) == 6 and [problem.action for problem in problems] == ["dropped"] * 2


@pytest.mark.parametrize(
    "first",
    [
        "is a little caffeine ok during pregnancy\tWe do not know a lot about the effects.\tIt is generally safe.",
        "0\tThe presence of communication amid scientific minds was equally important.\t1",
    ],
)
def test_a_missing_header_is_told(tmp_path: Path, first: str) -> None:
    _, problems = read(tmp_path / "a.tsv", f"{first}\n{first} too\n")
    assert refused(problems) == (1, "wrong-header") and "put the columns' names before it" in problems[0].message
    survey = "Timestamp,What is your question? (please write all of it)\n2024,who\n"
    assert read(tmp_path / "a.csv", survey) == ([["2024", "who"]], [])


def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tdro.data.read.tables.LONGEST_LINE", 100)
    _, problems = read(tmp_path / "a.tsv", "query\tpositive\nq\tp\nq\t" + "x" * 200 + "\n")
    assert refused(problems) == (3, "broken-file") and "longer than 100" in problems[-1].message
    csv.field_size_limit(1 << 20)


# ---- anything


CELLS = st.text(st.sampled_from(list('ab"\t\n, \\;é')), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), st.sampled_from(["\t", ",", ";"]))
def test_nothing_written_by_a_program_is_read_otherwise_in_silence(
    tmp_path: Path, pairs: list[tuple[str, str]], delimiter: str
) -> None:
    rows = [list(pair) for pair in pairs]
    name = "a.tsv" if delimiter == "\t" else "a.csv"
    found, problems = read(tmp_path / name, written([HEADER[:2], *rows], delimiter))
    expected = [[cell or None for cell in row] for row in rows]
    assert found == expected or problems
    if delimiter != "\t" and not any(dialect.ESCAPED in cell or '\\"' in cell + '"' for row in rows for cell in row):
        assert (found, problems) == (expected, [])


PLAIN = st.text(st.sampled_from(list('ab", \\é')), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(PLAIN, PLAIN), min_size=1, max_size=8))
def test_no_plain_line_is_lost_or_joined_to_another_in_silence(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    rows = [list(pair) for pair in pairs]
    content = "".join("\t".join(row) + "\n" for row in [HEADER[:2], *rows])
    found, problems = read(tmp_path / "a.tsv", content)
    lost = sum(problem.action == "dropped" for problem in problems)
    assert len(found) + lost == len(rows) or problems[-1].action == "refused"


@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([b'""x"'], "a.tsv")
@example([b"sep=", b'"'], "a.csv")  # Python 3.13 refuses a quote as delimiter with a ValueError
@given(
    st.lists(
        st.sampled_from([b'"', b"\t", b",", b";", b"\n", b"\r", b"\\", b"a", b"\xe9", b"\xc3\xa9", b"\0", b"sep="])
    ),
    st.sampled_from(["a.csv", "a.tsv"]),
)
def test_anything_ends_without_a_traceback(tmp_path: Path, pieces: list[bytes], name: str) -> None:
    content = b"query,x\tpositive" * (len(pieces) % 2) + b"".join(pieces)
    _, problems = read(tmp_path / name, content)
    assert all(problem.action != "refused" for problem in problems[:-1])
    assert all(problem.message.isprintable() and (problem.line or 0) >= 1 for problem in problems)


# ---- in a command


def test_check_says_what_build_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "data.tsv"
    path.write_text(written([HEADER, *PANDAS]))
    assert main(["data", "check", str(path), "--strict"]) == 0
    assert "nothing wrong" in capsys.readouterr().out
    assert built_task(Source.model_construct(source=str(path)), "data").rows == 4
    path.write_text("query\tpositive\n" + written([row[:2] for row in PANDAS] * 5) + 'a\t"b" c\n')
    assert main(["data", "check", str(path)]) == 0
    assert "unclear-quotes: 1 refused" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"data\.tsv, line 2: from here on, some cells stand in quotes"):
        built_task(Source.model_construct(source=str(path)), "data")
