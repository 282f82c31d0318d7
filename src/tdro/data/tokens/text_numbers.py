"""Gives equal texts equal numbers, without holding any of them in memory.

Two texts are taken for equal if the 128-bit hashes (XXH3) of their UTF-8 bytes are, prompt included. The chance that
any two of 100 M different texts have the same hash is 10⁻²³. A text takes half a microsecond, and 50 bytes of memory
while it runs. See docs/decisions.md, hashed-texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from xxhash import xxh3_128_digest

from tdro.console import progress_bar
from tdro.data.tokens.stored_texts import TextColumn

_HASH_BYTES = 16
_TEXTS_AT_ONCE = 65_536


@dataclass(frozen=True)
class NumberedTexts:
    """The texts of some columns as numbers. Distinct texts are numbered in the order in which they first come.

    Example: the columns ``[a, b, a]`` and ``[c, b]`` have the numbers ``[0, 1, 0]`` and ``[2, 1]``; ``firsts`` is
    ``[0, 1, 3]``.

    Attributes:
        numbers: for each column the numbers of its texts, shape (texts of the column,).
        firsts: where each distinct text comes first, counted through all columns; rising, shape (distinct,).
        digest: a digest of the distinct texts in their order.
    """

    numbers: list[NDArray[np.int32]]
    firsts: NDArray[np.int64]
    digest: str


def numbered(columns: Sequence[TextColumn], texts_name: str = "texts") -> NumberedTexts:
    """Number the texts of the columns.

    Args:
        columns: at most 134 M distinct texts together, which is what Arrow's dictionary of hashes holds.
        texts_name: names the texts in the progress bar.
    """
    counts = [len(column) for column in columns]
    hashes = np.empty((sum(counts), _HASH_BYTES), dtype=np.uint8)
    done = 0
    with progress_bar(title=f"numbering {texts_name}", total=len(hashes), unit=" texts", unit_scale=True) as bar:
        for part, prompt in _parts(columns):
            hashes[done : done + len(part)] = _hashes(part, prompt)
            done += len(part)
            bar.update(len(part))
    flat = pa.FixedSizeBinaryArray.from_buffers(pa.binary(_HASH_BYTES), len(hashes), [None, pa.py_buffer(hashes)])
    numbers = flat.dictionary_encode().indices.to_numpy()
    highest = np.maximum.accumulate(numbers)  # numbers are given in the order of coming: a new text has the highest yet
    firsts = np.flatnonzero(np.diff(highest, prepend=-1))
    digest = hashlib.sha256(hashes[firsts].data).hexdigest()
    return NumberedTexts(np.split(numbers, np.cumsum(counts)[:-1]), firsts, digest)


def _parts(columns: Sequence[TextColumn]) -> Iterator[tuple[pa.Array, bytes]]:
    """All texts in parts of :data:`_TEXTS_AT_ONCE`, each with its column's prompt."""
    for column in columns:
        for chunk in column.chunks:
            for start in range(0, len(chunk), _TEXTS_AT_ONCE):
                yield chunk.slice(start, _TEXTS_AT_ONCE), column.prompt.encode()


def _hashes(texts: pa.Array, prompt: bytes) -> NDArray[np.uint8]:
    """The hash of each text with its prompt, (texts, 16). No Python string is made: Arrow's bytes are hashed."""
    texts = texts.cast(pa.large_string())  # tasks that tdro built have this type already
    _, ends, content = texts.buffers()
    bounds = np.frombuffer(ends, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1].tolist()
    view = memoryview(content or b"")
    if prompt:
        found = [xxh3_128_digest(prompt + view[start:end]) for start, end in pairwise(bounds)]
    else:
        found = [xxh3_128_digest(view[start:end]) for start, end in pairwise(bounds)]
    return np.frombuffer(b"".join(found), dtype=np.uint8).reshape(-1, _HASH_BYTES)
