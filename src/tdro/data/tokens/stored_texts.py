"""A mixture's texts, which stay in the tasks' Arrow files, are memory-mapped, and are read on demand.

Training reads tokens; only the tokenizer reads texts, once. See docs/decisions.md, texts-on-disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tdro.data.task import Task

if TYPE_CHECKING:
    from datasets import Dataset

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TextColumn:
    """The queries, the positives or the negatives of a task, one text after the other. Nothing is copied.

    Attributes:
        chunks: the texts, as Arrow arrays over the mapped file.
        prompt: the text that stands before each of them; may be empty.
        of_row: the table's column, in which a row has one text (queries) or a list of texts (passages).
    """

    chunks: list[pa.Array]
    prompt: str
    of_row: pa.ChunkedArray

    def __len__(self) -> int:
        return sum(map(len, self.chunks))

    def starts(self) -> Ints:
        """Where each row's list of texts starts among all texts, and where the last one ends; shape (rows + 1,)."""
        lengths = pc.fill_null(pc.list_value_length(self.of_row), 0).to_numpy(zero_copy_only=False)
        return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


def negative_counts(rows: Dataset) -> Ints:
    """How many negatives each row has, shape (rows,)."""
    lists = rows.select_columns(["negatives"]).with_format("arrow")[:]["negatives"]
    return pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)


def columns_of(task: Task, prompts: bool) -> tuple[TextColumn, TextColumn, TextColumn]:
    """The columns of a task's queries, its positives and its negatives.

    If ``prompts`` is on, the task's prompt stands before its queries, and in a symmetric task before its passages too.
    """
    table = task.rows.with_format("arrow")[:]
    prompt = task.prompt if prompts else ""
    on_passages = prompt if task.symmetric else ""
    positives, negatives = (
        TextColumn([lists.flatten() for lists in table[name].chunks], on_passages, table[name])
        for name in ("positives", "negatives")
    )
    return TextColumn(table["query"].chunks, prompt, table["query"]), positives, negatives


class StoredTexts:
    """The distinct texts of some columns, by number. Each is read from its file when it is asked for.

    Example::

        for prompt, texts in stored.by_prompt(slice(0, 4096)):  # the first 4,096 texts
            print(len(texts), "texts begin with", prompt)

    Args:
        columns: the columns that hold the texts.
        firsts: where each distinct text comes first, counted through all columns; rising, int64 (n_texts,).
        digest: a digest of the texts in their order. Equal digests mean equal texts.

    Attributes:
        prompts: the prompt of each column.
    """

    def __init__(self, columns: Sequence[TextColumn], firsts: Ints, digest: str) -> None:
        self.firsts, self.digest = firsts, digest
        self.prompts = tuple(column.prompt for column in columns)
        self._chunks = [(chunk, column.prompt) for column in columns for chunk in column.chunks]
        self._starts = np.cumsum([0, *(len(chunk) for chunk, _ in self._chunks)])

    def __len__(self) -> int:
        return len(self.firsts)

    def by_prompt(self, which: slice) -> Iterator[tuple[str, list[str]]]:
        """Some of the texts, in their order. Neighbours with the same prompt come together.

        Yields:
            The prompt, and the texts that have it. They begin with it.
        """
        for prompt, parts in groupby(self._read(self.firsts[which]), key=lambda part: part[0]):
            yield prompt, [text for _, texts in parts for text in texts]

    def _read(self, places: Ints) -> Iterator[tuple[str, list[str]]]:
        """The prompt and the texts of each run of places that lie in one chunk."""
        of_place = np.searchsorted(self._starts, places, side="right") - 1
        for part in np.split(np.arange(len(places)), np.flatnonzero(np.diff(of_place)) + 1):
            if len(part):
                chunk_number = of_place[part[0]]
                chunk, prompt = self._chunks[chunk_number]
                found = chunk.take(pa.array(places[part] - self._starts[chunk_number])).to_pylist()
                yield prompt, [prompt + text for text in found] if prompt else found


AnyTexts = Sequence[str] | StoredTexts
