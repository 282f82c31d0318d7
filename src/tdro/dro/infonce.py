"""InfoNCE over a row's own hard negatives, and the weights of rows.

This is the loss of stage 1, for proxy and reference alike. The paper's temperature of 0.002 turns an error of 0.001 in
a similarity into half a nat, so similarities are computed in float32 or better even under autocast. See
docs/decisions.md, similarities-in-float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def hard_negative_infonce(query: Tensor, passages: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """``-log(exp(s_0 / τ) / Σ_j exp(s_j / τ))`` per row, s_j the cosine of the query and its passage j.

    Args:
        query: (B, D) embeddings in any precision; they need not have unit length.
        passages: (B, N, D), the positive first, then N - 1 hard negatives.
        temperature: τ, above 0.
        mask: (B, N) bool, True for a negative that is left out; see :func:`infonce_from_similarities`.

    Returns:
        (B,) losses in nats; float64 for float64 embeddings, else float32.

    Raises:
        ValueError: for shapes that do not fit, N < 2, a temperature that is not positive, or a row whose
            negatives are all left out.
    """
    return infonce_from_similarities(hard_negative_similarities(query, passages), temperature, mask)


def hard_negative_similarities(query: Tensor, passages: Tensor) -> Tensor:
    """Cosine similarities (B, N) of each query (B, D) to its own passages (B, N, D), in float32 or float64.

    A zero vector has similarity 0 to everything.

    Raises:
        ValueError: for shapes that do not fit.
    """
    fits = query.ndim == 2 and passages.ndim == 3 and (len(query), query.shape[1]) == passages.shape[::2]
    if not fits:
        raise ValueError(
            f"expected query (B, D) and passages (B, N, D), not {tuple(query.shape)}, {tuple(passages.shape)}"
        )
    query, passages = (F.normalize(_at_least_float32(x), dim=-1) for x in (query, passages))
    return (query.unsqueeze(1) * passages).sum(-1)


def infonce_from_similarities(similarities: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """InfoNCE per row (B,), in nats, from similarities (B, N) with the positive's first.

    Args:
        similarities: (B, N).
        temperature: τ, above 0.
        mask: (B, N) bool, True for a negative that is left out: one with the same text as the row's positive, for
            example, or one that only fills up a short row. The first column, the positive, is never left out.

    Raises:
        ValueError: for N < 2 (without a negative the loss is 0 and says nothing), a row whose negatives are
            all left out, a mask of another shape, or a temperature that is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature {temperature} must be above 0")
    if similarities.ndim != 2 or similarities.shape[1] < 2:
        raise ValueError(f"similarities must be (B, N) with N >= 2, not {tuple(similarities.shape)}")
    scores = _at_least_float32(similarities) / temperature
    positive, negatives = scores[:, 0], scores[:, 1:]
    if mask is not None:
        if mask.shape != similarities.shape or mask.dtype != torch.bool:
            raise ValueError(f"mask must be bool {tuple(similarities.shape)}, not {mask.dtype} {tuple(mask.shape)}")
        left_out = mask[:, 1:]
        if left_out.all(-1).any():
            rows = left_out.all(-1).nonzero().flatten().tolist()
            raise ValueError(f"row {rows[0]} of the batch has no negative left ({len(rows)} such rows)")
        negatives = negatives.masked_fill(left_out, -torch.inf)
    margin = negatives.logsumexp(-1) - positive
    # log(1 + exp(margin)) is exact for tiny losses too. Cross-entropy subtracts two nearly equal numbers there.
    return torch.logaddexp(torch.zeros_like(margin), margin)


def row_weights(alpha_of_rows: Tensor) -> Tensor:
    """``w_i = α_g(i) / Σ_j α_g(j)`` over the rows of the whole batch.

    Args:
        alpha_of_rows: (B,) the weight of each row's task, for the rows of all micro-batches and all ranks.

    Returns:
        (B,) summing to 1.

    Raises:
        ValueError: if the weights are not (B,), or sum to 0.
    """
    total = alpha_of_rows.sum()
    if alpha_of_rows.ndim != 1 or not total > 0:
        raise ValueError(f"row weights need (B,) task weights with a positive sum, not {tuple(alpha_of_rows.shape)}")
    return alpha_of_rows / total


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def in_float64(values: Tensor) -> Tensor:
    """Values in float64, moved to the CPU where their device has no float64: Apple's GPUs have none."""
    return (values.cpu() if values.device.type == "mps" else values).double()
