"""Embed many texts that were tokenized once, length-sorted, in batches of equal numbers of tokens.

For scoring by the frozen reference and for evaluation: no gradients, each distinct text once, almost no padding.
Rejected for this: ``model.encode``, which tokenizes again, sorts by characters (in a mixture of languages and code that
is far from tokens, so half as much again is padding), and cuts batches by rows, so that short texts leave the device
idle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from tdro.data.tokens.tokenize import Tokens
from tdro.machine import Machine
from tdro.models.cpu import packed_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sentence_transformers import SentenceTransformer

# Padded tokens in a batch. On a CPU more of them leave its caches: 4096 take 20 % longer than 1024.
_TOKENS_ON_CPU, _TOKENS_ON_GPU = 1024, 4096


def encode_tokens(
    model: SentenceTransformer,
    tokens: Tokens,
    texts: NDArray[np.int64],
    machine: Machine,
    tokens_at_once: int | None = None,
    done: Callable[[int], object] = lambda count: None,
    unit: bool = True,
) -> NDArray[np.float32]:
    """Embeddings of the texts, (len(texts), D), in the order asked for; cut to the model's ``truncate_dim``.

    Args:
        model: in evaluation mode, on its device.
        tokens: all texts' tokens.
        texts: which of them; shape (n,).
        machine: its ``bf16`` says whether to autocast.
        tokens_at_once: padded tokens in a batch; None: what suits the device.
        done: called with the number of texts of each finished batch.
        unit: bring them to unit length.
    """
    order = np.argsort(-tokens.lengths_of(texts), kind="stable")
    result = np.empty((0, model.get_embedding_dimension() or 0), dtype=np.float32)
    device = model.device
    tokens_at_once = tokens_at_once or (_TOKENS_ON_CPU if device.type == "cpu" else _TOKENS_ON_GPU)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=machine.bf16)
    with torch.inference_mode(), packed_weights(model, machine), autocast:
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
    """Consecutive parts of texts sorted by falling length, each at most ``tokens_at_once`` when padded."""
    start = 0
    while start < len(lengths):
        rows = max(1, tokens_at_once // max(1, int(lengths[start])))
        yield slice(start, min(start + rows, len(lengths)))
        start += rows
