"""Texts tokenized once, kept as flat arrays, and put together to model inputs without a tokenizer.

The tokenizer is the model's own (``model.preprocess``), so that special tokens, truncation and EOS are exactly what
``model.encode`` would use; only the padding is taken off again. The arrays are small (4 bytes a token) and can be
kept on disk for the next stage. Rejected: a ``datasets.map`` of the tokenizer over rows, which stores each repeated
passage again.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from tdro.files import fingerprint, write_atomic

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_TEXTS_AT_ONCE = 4096


@dataclass(frozen=True)
class Tokens:
    """Token ids of many texts.

    Attributes:
        ids: all token ids one after the other, int32.
        starts: text i is ``ids[starts[i]:starts[i + 1]]``; shape (texts + 1,).
        padding: the id to fill shorter rows with, or None for a bag of tokens (static embeddings need no padding).
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    padding: int | None

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text."""
        return np.diff(self.starts)

    def features(self, texts: NDArray[np.int64]) -> dict[str, Tensor]:
        """Model inputs of some texts, shape (B,), as ``model.preprocess`` would give them (padded right).

        With padding: ``input_ids`` and ``attention_mask``, (B, longest). Without: ``input_ids``, all tokens flat, and
        ``offsets`` (B,).
        """
        lengths = self.lengths[texts]
        ends = np.cumsum(lengths)
        flat = self.ids[np.arange(ends[-1]) + np.repeat(self.starts[texts] - ends + lengths, lengths)].astype(np.int64)
        if self.padding is None:
            return {"input_ids": torch.from_numpy(flat), "offsets": torch.from_numpy(ends - lengths)}
        mask = np.arange(lengths.max())[None, :] < lengths[:, None]
        ids = np.full(mask.shape, self.padding, dtype=np.int64)
        ids[mask] = flat
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


def tokenize(model: SentenceTransformer, texts: list[str], max_tokens: int, what: str = "texts") -> Tokens:
    """Tokenize texts with the model's own preprocessing, truncated to ``max_tokens`` (special tokens included).

    An empty text of a model without special tokens has no token at all; it is given as is, and embeds to zero.
    """
    kept_length = model.max_seq_length
    static = _is_bag(model)
    if not static:
        model.max_seq_length = max_tokens
    pieces: list[NDArray[np.int32]] = []
    lengths: list[NDArray[np.int64]] = []
    try:
        with tqdm(total=len(texts), desc=f"tokenizing {what}", unit=" texts", leave=False, delay=2) as bar:
            for start in range(0, len(texts), _TEXTS_AT_ONCE):
                part = texts[start : start + _TEXTS_AT_ONCE]
                ids, length = _bags(model, part, max_tokens) if static else _rows(model, part)
                pieces.append(ids.astype(np.int32))
                lengths.append(length)
                bar.update(len(part))
    finally:
        if not static:
            model.max_seq_length = kept_length
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.concatenate([np.zeros(0, int), *lengths]))])
    flat = np.concatenate([np.zeros(0, dtype=np.int32), *pieces])
    return Tokens(flat, starts.astype(np.int64), None if static else int(model.tokenizer.pad_token_id))


def tokenize_cached(
    model: SentenceTransformer, texts: list[str], max_tokens: int, folder: Path, what: str = "texts"
) -> Tokens:
    """As :func:`tokenize`, kept in ``folder`` under a name made of the tokenizer, the texts and the length."""
    key = fingerprint([_tokenizer_state(model), texts, max_tokens])
    path = Path(folder) / f"{key}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as kept:
            padding = int(kept["padding"])
            return Tokens(kept["ids"], kept["starts"], None if padding < 0 else padding)
    tokens = tokenize(model, texts, max_tokens, what)
    file = io.BytesIO()
    np.savez(file, ids=tokens.ids, starts=tokens.starts, padding=-1 if tokens.padding is None else tokens.padding)
    write_atomic(path, file.getvalue())
    return tokens


def _is_bag(model: SentenceTransformer) -> bool:
    return "offsets" in model.preprocess(["a"])


def _bags(model: SentenceTransformer, texts: list[str], max_tokens: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    features = model.preprocess(texts)
    ids, offsets = features["input_ids"].numpy(), features["offsets"].numpy()
    lengths = np.diff(np.append(offsets, len(ids)))
    place = np.arange(len(ids)) - np.repeat(offsets, lengths)
    return ids[place < max_tokens], np.minimum(lengths, max_tokens)


def _rows(model: SentenceTransformer, texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    features = model.preprocess(texts)
    mask = features["attention_mask"].numpy().astype(bool)
    return features["input_ids"].numpy()[mask], mask.sum(axis=1)


def _tokenizer_state(model: SentenceTransformer) -> str:
    tokenizer = model.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", getattr(tokenizer, "_tokenizer", tokenizer))
    if not hasattr(backend, "to_str"):
        return repr(tokenizer)
    state = json.loads(backend.to_str())
    if backend is not tokenizer:
        # transformers sets these two with every call, so they say what was tokenized last.
        state = {key: value for key, value in state.items() if key not in ("truncation", "padding")}
    return fingerprint(state)
