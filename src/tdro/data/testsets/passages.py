"""A test set's passages: ids in a compact array, texts read from their file when they are asked for.

One pass over ``corpus.jsonl`` checks every line and remembers where it starts, so a corpus costs at most 100 bytes a
passage (measured at 3 M), whatever its texts are. Rejected: a dict of rows (a kilobyte a passage and more), and an
Arrow copy of the corpus, which doubles it on disk to save the parsing of a line.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tdro.console import progress_bar
from tdro.data.read.beir_ids import id_text, wrong_id
from tdro.data.read.titled import titled
from tdro.errors import UserError

_IDS_AT_ONCE = 1 << 16
STOPS = "nothing of this test set was evaluated"  # what is done about a line that cannot be read


class TextsOfFile:
    """The passages' texts, title and text joined by a space; a slice reads its lines.

    Args:
        path: ``corpus.jsonl``, checked before.
        starts: the byte where each passage's line starts.
    """

    def __init__(self, path: Path, starts: NDArray[np.int64]) -> None:
        self._path, self._starts = path, starts

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, part: slice) -> list[str]:
        texts = []
        with self._path.open("rb") as file:
            for start in self._starts[part]:
                file.seek(start)
                texts.append(_joined(json.loads(file.readline().removeprefix(b"\xef\xbb\xbf"))))
        return texts


@dataclass(frozen=True)
class Passages:
    """Ids and texts of a corpus, in one order; no id is there twice."""

    ids: pa.LargeStringArray
    texts: TextsOfFile | list[str]

    @classmethod
    def of(cls, ids: Sequence[str], texts: Sequence[str]) -> Passages:
        """Passages in memory."""
        return cls(pa.array(ids, pa.large_string()), list(texts))

    def __len__(self) -> int:
        return len(self.ids)

    def places(self, ids: Iterable[str]) -> dict[str, int]:
        """Where passages stand, of those ids that there are."""
        wanted = list(dict.fromkeys(ids))
        found = pc.index_in(self.ids, value_set=pa.array(wanted, pa.large_string()))
        there = found.is_valid().to_numpy(zero_copy_only=False).nonzero()[0]
        return {wanted[found[place].as_py()]: int(place) for place in there}

    def by_id(self) -> NDArray[np.int64]:
        """The places in rising order of their ids' code points, which is that of their UTF-8 bytes."""
        return pc.sort_indices(self.ids).to_numpy().astype(np.int64)


def read_passages(path: Path) -> tuple[Passages, list[str]]:
    """Read ``corpus.jsonl`` (``{"_id", "title", "text"}`` a line) and say which lines were passed over, and why.

    Of lines with one id the last counts, as in BEIR.

    Raises:
        UserError: a missing file, one without rows, or a broken line; named by file and line.
    """
    starts, lines, parts, ids = array("q"), array("q"), [], []
    size = path.stat().st_size if path.exists() else 0
    with progress_bar(total=size, title=f"reading {path.name}", unit="B", unit_scale=True) as bar:
        for line, start, row in id_rows(path, ("title", "text")):
            starts.append(start)
            lines.append(line)
            ids.append(row["_id"])
            if len(ids) == _IDS_AT_ONCE:
                parts.append(pa.array(ids, pa.large_string()))
                ids = []
                bar.update(start - bar.n)
    if not starts:
        raise UserError(f"{path}: no rows")
    all_ids = pa.concat_arrays([*parts, pa.array(ids, pa.large_string())])
    kept, problems = _without_repeated(all_ids, np.frombuffer(lines, dtype=np.int64), path)
    where = np.frombuffer(starts, dtype=np.int64)
    return Passages(all_ids.filter(pa.array(kept)), TextsOfFile(path, where[kept])), problems


def _without_repeated(
    ids: pa.LargeStringArray, lines: NDArray[np.int64], path: Path
) -> tuple[NDArray[np.bool_], list[str]]:
    """Which rows are left when the last of each id is, and what to say of the others."""
    order = pc.sort_indices(ids)  # stable: the last of equal ids is the last line
    inside = ids.take(order)
    again = pc.equal(inside[1:], inside[:-1]).to_numpy(zero_copy_only=False)
    earlier, later = order.to_numpy()[:-1][again], order.to_numpy()[1:][again]
    kept = np.ones(len(ids), dtype=bool)
    kept[earlier] = False
    problems = [
        f"{path}, line {lines[later[pair]]}: a second line has the _id {ids[int(later[pair])].as_py()!r}; it counts, "
        f"and line {lines[earlier[pair]]} is dropped, as in BEIR"
        for pair in np.argsort(later)
    ]
    return kept, problems


def id_rows(path: Path, texts: tuple[str, ...]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """The rows of a JSONL file with an ``_id``: line (from 1), byte where it starts, and content (the id is a text).

    Args:
        path: the file, UTF-8.
        texts: keys of texts; the last of them is required.

    Raises:
        UserError: a missing file, or a broken line; named by file and line.
    """
    start = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if content.strip():
                    yield number, start, _row(content, texts, f"{path}, line {number}")
                start += len(line)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def _row(line: bytes, texts: tuple[str, ...], where: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error.msg}); {STOPS}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of thousands of digits, brackets in brackets
        raise UserError(f"{where}: cannot be read as UTF-8 JSON ({error}); {STOPS}") from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected a JSON object, found {type(row).__name__}; {STOPS}")
    key = id_text(row.get("_id"))
    if not key:
        raise UserError(f"{where}: {wrong_id(row.get('_id'))}; {STOPS}")
    for name in texts:
        value = row.get(name, None if name == texts[-1] else "")
        if not isinstance(value, str) and not (name == "title" and value is None):
            kind = "missing" if name not in row else type(value).__name__
            raise UserError(f"{where}: key {name!r} must be a string, it is {kind}; {STOPS}")
    return {**row, "_id": key}


def _joined(row: dict[str, Any]) -> str:
    return titled(*(clean(row.get(key) or "") for key in ("title", "text")))


def clean(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can hold and no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")
