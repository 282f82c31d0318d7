"""What both losses share: embed the whole batch in length-sorted micro-batches, then compute one loss over all of it.

A loss that sees every representation of the step before anything is back-propagated is exact at any micro-batch size.
The columns of a batch (query, positive, negatives) are stacked and sorted by length first, so that each micro-batch is
padded to its own longest row (:mod:`tdro.retriever.micro_batches`): in a batch of mixed tasks most of the padding goes.
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
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.base.losses.gradcache import (
    CachedLossMixin,
    _create_minibatch,
    has_static_embedding_input,
)
from sentence_transformers.util import all_gather, get_world_size
from torch import Tensor, nn

from tdro.retriever.attention import short_text_attention
from tdro.retriever.micro_batches import micro_batches
from tdro.retriever.sharded import exchange_gradients

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
        # A bag of tokens has no batch dimension to cut, and no padding to save: it is embedded in one go.
        self._in_one_go = has_static_embedding_input(model)
        self.uses_gradient_cache = gradient_caching and not self._in_one_go

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
        if self._in_one_go:
            embeddings = self.model(stack_bags(columns))["sentence_embedding"]
            return self.calculate_loss([[embeddings]], (len(columns), None, labels))
        stacked, inverse = stack_sorted(columns)
        context = (len(columns), inverse, labels)
        if self.uses_gradient_cache:
            return self.forward_cached([stacked], context)  # type: ignore[arg-type]
        pieces = [
            piece
            for piece, _ in self.embed_minibatch_iter(
                stacked, with_grad=torch.is_grad_enabled(), copy_random_state=False
            )
        ]
        return self.calculate_loss([pieces], context)

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
        cuts = _cuts(sentence_feature, self.mini_batch_size)
        with short_text_attention(self.model):
            chunks = super().embed_minibatch_iter(sentence_feature, with_grad, copy_random_state, random_states, cuts)
            for number, chunk in enumerate(chunks, start=1):
                if random_states is not None:  # the second pass, which goes backward after each micro-batch
                    exchange_gradients(self.model, number == len(cuts))
                yield chunk

    def calculate_loss(self, reps: list[list[Tensor]], labels: Any = None, *, with_backward: bool = False) -> Tensor:
        """Put the rows back in order and compute the loss in float32 (sentence-transformers calls this)."""
        count, inverse, batch_labels = labels
        with torch.autocast(device_type=reps[0][0].device.type, enabled=False):
            embeddings = torch.cat(reps[0])[:, : self._width]
            if embeddings.dtype in (torch.float16, torch.bfloat16):
                embeddings = embeddings.float()
            if inverse is not None:
                embeddings = embeddings[inverse]
            loss = self.batch_loss(list(embeddings.chunk(count)), batch_labels)
            if with_backward:
                loss.backward()
                loss = loss.detach()
        return loss


def embed_columns(model: nn.Module, columns: list[dict[str, Tensor]], mini_batch_size: int) -> tuple[Tensor, ...]:
    """Embed columns with any model in length-sorted micro-batches; one (B, D) tensor per column, in their order, cut to
    the model's ``truncate_dim``."""
    width = getattr(model, "truncate_dim", None)
    if "offsets" in columns[0]:
        return model(stack_bags(columns))["sentence_embedding"][:, :width].chunk(len(columns))
    stacked, inverse = stack_sorted(columns)
    with short_text_attention(model):
        parts = [
            model(_create_minibatch(stacked, start, end))["sentence_embedding"]
            for start, end in _cuts(stacked, mini_batch_size)
        ]
    return torch.cat(parts)[inverse, :width].chunk(len(columns))


def gathered(tensor: Tensor) -> Tensor:
    """The tensors of all ranks one after the other, without gradients; with one rank, the tensor itself."""
    return all_gather(tensor) if get_world_size() > 1 else tensor


def stack_bags(columns: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Stack columns of bags (``input_ids`` flat, ``offsets``) into one."""
    shifts = torch.tensor([0] + [len(column["input_ids"]) for column in columns[:-1]]).cumsum(0)
    return {
        "input_ids": torch.cat([column["input_ids"] for column in columns]),
        "offsets": torch.cat([column["offsets"] + int(shift) for column, shift in zip(columns, shifts, strict=True)]),
    }


def stack_sorted(columns: list[dict[str, Tensor]]) -> tuple[dict[str, Tensor], Tensor]:
    """Stack padded columns into one, longest row first.

    Returns:
        The stacked features, padded right, and the positions that put its rows back into the order of the columns.

    Raises:
        ValueError: features without an attention mask (not text, or flattened inputs).
    """
    if any("attention_mask" not in column or "cu_seq_lens_q" in column for column in columns):
        raise ValueError(
            "the loss needs padded text inputs (input_ids and attention_mask): turn input flattening off in the model"
        )
    keys = [key for key, value in columns[0].items() if isinstance(value, Tensor) and value.dim() == 2]
    width = max(column["input_ids"].shape[1] for column in columns)
    stacked = {key: torch.cat([_widened(column, key, width) for column in columns]) for key in keys}
    order = torch.argsort(stacked["attention_mask"].sum(dim=1), descending=True, stable=True)
    return {key: value[order] for key, value in stacked.items()}, torch.argsort(order)


def _cuts(stacked: dict[str, Tensor], size: int) -> list[tuple[int, int]]:
    """Where each micro-batch of a sorted batch begins and ends."""
    rows = micro_batches(stacked["attention_mask"].sum(dim=1).cpu().numpy(), size)
    return list(pairwise(accumulate(rows, initial=0)))


def _widened(column: dict[str, Tensor], key: str, width: int) -> Tensor:
    """One key of a column, its rows moved to the left edge and padded right up to ``width``.

    Left-padded rows are moved because only padding at the right can be cut off; positions follow the mask either way.
    """
    value, mask = column[key], column["attention_mask"]
    if bool((mask[:, 0] == 0).any()):
        left_first = torch.argsort(mask, dim=1, descending=True, stable=True)
        value = value.gather(1, left_first)
    missing = width - value.shape[1]
    return nn.functional.pad(value, (0, missing)) if missing else value
