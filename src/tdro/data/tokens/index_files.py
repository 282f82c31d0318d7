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
    """As :func:`tdro.data.tokens.mixture_index.index_mixture`, kept in ``folder`` and mapped from there.

    Args:
        tasks: the training tasks.
        folder: of any number of indexes.
        content: a fingerprint of the tasks' rows, instructions and symmetries; where it is equal, they are.
        prompts: as there.

    Raises:
        UserError: a task without rows, or a folder that cannot be written or read.
    """
    place = Path(folder) / fingerprint([FORMAT, content, prompts])

    def make() -> None:
        _save(index_mixture(tasks, prompts), place)
        pa.default_memory_pool().release_unused()  # what numbering took, which Arrow would keep for itself

    make_once(place / "index.json", make)
    try:
        return _open(tasks, prompts, place)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{place}: cannot be read ({error}); remove the folder, it is made again") from error


def _save(index: MixtureIndex, place: Path) -> None:
    for number, task in enumerate(index.tasks):
        arrays: list[NDArray] = [task.queries]
        for lists in (task.positives, task.negatives):
            arrays += [lists.values, lists.starts]
        for name, array in zip(_names(number), arrays, strict=True):
            write_atomic(place / name, partial(np.save, arr=array, allow_pickle=False))
    for texts, kind in ((index.queries, "queries"), (index.passages, "passages")):
        write_atomic(place / f"{kind}.npy", partial(np.save, arr=texts.firsts, allow_pickle=False))
    write_json(
        place / "index.json", {"format": FORMAT, "queries": index.queries.digest, "passages": index.passages.digest}
    )


def _open(tasks: Sequence[Task], prompts: bool, place: Path) -> MixtureIndex:
    digests = read_json(place / "index.json")
    indexed = []
    for number, task in enumerate(tasks):
        queries, *lists = (_mapped(place / name) for name in _names(number))
        indexed.append(IndexedTask(task.name, queries, RaggedArray(*lists[:2]), RaggedArray(*lists[2:])))
    texts = [
        StoredTexts(columns, _mapped(place / f"{kind}.npy"), digests[kind])
        for columns, kind in zip(text_columns(tasks, prompts), ("queries", "passages"), strict=True)
    ]
    return MixtureIndex(texts[0], texts[1], indexed)


def _names(number: int) -> list[str]:
    return [
        f"{number}-{what}.npy" for what in ("queries", "positives", "positive-starts", "negatives", "negative-starts")
    ]


def _mapped(path: Path) -> NDArray:
    # A plain array over the map: NumPy's class for maps makes every small look-up slower.
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
