"""How a table's cells are parted and quoted, told by its text.

CSV has quotes. A TSV file may be of two kinds: written by a program that puts a cell with a tab, a line end or a quote
into quotes (pandas), or plain lines in which a quote is a character as any other (MS MARCO). They differ only where a
cell begins with a quote. From the first such line on, up to a million characters are read in both ways: quotes count if
all of them open and close cells and something shows that a program wrote them (``""`` inside, a cell over several
lines); they are characters if some do not close. Where both are seen, nobody can tell, and the file is refused. In
either kind a quote may be escaped by a backslash, ``\\"``, instead of being doubled. Rejected: ``csv.Sniffer``, which
guesses without saying how sure it is, and a first pass over the whole file.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

TAB = "\t"
WINDOW = 1 << 20  # characters that are looked at ahead
ESCAPED = '\\"'
_DELIMITERS = (",", ";", TAB, "|")
_STRONGER = 3  # times as many signs of one kind: the few others are chance


class Lines:
    """Lines of a text with their numbers, some of which can be looked at ahead or put back.

    Attributes:
        number: of the last line that was taken.
        taken: the lines since :meth:`forget`.
    """

    def __init__(self, read: Callable[[], str]) -> None:
        self._read, self._ahead = read, deque[str]()
        self._error: Exception | None = None  # of reading: raised when the lines before it are taken
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
        """Give the taken lines again."""
        self._ahead.extendleft(reversed(self.taken))
        self.number -= len(self.taken)
        self.taken = []

    def ahead(self, characters: int) -> tuple[list[str], bool]:
        """The next lines, about so many characters of them, and whether the text ends with them."""
        found: list[str] = []
        while characters > 0 and (len(found) < len(self._ahead) or self._look()):
            found.append(self._ahead[len(found)])
            characters -= len(found[-1])
        return found, len(found) == len(self._ahead) and not self._look() and self._error is None

    def _look(self) -> bool:
        """Read one more line; whether there was one."""
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
    """What parts cells, and whether a quote in a quoted cell is doubled or stands behind a backslash."""

    delimiter: str
    backslash: bool = False

    def reader(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """Cells of each record; ``csv.Error`` where a quote neither closes a cell nor is written as one."""
        if self.backslash:
            escaped = map(_only_quotes_escaped, lines)
            return csv.reader(escaped, delimiter=self.delimiter, doublequote=False, escapechar="\\", strict=True)
        return csv.reader(lines, delimiter=self.delimiter, strict=True)


def _only_quotes_escaped(line: str) -> str:
    """Backslashes before anything but a quote or a backslash are doubled, so that reading leaves them: C:\\temp."""
    return re.sub(r'\\(["\\])|\\', lambda match: match[0] if match[1] else "\\\\", line)


def delimiter_of(header: str, behind: list[str], usual: str) -> str:
    """What parts the cells, by a table's header and first row; the usual one where nothing else fits both."""
    columns = {each: len(next(csv.reader([header], delimiter=each))) for each in _DELIMITERS}
    if columns[usual] > 1:
        return usual
    for each in _DELIMITERS:
        first = next(filter(None, csv.reader(behind, delimiter=each)), None)
        if columns[each] > 1 and (first is None or len(first) == columns[each]):
            return each
    return usual


