"""Embeddings on disk: encoded once per model and text, in parts, and read back memory-mapped.

Texts are encoded in groups of up to 32,768, sorted by tokens within a group, so memory does not grow with the corpus.
A group may hold texts of several test sets, since many small ones would leave the batches half empty. A model that
needs its own ``encode`` (:mod:`tdro.models.own_encode`) gets each list by itself. Every part's file is named by its
texts (there by side and prompt too), in a folder named by the model, its longest text and the precision: what another
run, an interrupted one or another test set has encoded is found again, and nothing has to be kept up to date. Ranks
take whole groups, so their embeddings are those of a single process to the bit.

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
from tdro.data.testsets.passages import TextsOfFile
from tdro.data.tokens.limits import longest_row
from tdro.data.tokens.token_files import kept_tokens
from tdro.data.tokens.tokenize import tokenize
from tdro.errors import UserError
from tdro.files import fingerprint, write_atomic, write_json
from tdro.machine import Machine
from tdro.models.encode import encode_tokens
from tdro.models.own_encode import Side, leaves_out_prompt, needs_own_encode, own_vectors, prompt_is_message
from tdro.models.similarity import similarity_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_TEXTS_PER_GROUP = 32_768
_NO_LIMIT = 1 << 20  # tokens; a static model reads all of a text


_Group = list[tuple[int, range]]  # parts of lists that are encoded together: number of the list, which texts


@dataclass(frozen=True)
class TextList:
    """A list of texts, in memory or in a file, with what stands before each of them, and whether they are queries."""

    texts: Sequence[str] | TextsOfFile
    prompt: str = ""
    side: Side = "document"

    def __len__(self) -> int:
        return len(self.texts)

    def read(self, part: range) -> list[str]:
        """Some consecutive texts, without the prompt."""
        return list(self.texts[part.start : part.stop])


class EmbeddingStore:
    """One model's embeddings of some lists of texts.

    Args:
        folder: of all models' embeddings.
        lists: queries and passages of any number of test sets.
        model: encodes; it is put into evaluation mode.
        model_fingerprint: what :func:`tdro.models.fingerprint.model_fingerprint` says of it.
        machine: its ``bf16`` says whether to autocast (a static model computes in float32 in any case), its ranks
            share the texts. They must see one file system.
    """

    def __init__(
        self,
        folder: Path,
        lists: Sequence[TextList],
        model: SentenceTransformer,
        model_fingerprint: str,
        machine: Machine,
    ) -> None:
        self._lists, self._model, self._machine = lists, model.eval(), machine
        self._limit = longest_row(model) or _NO_LIMIT
        self.similarity = similarity_of(model)
        self._own = needs_own_encode(model) is not None
        self._own_with_prompt = self._own or leaves_out_prompt(model) or prompt_is_message(model)
        settings = {"model": model_fingerprint, "max_tokens": self._limit, "bf16": machine.bf16}
        settings |= {"width": model.truncate_dim, "unit": self.similarity.unit}
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
        (texts, D), of unit length where the model's similarity is the cosine."""
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
            texts, path = self._read_and_name(number, part)
            if path.exists():
                continue
            if self._by_itself(number):
                _save(path, self._checked(self._own_vectors(number, texts), title))
                bar.update(len(texts))
            else:
                rows[path] = [place.setdefault(text, len(place)) for text in texts]
        if not rows:
            return
        vectors = self._checked(self._vectors(list(place), tokens_folder, bar), title)
        for path, places in rows.items():
            _save(path, vectors[places])

    def _checked(self, vectors: NDArray[np.float32], title: str) -> NDArray[np.float32]:
        if not np.isfinite(vectors).all():
            raise UserError(f"{title}: the model's embeddings are not all finite numbers; it cannot be evaluated")
        return vectors

    def _by_itself(self, number: int) -> bool:
        """Whether a list goes through the model's own ``encode``."""
        return self._own_with_prompt if self._lists[number].prompt else self._own

    def _own_vectors(self, number: int, texts: list[str]) -> NDArray[np.float32]:
        of = self._lists[number]
        vectors = own_vectors(self._model, texts, of.side, of.prompt, self._machine)
        if not self.similarity.unit:
            return vectors
        return torch.nn.functional.normalize(torch.from_numpy(vectors), dim=1).numpy()

    def _vectors(self, texts: list[str], tokens_folder: Path | None, bar: tqdm) -> NDArray[np.float32]:
        if tokens_folder is None:
            tokens = tokenize(self._model, texts, self._limit, "test sets")
        else:
            content = fingerprint(texts)
            tokens = kept_tokens(self._model, texts, self._limit, tokens_folder, content=content, what="test sets")
        return encode_tokens(
            *(self._model, tokens, np.arange(len(texts)), self._machine),
            done=_by_tokens(bar, tokens.lengths),
            unit=self.similarity.unit,
        )

    def _path(self, number: int, part: range) -> Path:
        return self._paths.get((number, part)) or self._read_and_name(number, part)[1]

    def _read_and_name(self, number: int, part: range) -> tuple[list[str], Path]:
        """Some of a list's texts as they go into the model, and the file of their embeddings."""
        of = self._lists[number]
        texts = of.read(part)
        if self._by_itself(number):
            name = fingerprint([of.side, of.prompt, texts])
        else:
            texts = [of.prompt + text for text in texts]
            name = fingerprint(texts)
        path = self._paths[number, part] = self.folder / f"{name}.npy"
        return texts, path


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
