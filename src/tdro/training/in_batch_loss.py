"""The fine-tuning loss: InfoNCE over hard, in-batch and cross-device negatives (stages 0 and 2).

The candidates of a query are all passages of the batch, on all ranks. A candidate with the text of the row's positive
is no negative, and neither is the positive of another row with the same query: such candidates are masked by text. Rows
of a task whose answers fit many queries (a class label, say) can be kept to their own hard negatives. Rejected: masking
by embedding similarity, which also removes the hard negatives worth learning from, and the library's loss, which has no
mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from sentence_transformers.util import all_gather_with_grad, get_rank, get_world_size
from torch import Tensor, nn

from tdro.training.sorted_loss import SortedBatchLoss, gathered

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class InBatchLoss(SortedBatchLoss):
    """InfoNCE over HN + IBN + CBN, cosine similarity, with candidates masked by text.

    Args:
        model: the model that is trained.
        temperature: τ > 0, the divisor of the cosine similarities.
        mini_batch_size: texts per micro-batch.
        gradient_caching: see :class:`SortedBatchLoss`.
        hard_negatives_only: tasks whose rows have their own hard negatives and no others.

    Labels: (B, 3 + N) integers naming each row's task, query and passages, the positive first, equal where the texts
    are equal; or None: then nothing is masked, and there are no tasks.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        temperature: float = 0.02,
        mini_batch_size: int = 64,
        gradient_caching: bool = False,
        hard_negatives_only: Sequence[int] = (),
    ) -> None:
        super().__init__(model, temperature, mini_batch_size, gradient_caching)
        # Not a buffer: it belongs to the run, not to the model that is saved.
        self._hard_only = torch.tensor(sorted(hard_negatives_only), dtype=torch.long)

    def batch_loss(self, columns: list[Tensor], labels: Tensor | None) -> Tensor:
        """Mean over this rank's rows of -log softmax of the positive's similarity / τ."""
        queries = nn.functional.normalize(columns[0], dim=1)
        # (passages a row, B, D) → all ranks' positives first, then their negatives, column by column.
        passages = [nn.functional.normalize(column, dim=1) for column in columns[1:]]
        if get_world_size() > 1:
            passages = [all_gather_with_grad(column) for column in passages]
        scores = queries @ torch.cat(passages).T / self.temperature
        own = torch.arange(len(queries), device=scores.device) + get_rank() * len(queries)
        if labels is None:
            return nn.functional.cross_entropy(scores, own)
        return nn.functional.cross_entropy(scores.masked_fill(self._no_negatives(labels, own), -torch.inf), own)

    def _no_negatives(self, labels: Tensor, own: Tensor) -> Tensor:
        """Which candidates a row does not see, (B, candidates); its positive, number ``own``, it always sees."""
        _, query, *texts = (gathered(column.contiguous()) for column in labels.unbind(1))
        hidden = torch.cat(texts)[None, :] == labels[:, 2:3]
        # A positive of the same query in another row is an answer too, whatever its text.
        hidden[:, : len(query)] |= query[None, :] == labels[:, 1:2]
        row = torch.arange(len(query), device=labels.device).repeat(len(texts))
        hard_only = torch.isin(labels[:, 0], self._hard_only.to(labels.device))
        hidden |= hard_only[:, None] & (row[None, :] != own[:, None])
        hidden[torch.arange(len(own), device=labels.device), own] = False
        return hidden