@dataclass
class Signs:
    """What speaks for quotes, and what speaks for characters.

    Attributes:
        wrapped: cells that begin and end with a quote and have doubled ones inside.
        split: records that are whole with quotes, and broken lines without.
        joined: records of several lines that are rows by themselves.
        open: cells that begin with a quote which does not close them, less the lines that are broken without quotes:
            a cell over two lines makes one of each.
        loose: cells with a quote that do not begin with one. Who doubles quotes, or escapes them, leaves none.
        failures: records that quotes do not explain, counted up to one after which nothing is sure.
        unclosed: the only failure is a quote that the text's last line, which has no end, does not close.
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
        """Whether cells that a program quoted are too many for quotes that are characters."""
        return self.open < _STRONGER * self.wrapped

    def watch(self, line: str, delimiter: str) -> None:
        """Count the cells of a line that begin with a quote."""
        for cell in line.rstrip("\r\n").split(delimiter):
            if cell.startswith('"'):
                self.wrapped += _is_wrapped(cell)
                self.open += not _is_closed(cell)


Told = Literal["quotes", "backslash", "characters", "either", "unclear", "cut"]


def tell(lines: list[str], whole: bool, columns: int, delimiter: str, before: Signs) -> Told:
    """What quotes are in the lines from one on that has a cell which begins with one.

    Args:
        lines: the first one begins a record.
        whole: the text ends with them.
        columns: of the header.
        delimiter: parts the cells.
        before: the open and wrapped cells of earlier lines; those of these lines are added.

    Returns:
        ``either`` where both ways of reading fit, such as ``"Yes."``; ``unclear`` where there are signs of both;
        ``cut`` where the text ends in a cell that a quote began.
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
    """Whether backslashes before quotes explain the lines better than doubled quotes do."""
    if not any(ESCAPED in line for line in lines):
        return False
    escaped = trial(lines, whole, columns, Dialect(delimiter, backslash=True))
    doubled = trial(lines, whole, columns, Dialect(delimiter))
    if escaped.joined or escaped.failures != doubled.failures:
        return escaped.failures < doubled.failures and not escaped.joined
    return not escaped.loose and doubled.loose > 0


def trial(lines: list[str], whole: bool, columns: int, dialect: Dialect) -> Signs:
    """Read lines with quotes, and count what speaks for them and against them."""
    signs = Signs()
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
            signs.failures += not cut  # the last record goes on behind these lines
            signs.unclosed = whole and signs.failures == 1 and _ends_open(text.taken, lines)
            if is_contained(text.taken):
                continue
            return signs
        if cells is None:
            return signs
        _compare(cells, text.taken, columns, dialect, signs)


def _compare(cells: list[str], taken: list[str], columns: int, dialect: Dialect, signs: Signs) -> None:
    rows = [line.count(dialect.delimiter) + 1 == columns for line in (taken[0], taken[-1])]
    if not all(rows):
        signs.split += len(cells) == columns
    elif len(taken) > 1:
        signs.joined += 1
    elif '"' in taken[0]:
        line = re.sub(r"\\.", "", taken[0]) if dialect.backslash else taken[0]
        signs.loose += sum('"' in cell and not cell.startswith('"') for cell in line.split(dialect.delimiter))


def is_contained(taken: list[str]) -> bool:
    """Whether a broken record is one line whose quotes are in pairs, so that the next line begins another one."""
    return len(taken) == 1 and taken[0].count('"') % 2 == 0


def begins_with_quote(line: str, delimiter: str) -> bool:
    """Whether a cell of the line does."""
    return '"' in line and (line.startswith('"') or f'{delimiter}"' in line)


def _ends_open(taken: list[str], lines: list[str]) -> bool:
    """Whether a broken record is the text's end, which has no line end."""
    return not lines[-1].endswith(("\n", "\r")) and taken == lines[-len(taken) :] and not is_contained(taken)


def _is_closed(cell: str) -> bool:
    """Whether a cell that begins with a quote ends with one, and all inside are doubled."""
    return len(cell) > 1 and cell.endswith('"') and '"' not in cell[1:-1].replace('""', "")


def _is_wrapped(cell: str) -> bool:
    return _is_closed(cell) and '"' in cell[1:-1]


def _all_quoted(lines: list[str], delimiter: str) -> bool:
    """Whether quotes are around every cell of a column, or just around the cells with a comma, as spreadsheets do."""
    rows = [line.rstrip("\r\n").split(delimiter) for line in lines if line.strip()]
    columns = list(zip(*rows, strict=False))
    if len(rows) > 1 and any(all(cell.startswith('"') for cell in column) for column in columns):
        return True
    return all(cell.startswith('"') == ("," in cell) and '"' not in cell.strip('"') for row in rows for cell in row)
