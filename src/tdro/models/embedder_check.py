"""Check that an embedder turns a text into one vector the way training needs it, by trying it.

A tokenizer that forgets the end-of-sequence token (EOS), truncates it away, pads with it, or wraps texts in a chat
template gives a model that trains without complaint and retrieves badly. Configurations are wrong about this too often,
so a few texts are encoded as training encodes them, and the last token is looked at. See docs/decisions.md,
check-by-tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from torch import Tensor

from tdro.models.own_encode import needs_own_encode, prompt_is_message

_TEXTS = ["a", "What is a task?", "Où est le chat ? 猫はどこですか。"]
_LONGEST_TRIED = 4096


def check_embedder(model: SentenceTransformer) -> list[str]:
    """What makes a model unfit as the base of a training, one finding a string; empty if it is fit.

    The tokenizer and the pooling are tried, the transformer is not run, so this is quick for a model of any size.
    """
    first = model[0]
    if reason := needs_own_encode(model):
        return [f"it {reason}, and training reads tokens only"]
    if isinstance(first, StaticEmbedding):
        return [] if torch.isfinite(first.embedding.weight).all() else ["its vectors are not all finite numbers"]
    findings: list[str] = []
    if prompt_is_message(model):
        findings.append("a chat template wraps every text: set the tokenizer's chat_template to none")
    pooling = next((module for module in model if isinstance(module, Pooling)), None)
    if pooling is not None and pooling.pooling_mode == "lasttoken":
        findings += _check_last_token(model, pooling)
    return findings


def _check_last_token(model: SentenceTransformer, pooling: Pooling) -> list[str]:
    """For last-token pooling, every text must end in EOS, also one that is cut, and the pool must find it."""
    tokenizer = model.tokenizer
    eos = tokenizer.eos_token_id
    if eos is None:
        return ["its tokenizer has no end-of-sequence token"]
    findings = []
    if tokenizer.pad_token_id in (None, eos):
        findings.append("its pad token is missing or the end-of-sequence token itself, which then has no gradient")
    if tokenizer.padding_side != "right":
        findings.append(f"it pads on the {tokenizer.padding_side}, not on the right")
    limit = min(model.max_seq_length or _LONGEST_TRIED, _LONGEST_TRIED)
    texts = [*_TEXTS, "word " * (limit + 50)]
    for text in texts:
        if token_ids(model, text)[-1] != eos:
            what = f"a text cut to {limit} tokens" if text == texts[-1] else repr(text)
            findings.append(f"no end-of-sequence token at the end of {what}")
            break
    rows = [token_ids(model, text) for text in _TEXTS]
    for side in ("right", "left"):
        if not _pools_last(pooling, rows, side):
            findings.append(f"the pool is not the last token when padding is on the {side}")
    return findings


def token_ids(model: SentenceTransformer, text: str) -> list[int]:
    """The token ids of one text as training sees them, without padding. Not for static models."""
    features = model.preprocess([text])
    ids = features["input_ids"][0]
    if (mask := features.get("attention_mask")) is not None:
        ids = ids[mask[0].bool()]
    return ids.tolist()


def _pools_last(pooling: Pooling, rows: list[list[int]], side: str) -> bool:
    """Whether the pooling takes the last token of rows that are padded on a side.

    It is given token ids in the place of token embeddings, so what comes out is the id that it took.
    """
    longest = max(map(len, rows))
    ids, mask = torch.full((len(rows), longest), -1.0), torch.zeros(len(rows), longest, dtype=torch.long)
    for row, values in enumerate(rows):
        where = slice(0, len(values)) if side == "right" else slice(longest - len(values), longest)
        ids[row, where] = torch.tensor(values, dtype=torch.float)
        mask[row, where] = 1
    features: dict[str, Tensor | Any] = {"token_embeddings": ids[..., None], "attention_mask": mask}
    pooled = pooling(features)["sentence_embedding"][:, 0]
    return pooled.tolist() == [float(values[-1]) for values in rows]
