"""Find out which character separates a table's cells, and what quotes mean in it.

In CSV, quotes enclose cells. TSV files are of two kinds. Programs such as pandas put a cell that has a tab, a line end
or a quote into quotes. Other files (MS MARCO's) are plain lines, in which a quote is a character like any other. The
two differ only where a cell begins with a quote. So from the first such line on, up to a million characters are read in
both ways. Quotes enclose cells if all of them open and close a cell, and something shows that a program wrote them
(``""`` inside, or a cell over several lines). They are characters if some of them do not close. Where there are signs
of both, nobody can tell, and the file is refused.

In either kind a quote may be escaped by a backslash, ``\\"``, instead of being doubled. See docs/decisions.md,
quotes-by-trial.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

TAB = "\t"
WINDOW = 1 << 20  # characters that are read ahead to find out what quotes mean
ESCAPED = '\\"'
_DELIMITERS = (",", ";", TAB, "|")
_STRONGER = 3  # if one kind of signs is so many times as frequent, the few others are chance


class Lines:
    """The lines of a file, with numbers. Lines can be looked at before they are taken, and be put back.

    Attributes:
        number: the number of the line that was taken last, from 1.
        taken: the lines of the current record: those taken since :meth:`forget`.
    """

    def __init__(self, read: Callable[[], str]) -> None:
        self._read, self._ahead = read, deque[str]()
        self._error: Exception | None = None  # met while looking ahead; raised once the lines before it are taken
        self._ended = False
        self.number, self.taken = 0, list[str]()

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        if self._ahead:
            line = self._ahead.popleft()
        elif self._error is not None:
            raise self._error
        elif not (line := self._read()):
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        return line

    def forget(self) -> None:
        """Begin a new record."""
        self.taken = []

    def put_back(self) -> None:
        """Put the lines of the current record back, to be taken again."""
        self._ahead.extendleft(reversed(self.taken))
        self.number -= len(self.taken)
        self.taken = []

    def ahead(self, characters: int) -> tuple[list[str], bool]:
        """The next lines (about so many characters), without taking them; and whether the file ends with them."""
        found: list[str] = []
        while characters > 0 and (len(found) < len(self._ahead) or self._look()):
            found.append(self._ahead[len(found)])
            characters -= len(found[-1])
        return found, len(found) == len(self._ahead) and not self._look() and self._error is None

    def _look(self) -> bool:
        """Read one more line ahead; False at the end of the file."""
        if not self._ended:
            try:
                line = self._read()
            except Exception as error:
                line, self._error = "", error
            self._ended = not line
            if line:
                self._ahead.append(line)
        return not self._ended


@dataclass(frozen=True)
class Dialect:
    """How a table with quotes is written.

    Attributes:
        delimiter: the character between cells.
        backslash: whether a quote inside a quoted cell is written ``\\"``; else it is doubled.
    """

    delimiter: str
    backslash: bool = False

    def reader(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """The cells of each record. Raises ``csv.Error`` at a quote that neither closes a cell nor is escaped."""
        if self.backslash:
            escaped = map(_only_quotes_escaped, lines)
            return csv.reader(escaped, delimiter=self.delimiter, doublequote=False, escapechar="\\", strict=True)
        return csv.reader(lines, delimiter=self.delimiter, strict=True)


def _only_quotes_escaped(line: str) -> str:
    """Double the backslashes that escape nothing, so that the CSV reader keeps them: those of ``C:\\temp``."""
    return re.sub(r'\\(["\\])|\\', lambda match: match[0] if match[1] else "\\\\", line)


def delimiter_of(header: str, behind: list[str], usual: str) -> str:
    """The character between cells, told by the header and the first row.

    Args:
        header: the first line.
        behind: the lines behind it.
        usual: what the file's ending stands for; it counts if it splits the header, or if nothing else fits.
    """
    columns = {each: len(next(csv.reader([header], delimiter=each))) for each in _DELIMITERS}
    if columns[usual] > 1:
        return usual
    for each in _DELIMITERS:
        first = next(filter(None, csv.reader(behind, delimiter=each)), None)
        if columns[each] > 1 and (first is None or len(first) == columns[each]):
            return each
    return usual


@dataclass
class QuoteSigns:
    """How often lines look as if quotes enclose cells, and how often as if they are characters of the text.

    Attributes:
        wrapped: cells that begin and end with a quote and have doubled quotes inside. For enclosing.
        split: records with the right number of cells if quotes enclose, whose lines alone have a wrong number. For
            enclosing.
        joined: records over several lines, each of which alone has the right number of cells. For characters.
        open: cells that begin with a quote and do not end with one, less the lines that alone have a wrong number of
            cells (a quoted cell over two lines makes one of each). For characters.
        loose: cells that have a quote, but not at the beginning. A program that doubles or escapes quotes writes none.
        failures: records that cannot be read if quotes enclose. Counting ends at the first of them after which nobody
            knows where the next record begins.
        unclosed: the only failure is at the end of the file, whose last line has no line end: the file may be cut.
    """

    wrapped: int = 0
    split: int = 0
    joined: int = 0
    open: int = 0
    loose: int = 0
    failures: int = 0
    unclosed: bool = False

    @property
    def are_of_both(self) -> bool:
        """Whether too many cells look quoted by a program for quotes to be characters."""
        return self.open < _STRONGER * self.wrapped

    def watch(self, line: str, delimiter: str) -> None:
        """Count a line's cells that begin with a quote as ``wrapped`` or ``open``."""
        for cell in line.rstrip("\r\n").split(delimiter):
            if cell.startswith('"'):
                self.wrapped += _is_wrapped(cell)
                self.open += not _is_closed(cell)


