"""The index of a mixture on disk: made by one process, mapped by all.

The index of 10 M rows with a positive and a negative takes 500 MB, which eight ranks would otherwise each hold.
A folder holds plain NumPy arrays, five a task, and ``index.json``, which is written last.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tdro.data.task import Task
from tdro.data.tokens.mixture_index import IndexedTask, MixtureIndex, RaggedArray, index_mixture, text_columns
from tdro.data.tokens.stored_texts import StoredTexts
from tdro.errors import UserError
from tdro.files import fingerprint, make_once, read_json, write_atomic, write_json

FORMAT = "tdro-index/1"


def kept_index(tasks: Sequence[Task], folder: Path, content: str, prompts: bool = True) -> MixtureIndex:
    """The index of a mixture, memory-mapped from ``folder``. If it is not there yet, it is made first.

    Args:
        tasks: the training tasks.
        folder: may hold any number of indexes.
        content: a fingerprint of the tasks' rows, instructions and symmetries, from which the index is made.
        prompts: as in :func:`tdro.data.tokens.mixture_index.index_mixture`.

    Raises:
        UserError: a task has no rows, or the folder cannot be written or read.
    """
    place = Path(folder) / fingerprint([FORMAT, content, prompts])

    def make() -> None:
        _save(index_mixture(tasks, prompts), place)
        pa.default_memory_pool().release_unused()  # Arrow would keep the memory that numbering took

    make_once(place / "index.json", make)
    try:
        return _open(tasks, prompts, place)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{place}: cannot be read ({error}); remove the folder, it is made again") from error


def _save(index: MixtureIndex, place: Path) -> None:
    """Write an index to its folder."""
    for task_number, task in enumerate(index.tasks):
        arrays: list[NDArray] = [task.queries]
        for lists in (task.positives, task.negatives):
            arrays += [lists.values, lists.starts]
        for name, array in zip(_array_names(task_number), arrays, strict=True):
            write_atomic(place / name, partial(np.save, arr=array, allow_pickle=False))
    for texts, name in ((index.queries, "queries"), (index.passages, "passages")):
        write_atomic(place / f"{name}.npy", partial(np.save, arr=texts.firsts, allow_pickle=False))
    write_json(
        place / "index.json", {"format": FORMAT, "queries": index.queries.digest, "passages": index.passages.digest}
    )


def _open(tasks: Sequence[Task], prompts: bool, place: Path) -> MixtureIndex:
    """Map an index from its folder. The texts themselves are read from the tasks."""
    digests = read_json(place / "index.json")
    indexed = []
    for task_number, task in enumerate(tasks):
        queries, *lists = (_mapped(place / name) for name in _array_names(task_number))
        indexed.append(IndexedTask(task.name, queries, RaggedArray(*lists[:2]), RaggedArray(*lists[2:])))
    texts = [
        StoredTexts(columns, _mapped(place / f"{name}.npy"), digests[name])
        for columns, name in zip(text_columns(tasks, prompts), ("queries", "passages"), strict=True)
    ]
    return MixtureIndex(texts[0], texts[1], indexed)


def _array_names(task_number: int) -> list[str]:
    """The names of a task's five files. Those of task 0 begin with ``0-``."""
    arrays = ("queries", "positives", "positive-starts", "negatives", "negative-starts")
    return [f"{task_number}-{array}.npy" for array in arrays]


def _mapped(path: Path) -> NDArray:
    """A memory-mapped array, as a plain array: NumPy's own class for maps makes every small look-up slower."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
