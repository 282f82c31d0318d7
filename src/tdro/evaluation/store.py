"""Embeddings on disk: encoded once per model and text, in parts, and read back memory-mapped.

Texts are encoded in groups of up to 32,768, sorted by tokens within a group, so memory does not grow with the corpus.
A group may hold texts of several test sets, since many small ones would leave the batches half empty. Every part's file
is named by its texts, in a folder named by the model, its longest text and the precision: what another run, an
interrupted one or another test set has encoded is found again, and nothing has to be kept up to date. Ranks take whole
groups, so their embeddings are those of a single process to the bit.

The files hold float32, 4 x D bytes a text. Rejected: bf16 files of half the size; they move cosines by 1e-3 and reorder
near-ties, so results would no longer equal those of other tools. Rejected too: one array for the whole corpus with a
list of what is done, which every change of the corpus makes worthless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from tdro.console import progress_bar
from tdro.data.token_files import kept_tokens
from tdro.data.tokens import tokenize
from tdro.errors import UserError
from tdro.evaluation.passages import TextsOfFile
from tdro.files import fingerprint, write_atomic, write_json
from tdro.retriever.encode import encode_tokens
from tdro.retriever.machine import Machine

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_TEXTS_PER_GROUP = 32_768
_NO_LIMIT = 1 << 20  # tokens; a static model reads all of a text


_Group = list[tuple[int, range]]  # parts of lists that are encoded together: number of the list, which texts


@dataclass(frozen=True)
class Texts:
    """A list of texts, in memory or in a file, with what stands before each of them."""

    texts: Sequence[str] | TextsOfFile
    prompt: str = ""

    def __len__(self) -> int:
        return len(self.texts)

    def read(self, part: range) -> list[str]:
        """Some consecutive texts."""
        return [self.prompt + text for text in self.texts[part.start : part.stop]]


class Store:
    """One model's embeddings of some lists of texts.

    Args:
        folder: of all models' embeddings.
        lists: queries and passages of any number of test sets.
        model: encodes; it is put into evaluation mode.
        model_fingerprint: what :func:`tdro.retriever.check.model_fingerprint` says of it.
        machine: its ``bf16`` says whether to autocast (a static model computes in float32 in any case), its ranks
            share the texts. They must see one file system.
    """

    def __init__(
        self,
        folder: Path,
        lists: Sequence[Texts],
        model: SentenceTransformer,
        model_fingerprint: str,
        machine: Machine,
    ) -> None:
        self._lists, self._model, self._machine = lists, model.eval(), machine
        self._limit = int(min(model.max_seq_length or _NO_LIMIT, _NO_LIMIT))
        settings = {"model": model_fingerprint, "max_tokens": self._limit, "bf16": machine.bf16}
        self.folder = Path(folder) / fingerprint(settings)
        self._paths: dict[tuple[int, range], Path] = {}
        self._groups = _groups([len(texts) for texts in lists])
        if machine.main:
            write_json(self.folder / "settings.json", {"format": "tdro-embeddings/1", **settings})
        self.folder.mkdir(parents=True, exist_ok=True)

    def encode(self, tokens_folder: Path | None = None, title: str = "encoding", progress: bool = True) -> None:
        """Encode this rank's share of the texts, as far as they are not there yet. Equal texts of a group go through
        the model once.

        Args:
            tokens_folder: where the tokens are kept for the next model with this tokenizer; None does not keep them.
            title: what the progress bar says.
            progress: show a bar if it takes more than 5 seconds.

        Raises:
            UserError: the model gives numbers that are not finite.
        """
        own = self._groups[self._machine.rank :: self._machine.world]
        with progress_bar(
            total=sum(len(part) for group in own for _, part in group),
            title=title,
            unit=" texts",
            unit_scale=True,
            disable=not (progress and self._machine.main),
        ) as bar:
            for group in own:
                end = bar.n + sum(len(part) for _, part in group)
                self._encode_group(group, tokens_folder, title, bar)
                bar.update(end - bar.n)

    def blocks(self, number: int) -> Iterator[tuple[int, Tensor]]:
        """This rank's share of a list's embeddings: the place of the first, and a memory-mapped float32 tensor
        (texts, D) of unit length."""
        for group in self._groups[self._machine.rank :: self._machine.world]:
            for of_list, part in group:
                if of_list == number:
                    yield part.start, _read(self._path(number, part))

    def whole(self, number: int) -> Tensor:
        """All embeddings of a list, in memory; other ranks must have encoded theirs."""
        parts = [part for group in self._groups for of_list, part in group if of_list == number]
        return torch.cat([_read(self._path(number, part)) for part in parts])

    def _encode_group(self, group: _Group, tokens_folder: Path | None, title: str, bar: tqdm) -> None:
        place: dict[str, int] = {}
        rows: dict[Path, list[int]] = {}
        for number, part in group:
            texts = self._lists[number].read(part)
            path = self._paths[number, part] = self._named_by(texts)
            if not path.exists():
                rows[path] = [place.setdefault(text, len(place)) for text in texts]
        if not rows:
            return
        vectors = self._vectors(list(place), tokens_folder, bar)
        if not np.isfinite(vectors).all():
            raise UserError(f"{title}: the model's embeddings are not all finite numbers; it cannot be evaluated")
        for path, places in rows.items():
            _save(path, vectors[places])

    def _vectors(self, texts: list[str], tokens_folder: Path | None, bar: tqdm) -> NDArray[np.float32]:
        if tokens_folder is None:
            tokens = tokenize(self._model, texts, self._limit, "test sets")
        else:
            content = fingerprint(texts)
            tokens = kept_tokens(self._model, texts, self._limit, tokens_folder, content=content, what="test sets")
        advance = _by_tokens(bar, tokens.lengths)
        return encode_tokens(self._model, tokens, np.arange(len(texts)), self._machine, done=advance)

    def _path(self, number: int, part: range) -> Path:
        if (number, part) not in self._paths:
            self._paths[number, part] = self._named_by(self._lists[number].read(part))
        return self._paths[number, part]

    def _named_by(self, texts: list[str]) -> Path:
        return self.folder / f"{fingerprint(texts)}.npy"


def _groups(lengths: Sequence[int]) -> list[_Group]:
    """Every list is cut at multiples of the largest group, whatever the lists before it, so that its files are found
    again; small parts share a group."""
    groups: list[_Group] = []
    room = 0
    for number, length in enumerate(lengths):
        for start in range(0, length, _TEXTS_PER_GROUP):
            part = range(start, min(start + _TEXTS_PER_GROUP, length))
            if len(part) > room:
                groups.append([])
                room = _TEXTS_PER_GROUP
            groups[-1].append((number, part))
            room -= len(part)
    return groups


def _by_tokens(bar: tqdm, lengths: NDArray[np.int64]) -> Callable[[int], None]:
    """A function that is told of texts that are done, the longest first, and moves the bar by their share of tokens."""
    share = np.cumsum(np.sort(lengths)[::-1]) / max(1, lengths.sum())
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        before = share[done - 1] if done else 0.0
        done += count
        bar.update(len(lengths) * (share[done - 1] - before))

    return advance


def _read(path: Path) -> Tensor:
    try:
        # Copy on write: torch wants memory that could be written, the file stays as it is.
        return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: embeddings cannot be read ({error}); remove the file and evaluate again") from error


def _save(path: Path, vectors: NDArray[np.float32]) -> None:
    """Write a part whole or not at all."""
    write_atomic(path, partial(np.save, arr=vectors, allow_pickle=False))