QuoteMeaning = Literal["quotes", "backslash", "characters", "either", "unclear", "cut"]


def meaning_of_quotes(lines: list[str], whole: bool, columns: int, delimiter: str, before: QuoteSigns) -> QuoteMeaning:
    """What quotes mean in some lines, of which the first has a cell that begins with one.

    Args:
        lines: the first one begins a record.
        whole: whether the file ends with them.
        columns: how many the header has.
        delimiter: separates the cells.
        before: the open and wrapped cells of earlier lines; those of these lines are added.

    Returns:
        ``quotes``, they enclose cells, and are doubled inside; ``backslash``, they enclose cells, and are escaped
        inside; ``characters``, they are part of the text; ``either``, both ways of reading fit (``"Yes."``);
        ``unclear``, there are signs of both; ``cut``, the file ends in the middle of a quoted cell.
    """
    signs = trial(lines, whole, columns, Dialect(delimiter))
    before.wrapped += signs.wrapped
    if is_escaped(lines, whole, columns, delimiter):
        return "backslash"
    if not signs.failures:
        proof = signs.wrapped + signs.split
        if not proof:
            return "quotes" if _all_quoted(lines, delimiter) and not signs.joined else "either"
        return "quotes" if signs.joined <= proof else "unclear"
    if signs.unclosed:
        return "cut"
    before.open += signs.open
    return "characters" if before.open and not before.are_of_both else "unclear"


def is_escaped(lines: list[str], whole: bool, columns: int, delimiter: str) -> bool:
    """Whether more of the lines can be read if quotes are escaped by backslashes than if they are doubled."""
    if not any(ESCAPED in line for line in lines):
        return False
    escaped = trial(lines, whole, columns, Dialect(delimiter, backslash=True))
    doubled = trial(lines, whole, columns, Dialect(delimiter))
    if escaped.joined or escaped.failures != doubled.failures:
        return escaped.failures < doubled.failures and not escaped.joined
    return not escaped.loose and doubled.loose > 0


def trial(lines: list[str], whole: bool, columns: int, dialect: Dialect) -> QuoteSigns:
    """Read lines as if quotes enclose cells, and count the signs for and against that."""
    signs = QuoteSigns()
    broken = 0
    for line in lines:
        broken += line.count(dialect.delimiter) + 1 != columns and not line.isspace()
        if begins_with_quote(line, dialect.delimiter):
            signs.watch(line, dialect.delimiter)
    signs.open = max(0, signs.open - broken)
    left = iter(lines)
    text = Lines(lambda: next(left, ""))
    reader = dialect.reader(text)
    while True:
        text.forget()
        try:
            cells = next(reader, None)
        except csv.Error:
            cut = not whole and text.number == len(lines) and len(text.taken) < len(lines)
            signs.failures += not cut  # if cut, the last record goes on behind these lines
            signs.unclosed = whole and signs.failures == 1 and _ends_open(text.taken, lines)
            if is_contained(text.taken):
                continue
            return signs
        if cells is None:
            return signs
        _count_signs(cells, text.taken, columns, dialect, signs)


def _count_signs(cells: list[str], taken: list[str], columns: int, dialect: Dialect, signs: QuoteSigns) -> None:
    """Add to ``signs`` what a record says that was read as if quotes enclose cells.

    Args:
        cells: of the record.
        taken: the lines that it was read from.
        columns: how many cells a record should have.
        dialect: by which it was read.
        signs: is changed.
    """
    rows = [line.count(dialect.delimiter) + 1 == columns for line in (taken[0], taken[-1])]
    if not all(rows):
        signs.split += len(cells) == columns
    elif len(taken) > 1:
        signs.joined += 1
    elif '"' in taken[0]:
        line = re.sub(r"\\.", "", taken[0]) if dialect.backslash else taken[0]
        signs.loose += sum('"' in cell and not cell.startswith('"') for cell in line.split(dialect.delimiter))


def is_contained(taken: list[str]) -> bool:
    """Whether a record that cannot be read is one line with an even number of quotes, so that the next line begins
    another record."""
    return len(taken) == 1 and taken[0].count('"') % 2 == 0


def begins_with_quote(line: str, delimiter: str) -> bool:
    """Whether a cell of the line begins with a quote."""
    return '"' in line and (line.startswith('"') or f'{delimiter}"' in line)


def _ends_open(taken: list[str], lines: list[str]) -> bool:
    """Whether a record that cannot be read is the end of the file, and the file does not end with a line end."""
    return not lines[-1].endswith(("\n", "\r")) and taken == lines[-len(taken) :] and not is_contained(taken)


def _is_closed(cell: str) -> bool:
    """Whether a cell that begins with a quote also ends with one, and all quotes inside are doubled."""
    return len(cell) > 1 and cell.endswith('"') and '"' not in cell[1:-1].replace('""', "")


def _is_wrapped(cell: str) -> bool:
    return _is_closed(cell) and '"' in cell[1:-1]


def _all_quoted(lines: list[str], delimiter: str) -> bool:
    """Whether quotes are around all cells of some column, or around exactly the cells with a comma, as spreadsheets
    write them."""
    rows = [line.rstrip("\r\n").split(delimiter) for line in lines if line.strip()]
    columns = list(zip(*rows, strict=False))
    if len(rows) > 1 and any(all(cell.startswith('"') for cell in column) for column in columns):
        return True
    return all(cell.startswith('"') == ("," in cell) and '"' not in cell.strip('"') for row in rows for cell in row)
