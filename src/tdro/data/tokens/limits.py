"""How much of a text a model reads, and where a row of tokens is cut.

A limit of a recipe counts the text with its special tokens; an instruction before it comes on top. With
``query_tokens: 20`` and an instruction of 24 tokens, rows of queries have up to 44. No row is longer than the model
reads: if it reads 40, 16 are left for the query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdro.errors import UserError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn

_UNLIMITED = 10**6  # transformers writes 10^30 where a tokenizer has no limit


def table_positions(model: nn.Module) -> int | None:
    """The most tokens that a model's tables of position embeddings have rows for; None if it has no such table.

    RoBERTa and its kin count from the padding's id, so that a table of 514 rows is for 512 tokens.
    """
    from torch.nn import Embedding  # the report, which reads what was cut, needs no torch

    tables = [getattr(module, "position_embeddings", None) for module in model.modules()]
    rows = [
        table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        for table in tables
        if isinstance(table, Embedding)
    ]
    return min(rows, default=None)


def positions(model: nn.Module) -> int | None:
    """The most tokens that a model has positions for, by its tables and its configuration; None if neither says."""
    found = [table_positions(model) or 0]
    for module in model.modules():
        config = getattr(module, "config", None)
        text = config.get_text_config() if config is not None and hasattr(config, "get_text_config") else None
        found.append(getattr(text, "max_position_embeddings", None) or 0)
    return min((length for length in found if isinstance(length, int) and length > 0), default=None)


def longest_row(model: SentenceTransformer) -> int | None:
    """The most tokens that a model reads, prompt and special tokens included; None for no limit.

    That is its ``max_seq_length`` (by default its tokenizer's ``model_max_length``), or its number of positions if that
    is smaller. A static model reads as far as its tokenizer is set to truncate.
    """
    truncation = getattr(model.tokenizer, "truncation", None)
    if isinstance(truncation, dict):
        return int(truncation["max_length"])
    return within(getattr(model, "max_seq_length", None), positions(model))


def within(*lengths: float | None) -> int | None:
    """The smallest of some lengths. None, or an absurdly large number, is no limit; None is returned if all are."""
    return min((int(length) for length in lengths if length is not None and length < _UNLIMITED), default=None)


def row_length(limit: int, prompt: int, special: int, longest: int | None, whose: str = "") -> int:
    """Where a row is cut, in tokens: after the prompt and ``limit`` tokens of the text, or where the model stops.

    Args:
        limit: the most tokens of the text, special tokens included.
        prompt: how many tokens the prompt before it has.
        special: how many special tokens a row has.
        longest: the most tokens that the model reads; see :func:`longest_row`.
        whose: names the texts in the error: ``queries of task 'a'``.

    Raises:
        UserError: no token of the text would be left.

    Example::

        row_length(limit=20, prompt=24, special=2, longest=512)  # 44
        row_length(limit=20, prompt=24, special=2, longest=40)  # 40: 16 tokens are left for the text
    """
    row = limit + prompt if longest is None else min(limit + prompt, longest)
    if row - prompt > special:
        return row
    if not prompt:
        raise UserError(f"{whose or 'texts'}: a limit of {row} tokens leaves nothing beside {special} special tokens")
    raise UserError(
        f"{whose or 'texts'}: the instruction before them takes {prompt} of the {row} tokens that the model reads, "
        "and nothing is left of the text.\nShorten the instruction, or leave the prompts out (data.prompts: false)."
    )
