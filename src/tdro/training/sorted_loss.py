"""What all losses share: embed the whole batch in length-sorted micro-batches, then compute one loss over all of it.

Such a loss sees the embeddings of the whole step before anything is back-propagated, so it is exact whatever the size
of the micro-batches. The columns of a batch (query, positive, negatives) are stacked and sorted by length first, and
each micro-batch is padded to its own longest row (:mod:`tdro.training.micro_batches`); in a batch of mixed tasks, that
saves most of the padding.

There are two ways to back-propagate:

- by default the graphs of all micro-batches are kept: one forward pass, and memory for the whole batch;
- with ``gradient_caching``, by sentence-transformers' GradCache: two forward passes, and memory for one micro-batch.

See docs/decisions.md, micro-batches-by-rows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin, has_static_embedding_input
from sentence_transformers.util import all_gather, get_world_size
from torch import Tensor, nn

from tdro.models.cpu import short_text_attention
from tdro.models.cuda import attention_of_any_shape
from tdro.training.sharded import exchange_gradients
from tdro.training.stacking import Stack, cuts, stack_columns, unstack

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class SortedBatchLoss(CachedLossMixin, nn.Module):
    """Base class of losses over the whole batch, which is embedded in length-sorted micro-batches.

    A subclass computes :meth:`batch_loss` from the embeddings of the whole batch.

    Args:
        model: the model that is trained.
        temperature: τ > 0; cosine similarities are divided by it.
        mini_batch_size: texts per micro-batch. The result does not depend on it (with dropout off).
        gradient_caching: run the forward pass twice, and need the memory of one micro-batch only. Static models, which
            are embedded in one go, ignore it.

    Raises:
        ValueError: ``temperature`` or ``mini_batch_size`` is out of range.

    Example::

        class PairLoss(SortedBatchLoss):
            def batch_loss(self, columns, labels):
                return -torch.cosine_similarity(columns[0], columns[1]).mean() / self.temperature
    """

    def __init__(
        self, model: SentenceTransformer, temperature: float, mini_batch_size: int, gradient_caching: bool
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, not {temperature}")
        if mini_batch_size < 1:
            raise ValueError(
                f"mini_batch_size is the number of texts per micro-batch, at least 1, not {mini_batch_size}"
            )
        self.model, self.temperature = model, temperature
        self.mini_batch_size = mini_batch_size
        self.gradient_caching = gradient_caching
        self._width = getattr(model, "truncate_dim", None)  # embeddings are cut to it, as encode cuts them
        # A static model's batch is flat: it has no rows to cut and no padding to save, and is embedded in one go.
        self.uses_gradient_cache = gradient_caching and not has_static_embedding_input(model)

    @abstractmethod
    def batch_loss(self, columns: list[Tensor], labels: Tensor | None) -> Tensor:
        """The loss of the whole batch, a scalar; called exactly once a step.

        Args:
            columns: the embeddings in float32, (B, D) each: queries, positives, then one tensor for each negative.
            labels: the batch's labels as the collator gave them.
        """

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """The loss of one batch of columns; the signature that sentence-transformers' trainer calls."""
        columns = [dict(column) for column in sentence_features]
        if len(columns) < 2:
            raise ValueError(f"expected a query and a positive column at least, found {len(columns)} column(s)")
        stacks = stack_columns(columns)
        context = (stacks, labels)
        if self.uses_gradient_cache:
            return self.forward_cached([stack.features for stack in stacks], context)  # type: ignore[arg-type]
        return self.calculate_loss([self._pieces(stack) for stack in stacks], context)

    def _pieces(self, stack: Stack) -> list[Tensor]:
        """The embeddings of a stack's rows, one tensor for each micro-batch."""
        if stack.order is None:
            return [self.model(stack.features)["sentence_embedding"]]
        pieces = self.embed_minibatch_iter(stack.features, with_grad=torch.is_grad_enabled(), copy_random_state=False)
        return [piece for piece, _ in pieces]

    def embed_minibatch_iter(
        self,
        sentence_feature: dict[str, Tensor],
        with_grad: bool,
        copy_random_state: bool,
        random_states: list[Any] | None = None,
        ranges: list[tuple[int, int]] | None = None,
    ) -> Iterator[tuple[Tensor, Any]]:
        """Embed a sorted batch in micro-batches that leave little padding (sentence-transformers calls this).

        ``ranges``, the library's equal cuts, are not used.
        """
        # The mask is copied because the pooling of sentence-transformers 6.0 changes it where it leaves prompts out.
        features = sentence_feature | {"attention_mask": sentence_feature["attention_mask"].clone()}
        ranges = cuts(features, self.mini_batch_size)
        with attention_of_any_shape(self.model), short_text_attention(self.model):
            chunks = super().embed_minibatch_iter(features, with_grad, copy_random_state, random_states, ranges)
            for number, chunk in enumerate(chunks, start=1):
                if random_states is not None:  # GradCache's second pass, with a backward pass per micro-batch
                    exchange_gradients(self.model, number == len(ranges))
                yield chunk

    def calculate_loss(self, reps: list[list[Tensor]], labels: Any = None, *, with_backward: bool = False) -> Tensor:
        """Put the rows back in order and compute the loss in float32 (sentence-transformers calls this)."""
        stacks, batch_labels = labels
        with torch.autocast(device_type=reps[0][0].device.type, enabled=False):
            embedded = [torch.cat(pieces)[:, : self._width] for pieces in reps]
            embedded = [rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows for rows in embedded]
            loss = self.batch_loss(unstack(stacks, embedded), batch_labels)
            if with_backward:
                loss.backward()
                loss = loss.detach()
        return loss


def gathered(tensor: Tensor) -> Tensor:
    """The tensors of all ranks, concatenated, without gradients; with one rank, the tensor itself."""
    return all_gather(tensor) if get_world_size() > 1 else tensor
