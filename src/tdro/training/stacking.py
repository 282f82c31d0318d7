"""Stack the columns of a batch, sort them by length, cut them into micro-batches, and undo it for the embeddings.

Usually all columns (query, positive, negatives) become one stack of rows. But beside the tokens, a model may be given a
value for a whole column: the length of its prompt, where the pooling leaves prompts out, or the route through a Router.
Columns with different values cannot share a forward pass, so each value gets a stack of its own. Features that are
neither tokens nor such a value are refused, because it is not known how to cut them into rows.
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
from tdro.models.cuda import attention_of_any_shape
from tdro.training.micro_batches import micro_batches

Features = dict[str, Any]


@dataclass(frozen=True)
class Stack:
    """Some columns of a batch, stacked into one.

    Attributes:
        features: what the model is given; the longest row is the first.
        columns: which columns of the batch these are, in their order.
        order: where each row of the columns, one after the other, is in the stack; None for a static model, whose rows
            are not sorted.
    """

    features: Features
    columns: list[int]
    order: Tensor | None


def stack_columns(columns: Sequence[Features]) -> list[Stack]:
    """Stack the columns of a batch: into one stack if all have the same values beside their tokens.

    Args:
        columns: the features of each column, as the collator made them: ``input_ids`` (B, tokens) and
            ``attention_mask``, or ``input_ids`` and ``offsets`` for a static model.

    Raises:
        ValueError: features that are not text, or that cannot be cut into rows.
    """
    column_values = [_column_values(column) for column in columns]
    kinds = [(values, column.keys()) for values, column in zip(column_values, columns, strict=True)]
    stacks = []
    for first, kind in enumerate(kinds):
        if kind in kinds[:first]:
            continue
        values = column_values[first]
        alike = [index for index, other in enumerate(kinds) if other == kind]
        tokens = [{key: columns[index][key] for key in columns[index] if key not in values} for index in alike]
        stacked, order = (_stack_static(tokens), None) if "offsets" in columns[first] else _stack_sorted(tokens)
        stacks.append(Stack(stacked | values, alike, order))
    return stacks


def embed_columns(model: nn.Module, columns: Sequence[Features], mini_batch_size: int) -> list[Tensor]:
    """Embed the columns of a batch in length-sorted micro-batches, and return one (B, D) tensor for each column.

    The embeddings are cut to the model's ``truncate_dim``.
    """
    stacks, width = stack_columns(columns), getattr(model, "truncate_dim", None)
    with attention_of_any_shape(model), short_text_attention(model):
        embedded = [
            torch.cat([model(part)["sentence_embedding"][:, :width] for part in _parts(stack, mini_batch_size)])
            for stack in stacks
        ]
    return unstack(stacks, embedded)


def unstack(stacks: Sequence[Stack], embedded: Sequence[Tensor]) -> list[Tensor]:
    """From the embeddings of each stack's rows to one (B, D) tensor for each column of the batch."""
    by_column: dict[int, Tensor] = {}
    for stack, rows in zip(stacks, embedded, strict=True):
        in_order = rows if stack.order is None else rows[stack.order]
        by_column.update(zip(stack.columns, in_order.chunk(len(stack.columns)), strict=True))
    return [by_column[index] for index in range(len(by_column))]


def cuts(stacked: Features, size: int) -> list[tuple[int, int]]:
    """The first row of each micro-batch of a sorted stack, and the row after its last."""
    rows = micro_batches(stacked["attention_mask"].sum(dim=1).cpu().numpy(), size)
    return list(pairwise(accumulate(rows, initial=0)))


def _parts(stack: Stack, size: int) -> list[Features]:
    """The micro-batches of a stack. A static model's is not cut, as it has no padding to save."""
    if stack.order is None:
        return [stack.features]
    return [_create_minibatch(stack.features, *cut) for cut in cuts(stack.features, size)]


def _column_values(column: Features) -> Features:
    """The features of a column that are one value for all of its rows."""
    if "offsets" not in column and ("attention_mask" not in column or "cu_seq_lens_q" in column):
        raise ValueError(
            "the loss needs padded text inputs (input_ids and attention_mask): turn input flattening off in the model"
        )
    values: Features = {}
    for key, value in column.items():
        if key == "prompt_length":  # a number, or a tensor that repeats it
            values[key] = int(value.flatten()[0]) if isinstance(value, Tensor) else int(value)
        elif not isinstance(value, Tensor):
            values[key] = value
        elif "offsets" in column:
            if key not in ("input_ids", "offsets"):
                raise ValueError(f"the loss does not know how to stack the feature {key!r} of a static model")
        elif value.shape != column["attention_mask"].shape:
            raise ValueError(
                f"the loss takes text only: the feature {key!r} of shape {tuple(value.shape)} is not one value a token"
            )
    return values


def _stack_static(columns: list[Features]) -> Features:
    """Stack columns for a static model: ``input_ids`` of all rows in one line, ``offsets`` where each row begins."""
    if any(int(column["offsets"].max()) > len(column["input_ids"]) for column in columns):
        # accelerate does it to batches of an IterableDataset: it cuts each tensor to the number of rows.
        raise ValueError(
            "tokens of the static model's batch are missing: with an IterableDataset, give the training arguments "
            'accelerator_config={"dispatch_batches": False}, or use a Dataset'
        )
    shifts = torch.tensor([0] + [len(column["input_ids"]) for column in columns[:-1]]).cumsum(0)
    return {
        "input_ids": torch.cat([column["input_ids"] for column in columns]),
        "offsets": torch.cat([column["offsets"] + int(shift) for column, shift in zip(columns, shifts, strict=True)]),
    }


def _stack_sorted(columns: list[Features]) -> tuple[Features, Tensor]:
    """Stack padded columns, the longest row first; and where each of their rows is in the stack (``Stack.order``)."""
    width = max(column["input_ids"].shape[1] for column in columns)
    stacked = {key: torch.cat([_padded_right(column, key, width) for column in columns]) for key in columns[0]}
    order = torch.argsort(stacked["attention_mask"].sum(dim=1), descending=True, stable=True)
    return {key: value[order] for key, value in stacked.items()}, torch.argsort(order)


def _padded_right(column: Features, key: str, width: int) -> Tensor:
    """One feature of a column, (B, width), padded on the right.

    Rows that are padded on the left are moved, because a micro-batch is cut at its right edge. That is allowed: the
    model counts positions by the attention mask either way.
    """
    value, mask = column[key], column["attention_mask"]
    if bool((mask[:, 0] == 0).any()):
        left_first = torch.argsort(mask, dim=1, descending=True, stable=True)
        value = value.gather(1, left_first)
    missing = width - value.shape[1]
    return nn.functional.pad(value, (0, missing)) if missing else value
