"""The fine-tuning loss: InfoNCE over hard, in-batch and cross-device negatives (stages 0 and 2).

Each query's candidates are all passages of the batch, on all ranks. Some of these are no negatives: a passage with the
same text as the query's positive, and the positive of another row with the same query. They are masked, by their texts.
In a task whose answers fit many queries (class labels, say), rows can be limited to their own hard negatives. See
docs/decisions.md, mask-by-text.

With ``sizes`` it is Matryoshka's: the sum of this loss over the embeddings cut to each size, as sentence-transformers'
``MatryoshkaLoss`` around it computes it. See docs/decisions.md, matryoshka-in-the-loss.
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
    """InfoNCE with cosine similarity over hard, in-batch and cross-device negatives, masked by text.

    Args:
        model: the model that is trained.
        temperature: τ > 0; cosine similarities are divided by it.
        mini_batch_size: texts per micro-batch.
        gradient_caching: see :class:`SortedBatchLoss`.
        hard_negatives_only: tasks, as numbers, whose rows use their own hard negatives and no other row's passages.
        sizes: how many of an embedding's first numbers are kept, for each term of the sum. Empty: one term, with all.

    Inputs:
        columns: query, positive, and N >= 0 hard negatives, B rows each.
        labels: (B, 3 + N) integers: the row's task, its query, its positive, its negatives. Equal texts have equal
            numbers. None: nothing is masked, and there are no tasks.

    Example::

        loss = InBatchLoss(model, temperature=0.02, mini_batch_size=64)
        features = [model.preprocess(texts) for texts in (queries, positives, negatives)]
        loss(features, labels).backward()
    """

    def __init__(
        self,
        model: SentenceTransformer,
        temperature: float = 0.02,
        mini_batch_size: int = 64,
        gradient_caching: bool = False,
        hard_negatives_only: Sequence[int] = (),
        sizes: Sequence[int] = (),
    ) -> None:
        super().__init__(model, temperature, mini_batch_size, gradient_caching)
        # Not a buffer: it is a setting, and no part of the state of the loss.
        self._hard_only = torch.tensor(sorted(hard_negatives_only), dtype=torch.long)
        self.sizes = tuple(sizes)

    def batch_loss(self, columns: list[Tensor], labels: Tensor | None) -> Tensor:
        """The loss of the embeddings, or the sum over ``sizes`` of that of the embeddings cut to a size."""
        if not self.sizes:
            return self._infonce(columns, labels)
        terms = [self._infonce([column[:, :size] for column in columns], labels) for size in self.sizes]
        return torch.stack(terms).sum()

    def _infonce(self, columns: list[Tensor], labels: Tensor | None) -> Tensor:
        """The mean over this rank's rows of -log softmax(similarity / τ) at the row's positive."""
        queries = nn.functional.normalize(columns[0], dim=1)
        # Candidates in order: the positives of all ranks, then the first negatives of all ranks, and so on.
        passages = [nn.functional.normalize(column, dim=1) for column in columns[1:]]
        if get_world_size() > 1:
            passages = [all_gather_with_grad(column) for column in passages]
        scores = queries @ torch.cat(passages).T / self.temperature
        positive = torch.arange(len(queries), device=scores.device) + get_rank() * len(queries)
        if labels is None:
            return nn.functional.cross_entropy(scores, positive)
        scores = scores.masked_fill(self._masked(labels, positive), -torch.inf)
        return nn.functional.cross_entropy(scores, positive)

    def _masked(self, labels: Tensor, positive: Tensor) -> Tensor:
        return masked_candidates(labels, gathered(labels.contiguous()), positive, self._hard_only)


def masked_candidates(labels: Tensor, everybody: Tensor, positive: Tensor, hard_only: Tensor) -> Tensor:
    """Which candidates are masked for which row, (rows, candidates) bool.

    Args:
        labels: of the rows; see :class:`InBatchLoss`.
        everybody: the labels of all rows whose passages are candidates.
        positive: (rows,) the number of each row's positive among the candidates, which is never masked.
        hard_only: tasks, as numbers, whose rows use their own hard negatives only.
    """
    _, query, *texts = everybody.unbind(1)
    masked = torch.cat(texts)[None, :] == labels[:, 2:3]
    # The positive of another row with the same query is an answer too, whatever its text.
    masked[:, : len(query)] |= query[None, :] == labels[:, 1:2]
    row = torch.arange(len(query), device=labels.device).repeat(len(texts))
    own_only = torch.isin(labels[:, 0], hard_only.to(labels.device))
    masked |= own_only[:, None] & (row[None, :] != positive[:, None])
    masked[torch.arange(len(positive), device=labels.device), positive] = False
    return masked
