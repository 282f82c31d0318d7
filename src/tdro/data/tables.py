"""Rows of tables: Parquet, CSV and TSV, one at a time, with their numbers.

A broken row becomes a problem and does not cost the next, as in :mod:`tdro.data.jsonl`. A TSV file is read as its
registration says: no quotes, so that a text may begin with one (in a CSV file, such a quote would swallow the lines up
to the next). Rejected: pyarrow's CSV reader (several times faster, but one wrong row ends it, and it knows no lines).
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from tdro.data.jsonl import LONGEST_LINE, encoding_of
from tdro.data.rows import Problem

_ROWS_AT_ONCE = 500
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what Python's surrogateescape makes of a byte


def parquet_size(path: Path) -> int | None:
    """Rows of a Parquet file; None where it is none (reading it says so)."""
    import pyarrow.parquet as parquet

    try:
        return int(parquet.read_metadata(path).num_rows)
    except (OSError, ValueError):  # pyarrow's errors are ValueErrors, or OSErrors
        return None


def parquet_rows(path: Path, start: int = 0) -> Iterator[tuple[int, int, object]]:
    """Row number (from 1), rows so far, and the row as a dict or a :class:`Problem`; ``start`` rows are skipped.

    Memory: a row group's pages of one batch. Whole row groups before ``start`` are not read.
    """
    import pyarrow.parquet as parquet

    row = 0
    try:
        file = parquet.ParquetFile(path, memory_map=True)
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if row + size <= start:
                row += size
                continue
            for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[group]):
                for value in _values(batch, str(path), row):
                    row += 1
                    if row > start:
                        yield row, row, value
    except (OSError, ValueError) as error:
        message = f"not a Parquet file that can be read on from here ({' '.join(str(error).split())[:200]})"
        yield row + 1, row, Problem(str(path), row + 1, "broken-file", message, "refused")


def _values(batch: Any, name: str, before: int) -> Iterator[object]:
    try:
        yield from batch.to_pylist()
        return
    except UnicodeDecodeError:
        pass  # one text is none: look for it
    for place in range(batch.num_rows):
        try:
            yield batch.slice(place, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            yield Problem(name, before + place + 1, "not-utf8", f"a text is not UTF-8 ({error.reason})", "dropped")


def table_rows(path: Path, delimiter: str, start: int = 0) -> Iterator[tuple[int, int, object]]:
    """Line, rows so far, and the row as a dict of its header's names or a :class:`Problem`; ``start`` are skipped.

    The first line is the header. UTF-8, UTF-16, or UTF-32 with a BOM; gzipped or not. An empty cell is null: a row may
    have fewer negatives than the table has columns for.
    """
    for number, (line, value) in enumerate(_table(path, delimiter), 1):
        if number > start:
            yield line, number, value


def _table(path: Path, delimiter: str) -> Iterator[tuple[int, object]]:
    name, line = str(path), 0
    csv.field_size_limit(LONGEST_LINE)
    try:
        with _open(path) as file:
            reader = csv.reader(
                file, delimiter=delimiter, quoting=csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
            )
            header: list[str] | None = None
            while True:
                line = reader.line_num + 1  # a row may take several lines; its first one is told
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    yield line, Problem(name, line, "not-csv", f"no row of a table ({error})", "dropped")
                    continue
                if cells is None:
                    return
                if not cells:
                    continue
                if header is not None:
                    yield line, _row(header, cells, name, line, reader.line_num)
                    continue
                header = [cell.strip() for cell in cells]
                if message := _wrong_header(header, delimiter):
                    yield line, Problem(name, line, "wrong-header", message, "refused")
                    return
    except (EOFError, OSError, zlib.error, UnicodeError) as error:
        message = f"the file is damaged or breaks off here ({error}); the lines before it are read, no more"
        yield line, Problem(name, line, "broken-file", message, "refused")


def _wrong_header(header: list[str], delimiter: str) -> str:
    """Why no row can be read by this header; empty where they can."""
    if _NOT_UTF8.search("".join(header)):
        return "the header is not UTF-8; convert the file to UTF-8"
    if len(set(header)) != len(header):
        return "the header has a name twice; number such columns (negative_1, negative_2)"
    others = [other for other in ";\t|," if other in header[0]] if len(header) == 1 else []
    if others:
        return f"the columns are parted by {others[0]!r}, not by {delimiter!r}; save the file with that"
    return ""


def _row(header: list[str], cells: list[str], name: str, line: int, end: int) -> object:
    if len(cells) != len(header):
        message = f"{len(cells)} columns, the header has {len(header)}"
        if end > line:
            message += f"; it goes on to line {end}: is a quote not closed?"
        return Problem(name, line, "wrong-columns", message, "dropped")
    if any(_NOT_UTF8.search(cell) for cell in cells if not cell.isascii()):
        return Problem(name, line, "not-utf8", "a text is not UTF-8; convert the file to UTF-8", "dropped")
    return {column: cell or None for column, cell in zip(header, cells, strict=True)}


def _open(path: Path) -> TextIO:
    """A table's text. A byte that is no UTF-8 becomes half of a surrogate pair, which :func:`_row` looks for."""
    raw: Any = path.open("rb")
    file = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == b"\x1f\x8b" else raw
    encoding, bom = encoding_of(file.peek(4))
    file.read(bom)
    errors = "surrogateescape" if encoding == "utf-8" else "replace"
    return io.TextIOWrapper(file, encoding=encoding, errors=errors, newline="")
