"""A test set's passages: ids in a compact array, texts read from their file when they are asked for.

One pass over ``corpus.jsonl`` checks every line and remembers where it is, so a corpus of any size costs at most 110
bytes of memory a passage. See docs/decisions.md, passages-on-disk.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tdro.console import progress_bar
from tdro.data.read.beir import entries, passage_text, strict
from tdro.data.read.jsonl import parse_again
from tdro.data.read.text_files import seekable_encoding
from tdro.errors import UserError

_IDS_AT_ONCE = 1 << 16  # ids that are Python strings at the same time
STOPS = "nothing of this test set was evaluated"  # how the error ends where a line cannot be read


class TextsOfFile:
    """The passages' texts, title and text joined by a space; taking a slice reads its lines.

    Args:
        path: ``corpus.jsonl``; its lines have been checked.
        starts: the byte at which each passage's line begins.
        ends: the byte behind each passage's line.
    """

    def __init__(self, path: Path, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self._path, self._starts, self._ends = path, starts, ends
        self._encoding = seekable_encoding(path)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, part: slice) -> list[str]:
        texts = []
        with self._path.open("rb") as file:
            for start, end in zip(self._starts[part].tolist(), self._ends[part].tolist(), strict=True):
                file.seek(start)
                texts.append(clean(passage_text(parse_again(file.read(end - start), self._encoding))))
        return texts


@dataclass(frozen=True)
class Passages:
    """The ids and the texts of a corpus, in the same order. No id comes twice.

    Example::

        passages, problems = read_passages(Path("scifact/corpus.jsonl"))
        passages.texts[0:100]  # the first hundred texts, read from the file
        passages.places(["4983"])  # {"4983": 0}
    """

    ids: pa.LargeStringArray
    texts: TextsOfFile | list[str]

    @classmethod
    def of(cls, ids: Sequence[str], texts: Sequence[str]) -> Passages:
        """Passages whose texts are in memory."""
        return cls(pa.array(ids, pa.large_string()), list(texts))

    def __len__(self) -> int:
        return len(self.ids)

    def places(self, ids: Iterable[str]) -> dict[str, int]:
        """The place of each of these passages in the corpus. An id that the corpus lacks is left out."""
        wanted = list(dict.fromkeys(ids))
        found = pc.index_in(self.ids, value_set=pa.array(wanted, pa.large_string()))
        there = found.is_valid().to_numpy(zero_copy_only=False).nonzero()[0]
        return {wanted[found[place].as_py()]: int(place) for place in there}

    def by_id(self) -> NDArray[np.int64]:
        """The places of all passages, sorted by their ids' code points (which is the order of their UTF-8 bytes)."""
        return pc.sort_indices(self.ids).to_numpy().astype(np.int64)


def read_passages(path: Path) -> tuple[Passages, list[str]]:
    """Read ``corpus.jsonl``. If several lines have the same id, the last one counts, as in BEIR.

    Returns:
        The passages, and a sentence for each line that does not count.

    Raises:
        UserError: the file is missing, compressed or without rows; or a line, named in the error, is broken.
    """
    starts, ends, lines, parts, ids = array("q"), array("q"), array("q"), [], []
    size = path.stat().st_size if path.exists() else 0
    with progress_bar(total=size, title=f"reading {path.name}", unit="B", unit_scale=True) as bar:
        for line, start, end, key, _ in strict(path, entries(path), STOPS):
            starts.append(start)
            ends.append(end)
            lines.append(line)
            ids.append(key)
            if len(ids) == _IDS_AT_ONCE:
                parts.append(pa.array(ids, pa.large_string()))
                ids = []
                bar.update(start - bar.n)
    if not starts:
        raise UserError(f"{path}: no rows")
    all_ids = pa.concat_arrays([*parts, pa.array(ids, pa.large_string())])
    kept, problems = _without_repeated(all_ids, np.frombuffer(lines, dtype=np.int64), path)
    places = (np.frombuffer(each, dtype=np.int64)[kept] for each in (starts, ends))
    return Passages(all_ids.filter(pa.array(kept)), TextsOfFile(path, *places)), problems


def _without_repeated(
    ids: pa.LargeStringArray, lines: NDArray[np.int64], path: Path
) -> tuple[NDArray[np.bool_], list[str]]:
    """Which rows stay if only the last of each id is kept, and a sentence for each of the others."""
    order = pc.sort_indices(ids)  # stable, so of equal ids the last one is the last line
    sorted_ids = ids.take(order)
    again = pc.equal(sorted_ids[1:], sorted_ids[:-1]).to_numpy(zero_copy_only=False)
    earlier, later = order.to_numpy()[:-1][again], order.to_numpy()[1:][again]
    kept = np.ones(len(ids), dtype=bool)
    kept[earlier] = False
    problems = [
        f"{path}, line {lines[later[pair]]}: a second line has the _id {ids[int(later[pair])].as_py()!r}; it counts, "
        f"and line {lines[earlier[pair]]} is dropped, as in BEIR"
        for pair in np.argsort(later)
    ]
    return kept, problems


def clean(text: str) -> str:
    """The text with "?" for halves of surrogate pairs, which JSON can hold but no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")
