"""The columns of a batch in as few forward passes as they allow: stacked, sorted by length, cut into micro-batches.

Columns that the model treats alike (query, positive, negatives) become one stack. Beside the tokens a model may be told
something of a whole column: how long its prompt is, where pooling leaves prompts out, or the route that a Router sends
it on. A stack has one such value, so columns that differ in it make stacks of their own. Everything that the collator
gives is handed on; a feature that cannot be cut into rows is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from sentence_transformers.base.losses.gradcache import _create_minibatch
from torch import Tensor, nn

from tdro.models.cpu import short_text_attention
from tdro.training.micro_batches import micro_batches

Features = dict[str, Any]


@dataclass(frozen=True)
class Stack:
    """Some columns as one batch.

    Attributes:
        features: what the model is given.
        columns: which columns of the batch, in their order.
        order: positions that put its rows back into the order of the columns; None for bags, which are not sorted.
    """

    features: Features
    columns: list[int]
    order: Tensor | None


def stack_columns(columns: Sequence[Features]) -> list[Stack]:
    """The columns in stacks: one, where all are told the same beside their tokens.

    Raises:
        ValueError: features that are not text, or that cannot be cut into rows.
    """
    told = [_told(column) for column in columns]
    kinds = [(value, column.keys()) for value, column in zip(told, columns, strict=True)]
    stacks = []
    for first, kind in enumerate(kinds):
        if kind in kinds[:first]:
            continue
        alike = [number for number, other in enumerate(kinds) if other == kind]
        tokens = [{key: columns[number][key] for key in columns[number] if key not in told[first]} for number in alike]
        stacked, order = (_bags(tokens), None) if "offsets" in columns[first] else _sorted(tokens)
        stacks.append(Stack(stacked | told[first], alike, order))
    return stacks


def embed_columns(model: nn.Module, columns: Sequence[Features], mini_batch_size: int) -> list[Tensor]:
    """Embed columns with any model in length-sorted micro-batches; one (B, D) tensor per column, in their order, cut to
    the model's ``truncate_dim``."""
    stacks, width = stack_columns(columns), getattr(model, "truncate_dim", None)
    with short_text_attention(model):
        embedded = [
            torch.cat([model(part)["sentence_embedding"][:, :width] for part in _parts(stack, mini_batch_size)])
            for stack in stacks
        ]
    return unstack(stacks, embedded)


def unstack(stacks: Sequence[Stack], embedded: Sequence[Tensor]) -> list[Tensor]:
    """The embeddings of the stacks' rows, a tensor (B, D) for each column of the batch."""
    found: dict[int, Tensor] = {}
    for stack, rows in zip(stacks, embedded, strict=True):
        in_order = rows if stack.order is None else rows[stack.order]
        found.update(zip(stack.columns, in_order.chunk(len(stack.columns)), strict=True))
    return [found[number] for number in range(len(found))]


def cuts(stacked: Features, size: int) -> list[tuple[int, int]]:
    """Where each micro-batch of a sorted stack begins and ends."""
    rows = micro_batches(stacked["attention_mask"].sum(dim=1).cpu().numpy(), size)
    return list(pairwise(accumulate(rows, initial=0)))


def _parts(stack: Stack, size: int) -> list[Features]:
    """The micro-batches of a stack; a bag of tokens has no rows to cut and no padding to save."""
    if stack.order is None:
        return [stack.features]
    return [_create_minibatch(stack.features, *cut) for cut in cuts(stack.features, size)]


def _told(column: Features) -> Features:
    """What a column says beside its tokens, as plain values."""
    if "offsets" not in column and ("attention_mask" not in column or "cu_seq_lens_q" in column):
        raise ValueError(
            "the loss needs padded text inputs (input_ids and attention_mask): turn input flattening off in the model"
        )
    told: Features = {}
    for key, value in column.items():
        if key == "prompt_length":  # a number, or a tensor that repeats it
            told[key] = int(value.flatten()[0]) if isinstance(value, Tensor) else int(value)
        elif not isinstance(value, Tensor):
            told[key] = value
        elif "offsets" in column:
            if key not in ("input_ids", "offsets"):
                raise ValueError(f"the loss does not know how to stack the feature {key!r} of a static model")
        elif value.shape != column["attention_mask"].shape:
            raise ValueError(
                f"the loss takes text only: the feature {key!r} of shape {tuple(value.shape)} is not one value a token"
            )
    return told


def _bags(columns: list[Features]) -> Features:
    """Stack columns of bags (``input_ids`` flat, ``offsets``) into one."""
    shifts = torch.tensor([0] + [len(column["input_ids"]) for column in columns[:-1]]).cumsum(0)
    return {
        "input_ids": torch.cat([column["input_ids"] for column in columns]),
        "offsets": torch.cat([column["offsets"] + int(shift) for column, shift in zip(columns, shifts, strict=True)]),
    }


def _sorted(columns: list[Features]) -> tuple[Features, Tensor]:
    """Stack padded columns into one, longest row first and padded right; and where each row is to go back to."""
    width = max(column["input_ids"].shape[1] for column in columns)
    stacked = {key: torch.cat([_widened(column, key, width) for column in columns]) for key in columns[0]}
    order = torch.argsort(stacked["attention_mask"].sum(dim=1), descending=True, stable=True)
    return {key: value[order] for key, value in stacked.items()}, torch.argsort(order)


def _widened(column: Features, key: str, width: int) -> Tensor:
    """One key of a column, its rows moved to the left edge and padded right up to ``width``.

    Left-padded rows are moved because only padding at the right can be cut off; positions follow the mask either way.
    """
    value, mask = column[key], column["attention_mask"]
    if bool((mask[:, 0] == 0).any()):
        left_first = torch.argsort(mask, dim=1, descending=True, stable=True)
        value = value.gather(1, left_first)
    missing = width - value.shape[1]
    return nn.functional.pad(value, (0, missing)) if missing else value
