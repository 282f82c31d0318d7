"""Read Parquet files, and folders that ``save_to_disk`` of the library ``datasets`` made, one row at a time.

Both hold Arrow columns, and a text that is not UTF-8 costs only its own row. A folder of ``save_to_disk`` is either one
data set, whose ``state.json`` lists its files, or several splits with a folder each, which ``dataset_dict.json`` lists.
See docs/decisions.md, saved-by-state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tdro.data.read.problem import Problem
from tdro.data.read.splits import split_to_read
from tdro.errors import UserError
from tdro.files import read_json

_ROWS_AT_ONCE = 500
_FILES = ("_data_files", "_indices_data_files")  # the keys of state.json that list files
_ARROW_ENDS = (b"\xff\xff\xff\xff\0\0\0\0", b"ARROW1")  # how a whole Arrow stream ends, and a whole Arrow file


def parquet_size(path: Path) -> int | None:
    """How many rows a Parquet file has; None if it is not one (the error comes when it is read)."""
    import pyarrow.parquet as parquet

    try:
        return int(parquet.read_metadata(path).num_rows)
    except (OSError, ValueError):  # pyarrow's errors are ValueErrors, or OSErrors
        return None


def parquet_rows(path: Path, start: int = 0) -> Iterator[tuple[int, int, object]]:
    """Yield a row's number (from 1), how many rows came so far, and the row as a dict or a :class:`Problem`.

    The first ``start`` rows are skipped, and row groups that lie before them are not read at all. Memory: 500 rows.
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
    """The rows of an Arrow table or batch, each as a dict or a :class:`Problem`.

    Args:
        batch: the table or batch.
        name: of the file, for problems.
        before: how many rows of the file come before the batch, for problems too.
    """
    try:
        yield from batch.to_pylist()
        return
    except UnicodeDecodeError:
        pass  # some text is not UTF-8: find its row
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
    """The folder of the data set to read, and the names of the splits that are not read.

    Args:
        folder: one data set, which is the folder itself, or several splits.
        wanted: the split to read; None for ``train``.

    Raises:
        UserError: there is no such split, or several could be meant.
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
    """The files of a data set that ``save_to_disk`` wrote. Raises :class:`UserError` if one is missing or truncated."""
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
    """How many rows a data set of ``save_to_disk`` has, and a function that reads them.

    The function takes the number of rows to skip, and yields what :func:`parquet_rows` yields. Rows are memory-mapped.
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
