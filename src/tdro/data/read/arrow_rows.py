"""Rows of Parquet files and of folders that ``datasets``' ``save_to_disk`` made, one at a time, with their numbers.

Both hold Arrow's columns, and one text that is no UTF-8 costs its row only. A folder of ``save_to_disk`` is one data
set (``state.json`` names its files) or a dictionary of them, a folder a split (``dataset_dict.json``). Rejected:
reading the ``.arrow`` files of such a folder by their names, of which some may be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tdro.data.read.rows import Problem
from tdro.data.read.splits import split_to_read
from tdro.errors import UserError
from tdro.files import read_json

_ROWS_AT_ONCE = 500
_FILES = ("_data_files", "_indices_data_files")  # keys of state.json
_ARROW_ENDS = (b"\xff\xff\xff\xff\0\0\0\0", b"ARROW1")  # of a stream, and of a file


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
                for value in values_of(batch, str(path), row):
                    row += 1
                    if row > start:
                        yield row, row, value
    except (OSError, ValueError) as error:
        message = f"no Parquet file, or damaged or broken off ({' '.join(str(error).split())[:200]})"
        yield row + 1, row, Problem(str(path), row + 1, "broken-file", message, "refused")


def values_of(batch: Any, name: str, before: int) -> Iterator[object]:
    """The rows of an Arrow table or batch as dicts, or as a :class:`Problem`; so many rows stand before it."""
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


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` made the folder."""
    return (folder / "dataset_dict.json").is_file() or all(
        (folder / name).is_file() for name in ("state.json", "dataset_info.json")
    )


def saved_split(folder: Path, wanted: str | None) -> tuple[Path, list[str]]:
    """The folder of one data set: a dictionary's wanted split (or ``train``), or the folder itself; and the others.

    Raises:
        UserError: there is no such split, or it cannot be told which one is meant.
    """
    if not (folder / "dataset_dict.json").is_file():
        if wanted is not None:
            raise UserError(f"{folder}: one data set, without splits; there is none named {wanted!r}")
        return folder, []
    content = read_json(folder / "dataset_dict.json")
    names = content.get("splits") if isinstance(content, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{folder / 'dataset_dict.json'}: names no splits; give the folder of one split")
    chosen = split_to_read(names, wanted, str(folder))
    return folder / chosen, [name for name in names if name != chosen]


def saved_files(folder: Path) -> list[Path]:
    """The files of a data set that ``save_to_disk`` wrote, whole.

    Raises:
        UserError: one is missing or was cut.
    """
    if not is_saved(folder):
        raise UserError(f"{folder}: no data set of save_to_disk (state.json and dataset_info.json); is the copy whole?")
    content = read_json(folder / "state.json")
    try:
        names = [entry["filename"] for key in _FILES for entry in content.get(key) or ()]
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{folder / 'state.json'}: names no files; save the data set again") from error
    files = [folder / str(name) for name in names]
    if not files:
        raise UserError(f"{folder}: an empty data set")
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: no such file, though state.json names it; is the copy whole?")
        with file.open("rb") as opened:
            size = opened.seek(0, 2)
            opened.seek(max(0, size - 8))
            if not opened.read().endswith(_ARROW_ENDS):
                raise UserError(f"{file}: breaks off; copy or save it again")
    return files


def saved_rows(folder: Path) -> tuple[int, Callable[[int], Iterator[tuple[int, int, object]]]]:
    """How many rows a data set of ``save_to_disk`` has, and what reads them from one on, as :func:`parquet_rows` does.

    Rows are memory-mapped.
    """
    from datasets import load_from_disk

    try:
        rows: Any = load_from_disk(str(folder), keep_in_memory=False).with_format("arrow")
    except Exception as error:  # whatever datasets and pyarrow raise
        raise UserError(f"{folder}: cannot be loaded by datasets ({' '.join(str(error).split())[:200]})") from error

    def read(start: int) -> Iterator[tuple[int, int, object]]:
        for first in range(start, len(rows), _ROWS_AT_ONCE):
            for row, value in enumerate(values_of(rows[first : first + _ROWS_AT_ONCE], str(folder), first), first + 1):
                yield row, row, value

    return len(rows), read
