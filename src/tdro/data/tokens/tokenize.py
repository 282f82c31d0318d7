"""Tokenizes every text once into flat arrays, and makes model inputs of them without a tokenizer.

The tokenizer is the model's own (``model.preprocess``), so that special tokens, truncation and EOS are exactly what
``model.encode`` would use; only the padding is taken off again. A limit is of the text: its prompt comes on top
(:mod:`tdro.data.tokens.limits`). The arrays are small (2 bytes a token, or 4) and can be kept on disk
(:mod:`tdro.data.tokens.token_files`). See docs/decisions.md, tokenized-once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tdro.console import progress_bar
from tdro.data.tokens.cuts import Encode
from tdro.data.tokens.limits import longest_row, row_length, within
from tdro.data.tokens.stored_texts import AnyTexts, StoredTexts
from tdro.files import fingerprint

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_TEXTS_AT_ONCE = 4096
_TEXTS_PADDED_TOGETHER = 256
_WHOLE = 1_000_000  # tokens; no text is longer, so a text that is cut here stays whole


@dataclass(frozen=True)
class Tokens:
    """The token ids of many texts, by the texts' numbers.

    Example::

        tokens = tokenize(model, ["what purrs", "cats purr when they are content"], max_tokens=32)
        inputs = tokens.features(np.array([1, 0, 1]))  # a batch of three rows; text 1 comes twice
        model(inputs)["sentence_embedding"]  # (3, D)

    Attributes:
        ids: all token ids, one text after the other; uint16 if the whole vocabulary fits into that, else int32.
        starts: where each text begins: text i is ``ids[starts[i]:starts[i + 1]]``; int64 (n_texts + 1,).
        padding: the id that fills shorter rows up; None for a static model, which reads texts end to end, unpadded.
    """

    ids: NDArray
    starts: NDArray[np.int64]
    padding: int | None

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many tokens each text has, (n_texts,)."""
        return np.diff(self.starts)

    def lengths_of(self, texts: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many tokens some of the texts have. The others are not looked at."""
        return self.starts[texts + 1] - self.starts[texts]

    def features(self, texts: NDArray[np.int64]) -> dict[str, Tensor]:
        """The model's inputs for some texts, as ``model.preprocess`` would give them, padded on the right.

        Args:
            texts: numbers of texts, (B,).

        Returns:
            With padding, ``input_ids`` and ``attention_mask``, (B, longest text). Without, ``input_ids``, all tokens
            one after the other, and ``offsets``, where each text begins among them, (B,).
        """
        lengths = self.lengths_of(texts)
        ends = np.cumsum(lengths)
        flat = self.ids[np.arange(ends[-1]) + np.repeat(self.starts[texts] - ends + lengths, lengths)].astype(np.int64)
        if self.padding is None:
            return {"input_ids": torch.from_numpy(flat), "offsets": torch.from_numpy(ends - lengths)}
        mask = np.arange(lengths.max())[None, :] < lengths[:, None]
        ids = np.full(mask.shape, self.padding, dtype=np.int64)
        ids[mask] = flat
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


def tokenize(model: SentenceTransformer, texts: AnyTexts, max_tokens: int, texts_name: str = "texts") -> Tokens:
    """Tokenize texts with the model's own preprocessing.

    An empty text has no tokens if the model has no special tokens. It is kept so, and its embedding is zero.

    Args:
        model: its tokenizer is used.
        texts: plain strings, or :class:`StoredTexts`, which know their prompts.
        max_tokens: the most tokens of a text, special tokens included; the prompts of :class:`StoredTexts` come on top.
        texts_name: names the texts in the progress bar and in errors.

    Raises:
        UserError: a prompt leaves nothing of the texts.
    """
    ids_format = token_format(model)
    pieces, lengths = [np.zeros(0, dtype=ids_format.dtype)], [np.zeros(1, dtype=np.int64)]
    for ids, of_text in tokenized(
        model, texts, row_lengths(model, texts, max_tokens, texts_name), ids_format, texts_name
    ):
        pieces.append(ids)
        lengths.append(of_text)
    return Tokens(np.concatenate(pieces), np.cumsum(np.concatenate(lengths)), ids_format.padding)


def row_lengths(
    model: SentenceTransformer, texts: AnyTexts, max_tokens: int, texts_name: str = "texts"
) -> dict[str, int]:
    """Where rows of tokens are cut, for each prompt that they begin with.

    That is after the prompt and ``max_tokens`` of the text, or where the model stops reading. Example: with 20 tokens,
    ``{"": 20, "query: ": 22}``. Strings in a plain list have the prompt "": whatever they begin with is their text.

    Raises:
        UserError: a prompt leaves nothing of the texts.
    """
    longest = longest_row(model)
    prompts = texts.prompts if isinstance(texts, StoredTexts) else ("",)
    if not any(prompts):
        return {"": within(max_tokens, longest) or max_tokens}
    bare, *before = (len(ids) for ids in encoder_of(model)(["", *prompts], None))
    return {
        prompt: row_length(max_tokens, tokens - bare, bare, longest, f"{texts_name} after {prompt!r}")
        for prompt, tokens in zip(prompts, before, strict=True)
    }


def encoder_of(model: SentenceTransformer) -> Encode:
    """A function from texts to their token ids, special tokens included. Its second argument is where they are cut."""
    ids_format = token_format(model)

    def encode(texts: list[str], max_tokens: int | None) -> list[list[int]]:
        found = tokenized(model, texts, {"": max_tokens or _WHOLE}, ids_format, "texts")
        return [part.tolist() for ids, lengths in found for part in np.split(ids, np.cumsum(lengths)[:-1])]

    return encode


@dataclass(frozen=True)
class TokenFormat:
    """How a model's token ids are stored: their integer type, and the id that fills shorter rows up (None: static)."""

    dtype: np.dtype
    padding: int | None


def token_format(model: SentenceTransformer) -> TokenFormat:
    """How the ids of a model's tokens are stored: as uint16 if all fit into it, else as int32."""
    largest = max(model.tokenizer.get_vocab().values(), default=0)
    dtype = np.dtype(np.uint16 if largest <= np.iinfo(np.uint16).max else np.int32)
    return TokenFormat(dtype, None if _is_bag(model) else int(model.tokenizer.pad_token_id))


def tokenized(
    model: SentenceTransformer,
    texts: AnyTexts,
    rows: Mapping[str, int],
    ids_format: TokenFormat,
    texts_name: str,
    first: int = 0,
) -> Iterator[tuple[NDArray, NDArray[np.int64]]]:
    """Tokenize texts, some thousands at a time.

    Args:
        model: its tokenizer is used.
        texts: all texts.
        rows: where rows are cut, for each prompt: see :func:`row_lengths`.
        ids_format: how the model's ids are stored.
        texts_name: names the texts in the progress bar.
        first: the number of the text to begin with.

    Yields:
        The token ids of the next texts, end to end, and how many each of these texts has.
    """
    kept_length, bag = model.max_seq_length, ids_format.padding is None
    try:
        with progress_bar(title=f"tokenizing {texts_name}", total=len(texts), initial=first, unit=" texts") as bar:
            for start in range(first, len(texts), _TEXTS_AT_ONCE):
                for prompt, part in _by_prompt(texts, slice(start, start + _TEXTS_AT_ONCE)):
                    ids, lengths = (_bags if bag else _rows)(model, part, rows[prompt])
                    yield ids.astype(ids_format.dtype), lengths
                    bar.update(len(part))
    finally:
        if not bag:
            model.max_seq_length = kept_length


def _by_prompt(texts: AnyTexts, which: slice) -> Iterable[tuple[str, list[str]]]:
    """Some of the texts, with the prompt that each run of them begins with."""
    return texts.by_prompt(which) if isinstance(texts, StoredTexts) else [("", list(texts[which]))]


def _is_bag(model: SentenceTransformer) -> bool:
    """Whether the model reads all texts of a batch end to end, without padding. Static models do."""
    return "offsets" in model.preprocess(["a"])


def _bags(model: SentenceTransformer, texts: list[str], max_tokens: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The ids of texts for a static model, and how many each text has."""
    features = model.preprocess(texts)
    ids, offsets = features["input_ids"].numpy(), features["offsets"].numpy()
    lengths = np.diff(np.append(offsets, len(ids)))
    place = np.arange(len(ids)) - np.repeat(offsets, lengths)
    return ids[place < max_tokens], np.minimum(lengths, max_tokens)


def _rows(model: SentenceTransformer, texts: list[str], max_tokens: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The ids of texts for a model that reads padded rows, without the padding, and how many each text has."""
    model.max_seq_length = max_tokens
    # Texts of about one length go together: padding all to the longest would take as long as tokenizing them.
    order = np.argsort([len(text) for text in texts], kind="stable")
    found = [np.zeros(0, dtype=np.int64)] * len(texts)
    for start in range(0, len(texts), _TEXTS_PADDED_TOGETHER):
        part = order[start : start + _TEXTS_PADDED_TOGETHER]
        features = model.preprocess([texts[place] for place in part])
        mask = features["attention_mask"].numpy().astype(bool)
        for place, ids, real in zip(part, features["input_ids"].numpy(), mask, strict=True):
            found[place] = ids[real]
    return np.concatenate(found), np.array([len(ids) for ids in found])


def tokenizer_state(model: SentenceTransformer) -> str:
    """A fingerprint of the model's tokenizer. It does not depend on what was tokenized last."""
    tokenizer = model.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", getattr(tokenizer, "_tokenizer", tokenizer))
    if not hasattr(backend, "to_str"):
        return repr(tokenizer)
    state = json.loads(backend.to_str())
    if backend is not tokenizer:
        # transformers sets these two in every call, so they only say how the last text was tokenized.
        state = {key: value for key, value in state.items() if key not in ("truncation", "padding")}
    return fingerprint(state)
