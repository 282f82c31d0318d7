"""Embeddings on disk: each text is encoded once per model, in parts, and read back memory-mapped.

Lists of texts (the queries and the passages of test sets) are cut into parts. Parts are encoded in groups of up to
32,768 texts, sorted by length within a group, so memory does not grow with the corpus. A group may hold parts of
several lists, since many small lists would leave batches half empty. A model that needs its own ``encode``
(:mod:`tdro.models.own_encode`) gets each list by itself.

Each part has a file, named by the SHA-256 of its texts, in a folder named by a fingerprint of the model and the
settings. So whatever an interrupted run, another run or another test set encoded is found again, and there is no list
of what is done. A rank encodes whole groups, so several ranks give the same embeddings as one process, to the bit. The
files hold float32, 4 x D bytes a text. See docs/decisions.md, float32-embeddings and embedding-parts.
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
from tqdm import tqdm

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
_NO_LIMIT = 1 << 20  # tokens, for a static model, which reads all of a text


_Group = list[tuple[int, range]]  # parts that are encoded together: which list, and which of its texts


@dataclass(frozen=True)
class TextList:
    """A list of texts to encode.

    Attributes:
        texts: in memory or in a file.
        prompt: is put before each of them.
        side: whether they are queries or documents, for models that encode these differently.
    """

    texts: Sequence[str] | TextsOfFile
    prompt: str = ""
    side: Side = "document"

    def __len__(self) -> int:
        return len(self.texts)

    def read(self, part: range) -> list[str]:
        """Some consecutive texts of the list, without the prompt."""
        return list(self.texts[part.start : part.stop])


class EmbeddingStore:
    """One model's embeddings of some lists of texts.

    Args:
        folder: for the embeddings of all models.
        lists: for instance the queries and passages of some test sets; they are numbered from 0 in this order.
        model: encodes; it is put into evaluation mode.
        model_fingerprint: see :func:`tdro.models.fingerprint.model_fingerprint`.
        machine: its ``bf16`` says whether to autocast (a static model computes in float32 in any case). Its ranks share
            the texts and must see the same file system.

    Example::

        store = EmbeddingStore(folder, [TextList(queries, side="query"), TextList(passages)], model, content, machine)
        store.encode()
        queries = store.whole(0)  # (queries, D)
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
        """Encode this rank's share of the texts, except for what is on disk already.

        Equal texts of a group go through the model once.

        Args:
            tokens_folder: where tokens are kept for the next model with this tokenizer; None keeps none.
            title: of the progress bar.
            progress: show a bar if it takes more than 5 seconds.

        Raises:
            UserError: an embedding is not finite.
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

    def blocks(self, number: int, size: int | None = None) -> Iterator[tuple[int, Tensor]]:
        """This rank's share of a list's embeddings, part by part.

        Each part is the place of its first text in the list, and a memory-mapped float32 tensor (texts, D). The vectors
        have unit length if the model's similarity is the cosine. With a ``size``, they are cut to so many numbers and
        brought to unit length again.
        """
        for group in self._groups[self._machine.rank :: self._machine.world]:
            for place, part in group:
                if place == number:
                    yield part.start, self._cut(_read(self._path(number, part)), size)

    def whole(self, number: int, size: int | None = None) -> Tensor:
        """All embeddings of a list, in memory, (texts, D). The other ranks must have encoded their share before.

        ``size`` is as in :meth:`blocks`.
        """
        parts = [part for group in self._groups for place, part in group if place == number]
        return torch.cat([self._cut(_read(self._path(number, part)), size) for part in parts])

    def _cut(self, vectors: Tensor, size: int | None) -> Tensor:
        if size is None:
            return vectors
        return torch.nn.functional.normalize(vectors[:, :size], dim=1) if self.similarity.unit else vectors[:, :size]

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
        entry = self._lists[number]
        vectors = own_vectors(self._model, texts, entry.side, entry.prompt, self._machine)
        if not self.similarity.unit:
            return vectors
        return torch.nn.functional.normalize(torch.from_numpy(vectors), dim=1).numpy()

    def _vectors(self, texts: list[str], tokens_folder: Path | None, bar: tqdm) -> NDArray[np.float32]:
        if tokens_folder is None:
            tokens = tokenize(self._model, texts, self._limit, "test sets")
        else:
            content = fingerprint(texts)
            tokens = kept_tokens(
                self._model, texts, self._limit, tokens_folder, content=content, texts_name="test sets"
            )
        return encode_tokens(
            *(self._model, tokens, np.arange(len(texts)), self._machine),
            done=_by_tokens(bar, tokens.lengths),
            unit=self.similarity.unit,
        )

    def _path(self, number: int, part: range) -> Path:
        return self._paths.get((number, part)) or self._read_and_name(number, part)[1]

    def _read_and_name(self, number: int, part: range) -> tuple[list[str], Path]:
        """The texts of a part, as they go into the model, and the file for their embeddings."""
        entry = self._lists[number]
        texts = entry.read(part)
        if self._by_itself(number):
            name = fingerprint([entry.side, entry.prompt, texts])
        else:
            texts = [entry.prompt + text for text in texts]
            name = fingerprint(texts)
        path = self._paths[number, part] = self.folder / f"{name}.npy"
        return texts, path


def _groups(lengths: Sequence[int]) -> list[_Group]:
    """Cut the lists into parts, and collect the parts into groups.

    A list is always cut at multiples of the largest group, whatever other lists there are: then its files are found
    again beside other lists.
    """
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
    """A function to call with how many more texts are done, the longest first; it moves the bar by their tokens."""
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
        # Mapped copy-on-write, since torch wants writable memory; the file is never changed.
        return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: embeddings cannot be read ({error}); remove the file and evaluate again") from error


def _save(path: Path, vectors: NDArray[np.float32]) -> None:
    """Write the embeddings of a part; the file appears only when it is whole."""
    write_atomic(path, partial(np.save, arr=vectors, allow_pickle=False))
