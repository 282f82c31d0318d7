"""Read CSV and TSV files, one row at a time, with line numbers.

The first line names the columns, and every other line is a row, or a part of a row whose cells have line ends in them.
A row that cannot be read becomes a problem, and the rows behind it are still read. The exception is a quote that is
opened and never closed: nobody knows where the next row begins, so the rest of the file is refused.

Two things differ from file to file, and :mod:`tdro.data.read.dialect` finds them out: which character separates the
cells (``,``, ``;``, a tab or ``|``), and whether the quotes around a cell are part of its text. See docs/decisions.md,
tables-by-line.
"""

from __future__ import annotations

import csv
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from tdro.data.read.dialect import (
    ESCAPED,
    TAB,
    WINDOW,
    Dialect,
    Lines,
    QuoteSigns,
    begins_with_quote,
    is_contained,
    is_escaped,
    meaning_of_quotes,
)
from tdro.data.read.jsonl import LONGEST_LINE
from tdro.data.read.problem import Problem
from tdro.data.read.table_header import NOT_UTF8, delimiter_at, wrong_header
from tdro.data.read.text_files import broken_file, open_text

_UNCLOSED = "a quote is opened here and never closed: is the file cut, or the quote one too many?"


def table_rows(path: Path, delimiter: str, start: int = 0) -> Iterator[tuple[int, int, object]]:
    """Yield a row's line, how many rows came so far, and the row (column name to cell) or a :class:`Problem`.

    For example, a file with the lines ``query,positive`` and ``what purrs,Cats purr.`` yields
    ``2, 1, {"query": "what purrs", "positive": "Cats purr."}``.

    The file is in UTF-8, UTF-16, or UTF-32 with a BOM, and may be gzipped. An empty cell is None: a row may have fewer
    negatives than the table has columns for them. In memory are one row and, where it must be found out what quotes
    mean, the next million characters.

    Args:
        path: the file.
        delimiter: the character that usually separates the cells of such files. If it does not split the header, but
            another one does (``;``), that one counts.
        start: how many rows to skip.
    """
    for count, (line, value) in enumerate(_table(path, delimiter), 1):
        if count > start:
            yield line, count, value


def _table(path: Path, usual: str) -> Iterator[tuple[int, object]]:
    """The line at which each row begins, with the row or a problem. A problem that refuses the file is the last."""
    name = str(path)
    csv.field_size_limit(LONGEST_LINE)
    lines = Lines(lambda: "")
    try:
        with open_text(path) as file:
            lines = Lines(_reader(file))
            for value in _rows(lines, usual, name):
                line = value.line or 1 if isinstance(value, Problem) else lines.number - len(lines.taken) + 1
                yield line, value
                if isinstance(value, Problem) and value.action == "refused":
                    return
    except (EOFError, OSError, zlib.error, UnicodeError) as error:
        yield lines.number + 1, broken_file(name, lines.number + 1, error)


def _reader(file: TextIO) -> Callable[[], str]:
    """A function that reads the next line; empty at the end of the file. It raises for a line that is too long."""
    readline, longest = file.readline, LONGEST_LINE

    def read() -> str:
        line = readline(longest)
        if len(line) == longest and not line.endswith(("\n", "\r")):
            raise OSError(f"a line is longer than {longest} characters")
        return line

    return read


def _rows(lines: Lines, usual: str, name: str) -> Iterator[object]:
    """A row or a problem for each record.

    While the caller looks at one, ``lines.taken`` holds the lines that it was read from, so that the caller can tell
    where it begins.
    """
    try:
        delimiter = delimiter_at(lines, usual)
        header = [cell.strip() for cell in next(Dialect(delimiter).reader(lines), [])]
    except csv.Error:
        line = max(1, lines.number - len(lines.taken) + 1)
        yield Problem(name, line, "wrong-header", "a quote in the header is not closed, or not doubled", "refused")
        return
    line = lines.number - len(lines.taken) + 1
    if message := wrong_header(header, delimiter):
        yield Problem(name, line, "wrong-header", message, "refused")
        return
    quoted = delimiter != TAB or any(begins_with_quote(line, TAB) for line in lines.taken)
    first_beyond_ascii = True
    for cells in _records(lines, delimiter, quoted, len(header), name):
        if isinstance(cells, Problem):
            yield cells
        elif cells:
            value = _row(header, cells, name, lines)
            if first_beyond_ascii and not all(map(str.isascii, lines.taken)):
                first_beyond_ascii = False
                if isinstance(value, Problem) and value.kind == "not-utf8" and _is_of_another_encoding(lines):
                    message = "not UTF-8, nor is any text behind it; convert the file, for instance by iconv"
                    yield replace(value, message=f"{message} -f WINDOWS-1252 -t UTF-8", action="refused")
                    return
            yield value


def _records(lines: Lines, delimiter: str, quoted: bool, columns: int, name: str) -> Iterator[list[str] | Problem]:
    """The cells of each record, or a problem.

    In a TSV file whose header has no quotes (``quoted`` is False), quotes are taken for a part of the text until a line
    shows that they enclose cells. From that line on, the file is read as one in which they do.
    """
    dialect: Dialect | None = Dialect(delimiter)
    if not quoted:
        dialect = yield from _until_quotes(lines, columns, name)
    if dialect is not None:
        yield from _quoted(lines, dialect, columns, name)


