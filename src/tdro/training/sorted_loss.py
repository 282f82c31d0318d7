"""What both losses share: embed the whole batch in length-sorted micro-batches, then compute one loss over all of it.

A loss that sees every representation of the step before anything is back-propagated is exact at any micro-batch size.
The columns of a batch (query, positive, negatives) are stacked and sorted by length first, so that each micro-batch is
padded to its own longest row (:mod:`tdro.training.micro_batches`): in a batch of mixed tasks most of the padding goes.
Two ways to back-propagate:

- the whole graph at once (default): every micro-batch's graph is kept; one forward pass;
- ``gradient_caching``: sentence-transformers' own GradCache, with one more forward pass and the memory of one
  micro-batch.

Rejected: micro-batches by number of tokens (ranks would run unequal numbers of them, and their collectives hang), and
the trainer's gradient accumulation (a loss would see a part of the step only).
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
from tdro.training.sharded import exchange_gradients
from tdro.training.stacking import Stack, cuts, stack_columns, unstack

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class SortedBatchLoss(CachedLossMixin, nn.Module):
    """A loss over the whole batch, embedded in length-sorted micro-batches.

    Args:
        model: the model that is trained.
        temperature: τ > 0, the divisor of the cosine similarities.
        mini_batch_size: texts per micro-batch. The result does not depend on it (with dropout off).
        gradient_caching: trade one more forward pass for the memory of a single micro-batch.
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
        self._width = getattr(model, "truncate_dim", None)  # that of a Matryoshka model, as encode cuts its vectors
        # A bag of tokens has no rows to cut, and no padding to save: it is embedded in one go.
        self.uses_gradient_cache = gradient_caching and not has_static_embedding_input(model)

    @abstractmethod
    def batch_loss(self, columns: list[Tensor], labels: Tensor | None) -> Tensor:
        """The loss of the whole batch; called exactly once a step.

        Args:
            columns: float32 embeddings, (B, D) each: queries, positives, then one column per negative.
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
        """The embeddings of a stack's rows, a tensor a micro-batch."""
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
        # A copy, as the pooling of sentence-transformers 6.0 takes prompts out of the mask itself.
        features = sentence_feature | {"attention_mask": sentence_feature["attention_mask"].clone()}
        ranges = cuts(features, self.mini_batch_size)
        with short_text_attention(self.model):
            chunks = super().embed_minibatch_iter(features, with_grad, copy_random_state, random_states, ranges)
            for number, chunk in enumerate(chunks, start=1):
                if random_states is not None:  # the second pass, which goes backward after each micro-batch
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
    """The tensors of all ranks one after the other, without gradients; with one rank, the tensor itself."""
    return all_gather(tensor) if get_world_size() > 1 else tensor
