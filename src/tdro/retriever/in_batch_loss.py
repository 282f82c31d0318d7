"""The fine-tuning loss: InfoNCE over hard, in-batch and cross-device negatives (stages 0 and 2).

The candidates of a query are all passages of the batch, on all ranks. A candidate with the text of the row's positive
is no negative, and neither is the positive of another row with the same query: such candidates are masked by text.
Rejected: masking by embedding similarity, which also removes the hard negatives worth learning
from, and the library's loss, which has no mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from sentence_transformers.util import all_gather_with_grad, get_rank, get_world_size
from torch import Tensor, nn

from tdro.retriever.sorted_loss import SortedBatchLoss, gathered

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class InBatchLoss(SortedBatchLoss):
    """InfoNCE over HN + IBN + CBN, cosine similarity, with candidates masked by text.

    Args:
        model: the model that is trained.
        temperature: τ > 0, the divisor of the cosine similarities.
        mini_batch_size: texts per micro-batch.
        gradient_caching: see :class:`SortedBatchLoss`.

    Labels: (B, 2 + N) integers naming each row's query and passages, the positive first, equal where the texts are
    equal; or None, and nothing is masked.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        temperature: float = 0.02,
        mini_batch_size: int = 64,
        gradient_caching: bool = False,
    ) -> None:
        super().__init__(model, mini_batch_size, gradient_caching)
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        self.temperature = temperature

    def batch_loss(self, columns: list[Tensor], labels: Tensor | None) -> Tensor:
        """Mean over this rank's rows of -log softmax of the positive's similarity / τ."""
        queries = nn.functional.normalize(columns[0], dim=1)
        # (passages a row, B, D) → all ranks' positives first, then their negatives, column by column.
        passages = [nn.functional.normalize(column, dim=1) for column in columns[1:]]
        if get_world_size() > 1:
            passages = [all_gather_with_grad(column) for column in passages]
        scores = queries @ torch.cat(passages).T / self.temperature
        rows = torch.arange(len(queries), device=scores.device)
        own = rows + get_rank() * len(queries)
        if labels is not None:
            query, *texts = (gathered(column.contiguous()) for column in labels.unbind(1))
            same = torch.cat(texts)[None, :] == labels[:, 1:2]
            # A positive of the same query in another row is an answer too, whatever its text.
            same[:, : len(query)] |= query[None, :] == labels[:, :1]
            same[rows, own] = False
            scores = scores.masked_fill(same, -torch.inf)
        return nn.functional.cross_entropy(scores, own)