def _until_quotes(lines: Lines, columns: int, name: str) -> Generator[list[str] | Problem, None, Dialect | None]:
    """Read a TSV file, taking quotes for a part of the text until a line shows that they enclose cells.

    When a cell begins with a quote, the next million characters are looked at, to find out what quotes mean there. If
    they are part of the text, reading goes on. From then on, cells that look as if a program had quoted them are
    counted. If they become too many, it is not clear what quotes mean, and the file is refused.

    Returns:
        The dialect in which the file must be read from the current line on, because quotes enclose cells; None at the
        end of the file.
    """
    signs, told_until, told = QuoteSigns(), 0, ""
    first = 0  # the first line with a quote that was read as part of the text
    lines.forget()
    for line in lines:
        if lines.number > told_until and '"' in line and (begins_with_quote(line, TAB) or ESCAPED in line):
            if told == "characters":
                signs.watch(line, TAB)
                told = "unclear" if signs.are_of_both else told
            else:
                lines.put_back()
                ahead, whole = lines.ahead(WINDOW)
                told_until = lines.number + len(ahead)
                told = meaning_of_quotes(ahead, whole, columns, TAB, signs)
                next(lines)
            if told in ("quotes", "backslash") and not first:
                lines.put_back()
                return Dialect(TAB, backslash=told == "backslash")
            if problem := _problem_of(told, first, lines.number, name):
                yield problem
                if problem.action == "refused":
                    return None
            first = first or lines.number
        text = line.rstrip("\r\n")
        yield text.split(TAB) if text else []
        lines.forget()
    return None


def _problem_of(told: str, first: int, line: int, name: str) -> Problem | None:
    """The problem to report, if any, of a line with quotes.

    Args:
        told: what :func:`tdro.data.read.dialect.meaning_of_quotes` said of them.
        first: the first line with a quote that was read as part of the text; 0 if there was none before.
        line: where the problem is.
        name: of the file.
    """
    if told in ("quotes", "backslash", "unclear"):
        return Problem(name, line, "unclear-quotes", _unclear(first), "refused")
    if told == "cut":
        return Problem(name, line, "broken-file", _UNCLOSED, "refused")
    if told == "either" and not first:
        return Problem(name, line, "quotes-kept", "quotes around a cell are read as part of its text", "kept")
    return None


def _unclear(before: int) -> str:
    """What to say where signs of both meanings are found; ``before`` is a line with the other one, or 0."""
    where = f", as in line {before}" if before else ""
    return (
        'from here on, some cells stand in quotes, with "" for a quote in them, and others begin with a quote that is '
        f"a character{where}; save the table in one way, or as JSONL"
    )


def _quoted(lines: Lines, dialect: Dialect, columns: int, name: str) -> Iterator[list[str] | Problem]:
    """Read records in which quotes enclose cells.

    A quote inside such a cell is doubled. Where a backslash stands before one, the next million characters are looked
    at once, to find out whether quotes are escaped by backslashes instead.
    """
    reader, escapes_told = dialect.reader(lines), dialect.backslash
    while True:
        lines.forget()
        problem = cells = None
        try:
            cells = next(reader, None)
        except csv.Error as error:
            problem = _failed(lines, dialect, str(error), name)
        if not escapes_told and ESCAPED in "".join(lines.taken):
            escapes_told = True
            lines.put_back()
            ahead, whole = lines.ahead(WINDOW)
            if is_escaped(ahead, whole, columns, dialect.delimiter):
                dialect = Dialect(dialect.delimiter, backslash=True)
            reader = dialect.reader(lines)
        elif problem is not None:
            yield problem
        elif cells is None:
            return
        else:
            yield cells


def _failed(lines: Lines, dialect: Dialect, error: str, name: str) -> Problem:
    """The problem of a record in which a quote neither closes a cell nor is doubled or escaped."""
    first = lines.number - len(lines.taken) + 1
    if "unexpected end" in error:
        return Problem(name, first, "broken-file", _UNCLOSED, "refused")
    if "field limit" in error:
        message = f"a cell is longer than {LONGEST_LINE} characters: is a quote not closed?"
        return Problem(name, first, "not-csv", message, "refused")
    wrong = 'a quote in a cell in quotes is not written as "" or \\"'
    if is_contained(lines.taken) and dialect.delimiter != TAB:
        return Problem(name, first, "not-csv", wrong, "dropped")
    where = "" if lines.number == first else f", here or in the lines up to {lines.number}"
    message = f"{wrong}{where}: it cannot be told where the next row begins; mend it, or save the table as JSONL"
    return Problem(name, first, "not-csv", message, "refused")


def _row(header: list[str], cells: list[str], name: str, lines: Lines) -> object:
    """The row that a record's cells are, or a problem if there are not as many as columns, or one is not UTF-8."""
    line = lines.number - len(lines.taken) + 1
    if len(cells) == len(header):
        if all(map(str.isascii, lines.taken)) or not NOT_UTF8.search("".join(cells)):
            return {column: cell or None for column, cell in zip(header, cells, strict=True)}
        return Problem(name, line, "not-utf8", "a text is not UTF-8; convert the file to UTF-8", "dropped")
    message = f"{len(cells)} columns, the header has {len(header)}"
    if len(cells) < len(header) and not lines.taken[-1].endswith(("\n", "\r")):
        return broken_file(name, line, message)
    if lines.number > line:
        message += f"; it goes on to line {lines.number}: is a quote not closed?"
    return Problem(name, line, "wrong-columns", message, "dropped")


def _is_of_another_encoding(lines: Lines) -> bool:
    """Whether the whole file seems to be in another encoding than UTF-8, and not just one line of it.

    That is so if no line with other characters than ASCII's, among the next million characters, is UTF-8.
    """
    ahead, _ = lines.ahead(WINDOW)
    return all(NOT_UTF8.search(line) for line in ahead if not line.isascii())
