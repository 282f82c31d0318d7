"""The digest of a task's rows: equal rows have an equal one, wherever they come from.

Whether a stage of a run is done depends on it. So it must not matter whether the rows were built from a source, read
from a mixture, mined or copied, nor in which batches they were written. For each column the digest covers how many
texts each row has, how many bytes each text, and the bytes. See docs/decisions.md, content-digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tdro.data.task import COLUMNS, Task

if TYPE_CHECKING:
    from datasets import Dataset

SHARD_ROWS = 100_000  # rows of an Arrow file, which have a digest of their own; a stopped build goes on after them


class ShardContent:
    """Computes the digests of one shard, that is of up to :data:`SHARD_ROWS` rows, which come in any number of parts.

    Args:
        columns: the columns that are digested.

    Example::

        shard = ShardContent()
        for batch in batches:  # Arrow record batches
            shard.add(batch)
        shard.rows()  # 64 hex digits
    """

    def __init__(self, columns: Sequence[str] = COLUMNS) -> None:
        self._columns = columns
        # For each column: how many texts each row has (if its cells are lists), the texts' lengths, and their bytes.
        self._digests = {
            (column, part): hashlib.sha256() for column in columns for part in ("lists", "lengths", "texts")
        }

    def add(self, rows: Any) -> None:
        """Take the next rows: an Arrow table or record batch with the columns of :data:`tdro.data.task.COLUMNS`."""
        for name in self._columns:
            column = rows.column(name)
            for array in getattr(column, "chunks", [column]):
                self._add(name, array)

    def _add(self, name: str, array: Any) -> None:
        """Take the next cells of a column, which are texts or lists of texts."""
        import pyarrow
        from pyarrow import compute, types

        if not len(array):
            return
        if types.is_list(array.type) or types.is_large_list(array.type):
            self._digests[name, "lists"].update(compute.list_value_length(array).to_numpy().astype("<i8").tobytes())
            array = array.flatten()
        array = array.cast(pyarrow.large_string())
        lengths = compute.binary_length(array).to_numpy(zero_copy_only=False).astype("<i8")
        self._digests[name, "lengths"].update(lengths.tobytes())
        _, ends, texts = array.buffers()
        if texts is not None:
            start = int.from_bytes(memoryview(ends)[8 * array.offset :][:8], "little")
            self._digests[name, "texts"].update(memoryview(texts)[start : start + int(lengths.sum())])

    def rows(self) -> str:
        """The digest of all columns."""
        return _joined(digest.hexdigest() for digest in self._digests.values())

    def queries(self) -> str:
        """The digest of the queries alone."""
        return _joined(digest.hexdigest() for (column, _), digest in self._digests.items() if column == "query")


def of_shards(shards: Iterable[str]) -> str:
    """The digest of all rows, from the digests of their shards in order."""
    return _joined(shards)


def rows_content(task: Task) -> str:
    """The digest of a task's rows. If the task does not know it, all its rows are read."""
    return task.fingerprint or of_shards(shard.rows() for shard in _shards(task.rows))


def queries_content(rows: Dataset) -> str:
    """The digest of the rows' queries alone. Mining hard negatives does not change it."""
    return of_shards(shard.queries() for shard in _shards(rows, ["query"]))


def _shards(rows: Dataset, columns: Sequence[str] = COLUMNS) -> Iterable[ShardContent]:
    """The rows in shards of :data:`SHARD_ROWS`, as a build would write them."""
    for part in rows.select_columns(list(columns)).with_format("arrow").iter(SHARD_ROWS):
        shard = ShardContent(columns)
        shard.add(part)
        yield shard


def _joined(digests: Iterable[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
