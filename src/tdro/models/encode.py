"""Embed texts that are tokenized already, without gradients: for the reference's scores, evaluation and mining.

The texts are sorted by length and cut into batches of equally many tokens, so there is almost no padding, and short
texts use the device as well as long ones. See docs/decisions.md, encode-by-tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from tdro.data.tokens.tokenize import Tokens
from tdro.machine import Machine
from tdro.models.cpu import packed_weights
from tdro.models.cuda import attention_of_any_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sentence_transformers import SentenceTransformer

# Tokens of a batch, padding included. On a CPU larger batches do not fit its caches: 4096 take 20 % longer than 1024.
_TOKENS_ON_CPU, _TOKENS_ON_GPU = 1024, 16384


def encode_tokens(
    model: SentenceTransformer,
    tokens: Tokens,
    texts: NDArray[np.int64],
    machine: Machine,
    done: Callable[[int], object] = lambda count: None,
    unit: bool = True,
) -> NDArray[np.float32]:
    """The embeddings of some texts, shape (n, D), in the order of ``texts``; cut to the model's ``truncate_dim``.

    Args:
        model: in evaluation mode, on its device.
        tokens: the tokens of all texts.
        texts: which of them to embed, as positions in ``tokens``; shape (n,).
        machine: its ``bf16`` says whether to autocast.
        done: called after each batch with the number of its texts, for a progress bar.
        unit: bring the embeddings to unit length.
    """
    order = np.argsort(-tokens.lengths_of(texts), kind="stable")
    result = np.empty((0, model.get_embedding_dimension() or 0), dtype=np.float32)
    device = model.device
    tokens_at_once = _TOKENS_ON_CPU if device.type == "cpu" else _TOKENS_ON_GPU
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=machine.bf16)
    with torch.inference_mode(), packed_weights(model, machine), attention_of_any_shape(), autocast:
        for part in _batches(tokens.lengths_of(texts[order]), tokens_at_once):
            features = {key: value.to(device) for key, value in tokens.features(texts[order[part]]).items()}
            embedded = model(features)["sentence_embedding"].float()[:, : model.truncate_dim]
            embedded = torch.nn.functional.normalize(embedded, dim=1) if unit else embedded
            if not len(result):
                result = np.empty((len(texts), embedded.shape[1]), dtype=np.float32)
            result[order[part]] = embedded.cpu().numpy()
            done(part.stop - part.start)
    return result


def _batches(lengths: NDArray[np.int64], tokens_at_once: int) -> Iterator[slice]:
    """Cut texts, sorted by falling length, into batches of at most ``tokens_at_once`` tokens, padding included."""
    start = 0
    while start < len(lengths):
        rows = max(1, tokens_at_once // max(1, int(lengths[start])))
        yield slice(start, min(start + rows, len(lengths)))
        start += rows
