"""Writes a task's rows to Arrow files, and opens them memory-mapped: no row is in memory before it is asked for.

Each file has ``SHARD_ROWS`` rows (so 10 M rows are 100 open files). It gets its final name when it is complete. The
digests of its content are computed while it is written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdro.data.mixtures.content import SHARD_ROWS, ShardContent
from tdro.data.read.rows import Row
from tdro.data.task import COLUMNS

if TYPE_CHECKING:
    from datasets import Dataset

# A batch is written when its texts have this many characters. Opening a file reads a little of each of its batches, so
# there should be few of them.
BATCH_CHARACTERS = 64 << 20
_OPENED_AT_ONCE = 32  # threads that open files; opening one mostly waits for the disk


def shard_name(number: int) -> str:
    """The name of a task's Arrow file by its number from 0."""
    return f"rows-{number:05d}.arrow"


def open_rows(files: Sequence[Path], fingerprint: str) -> Dataset:
    """The rows of Arrow files, memory-mapped.

    Args:
        files: the files that :class:`RowWriter` wrote, in order.
        fingerprint: any text that is the same for the same rows; ``datasets`` wants one.
    """
    from datasets import Dataset
    from datasets.table import MemoryMappedTable, concat_tables

    with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:  # making a Dataset of each file takes three times as long
        tables = list(pool.map(MemoryMappedTable.from_file, map(str, files)))
    return Dataset(concat_tables(tables), fingerprint=fingerprint)


class RowWriter:
    """Writes rows into new Arrow files of a folder, behind those that an earlier build completed.

    Example::

        writer = RowWriter(folder)
        for row in rows:
            writer.add(row)
        writer.close()

    Args:
        folder: an existing folder.
        done: how many of its files are complete. All other files of rows are removed.

    Attributes:
        rows: the digest of each new file's rows.
        queries: the digest of each new file's queries.
    """

    def __init__(self, folder: Path, done: int = 0) -> None:
        import pyarrow

        text = pyarrow.large_string()  # 64-bit offsets: the passages of 3 M rows are more than 2 GiB
        texts = pyarrow.list_(text)
        self._schema = pyarrow.schema(list(zip(COLUMNS, (text, text, texts, texts), strict=True)))
        self._folder, self._number = folder, done
        self.rows: list[str] = []
        self.queries: list[str] = []
        self._batch: list[Row] = []
        self._characters = 0  # in the batch
        self._in_file = 0  # rows, with those in the batch
        self._stream: Any = None
        for stale in folder.glob("rows-*"):
            if stale.name not in map(shard_name, range(done)):
                stale.unlink()

    def add(self, row: Row) -> bool:
        """Take the next row. Returns whether it completed a file."""
        self._batch.append(row)
        self._characters += sum(map(len, (row.query, *row.positives, *row.negatives)))
        self._in_file += 1
        whole = self._in_file == SHARD_ROWS
        if whole or self._characters >= BATCH_CHARACTERS:
            self._write_batch()
        if whole:
            self._end_file()
        return whole

    def close(self) -> None:
        """Write the rows that are left, and complete the last file."""
        if self._batch:
            self._write_batch()
        if self._stream is not None:
            self._end_file()

    def _write_batch(self) -> None:
        """Append the batch in memory to the current file; open a new one if there is none."""
        import pyarrow

        if self._stream is None:
            self._path = self._folder / f"{shard_name(self._number)}.part"
            self._file = self._path.open("wb")
            self._stream = pyarrow.ipc.new_stream(self._file, self._schema)
            self._content = ShardContent()
        columns = zip(*self._batch, strict=True)
        arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, self._schema.types, strict=True)]
        batch = pyarrow.record_batch(arrays, schema=self._schema)
        self._stream.write_batch(batch)
        self._content.add(batch)
        self._batch = []
        self._characters = 0

    def _end_file(self) -> None:
        """Bring the current file to disk and give it its final name."""
        self._stream.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._path.replace(self._path.with_suffix(""))
        self.rows.append(self._content.rows())
        self.queries.append(self._content.queries())
        self._number += 1
        self._in_file = 0
        self._stream = None
