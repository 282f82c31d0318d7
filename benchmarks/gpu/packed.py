"""What would stage 1 gain by other ways through the model? Three ways to try it, for causal models.

- ``without_mask``: texts are padded on the right, so no token of a causal model sees padding, and the mask can go;
- ``packed``: the texts of a micro-batch in one row, by torch's attention for texts of any length (CUDA, bf16);
- ``fused``: norms, rotations and gates by Liger's kernels, one kernel each instead of several (CUDA, Llama).

Nothing of tdro does any of them; the figures say whether it should.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from transformers import AttentionInterface

from tdro.training.sorted_loss import SortedBatchLoss
from tdro.training.stacking import cuts


@contextlib.contextmanager
def without_mask(model: SentenceTransformer) -> Iterator[None]:
    """Inside it, the transformer is given no attention mask."""
    transformer = model[0].auto_model
    forward = transformer.forward
    transformer.forward = lambda *inputs, attention_mask=None, **named: forward(*inputs, **named)
    try:
        yield
    finally:
        transformer.forward = forward


@contextlib.contextmanager
def packed(model: SentenceTransformer) -> Iterator[None]:
    """Inside it, losses embed each micro-batch as one row without padding."""
    AttentionInterface.register("varlen", _varlen)
    config, original = model[0].auto_model.config, SortedBatchLoss.embed_minibatch_iter
    kernel, config._attn_implementation = config._attn_implementation, "varlen"
    SortedBatchLoss.embed_minibatch_iter = _embed_packed  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        config._attn_implementation = kernel
        SortedBatchLoss.embed_minibatch_iter = original  # type: ignore[method-assign]


@contextlib.contextmanager
def fused(model: SentenceTransformer) -> Iterator[None]:
    """Inside it, and for this model also afterwards, what lies between the matrix products is one kernel each."""
    from liger_kernel.transformers import apply_liger_kernel_to_llama
    from transformers.models.llama import modeling_llama

    names = ("apply_rotary_pos_emb", "LlamaRMSNorm", "LlamaMLP")
    before = {name: getattr(modeling_llama, name) for name in names}
    apply_liger_kernel_to_llama(fused_linear_cross_entropy=False, model=model[0].auto_model)
    try:
        yield
    finally:
        for name, original in before.items():
            setattr(modeling_llama, name, original)


def _varlen(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **named: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each text of one row; tensors are (1, heads, tokens, width)."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if query.is_cuda:
        from torch.nn.attention.varlen import varlen_attn

        rows = [states[0].transpose(0, 1).to(torch.bfloat16) for states in (query, key, value)]
        found = varlen_attn(*rows, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q, window_size=(-1, 0))
        return found[None], None
    sizes = cu_seq_lens_q.diff().tolist()  # type: ignore[union-attr]
    texts = zip(*(states.split(sizes, 2) for states in (query, key, value)), strict=True)
    each = [torch.nn.functional.scaled_dot_product_attention(*text, is_causal=True) for text in texts]
    return torch.cat(each, 2).transpose(1, 2), None


def _embed_packed(
    loss: SortedBatchLoss, sentence_feature: dict[str, Tensor], with_grad: bool, *unused: Any, **named: Any
) -> Iterator[tuple[Tensor, None]]:
    ids, lengths = sentence_feature["input_ids"], sentence_feature["attention_mask"].sum(dim=1).cpu().numpy()
    for begin, end in cuts(sentence_feature, loss.mini_batch_size):
        here = lengths[begin:end]
        starts = np.concatenate([[0], here.cumsum()])
        position = np.arange(starts[-1]) - np.repeat(starts[:-1], here)
        place = np.repeat(np.arange(begin, end) * ids.shape[1], here) + position
        row, positions, limits = (
            torch.from_numpy(numbers).to(ids.device) for numbers in (place, position, starts.astype(np.int32))
        )
        features: dict[str, Any] = {"input_ids": ids.flatten()[row][None], "position_ids": positions[None]}
        features |= {"cu_seq_lens_q": limits, "cu_seq_lens_k": limits}
        features |= {"max_length_q": int(here[0]), "max_length_k": int(here[0])}
        with torch.set_grad_enabled(with_grad):
            yield loss.model(features)["sentence_embedding"], None
