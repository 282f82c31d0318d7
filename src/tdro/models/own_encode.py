"""Embed texts by the model's own ``encode``, for models that need more than a text's tokens.

Most models see a text's tokens and nothing else; :mod:`tdro.models.encode` embeds those, which is faster. Some do not:
a Router sends queries and passages through different modules, a pooling may leave out the prompt, and some modules look
at the padding beside a text. Such models are evaluated and mined with through ``encode_query`` and ``encode_document``,
and refused as the base of a training. See docs/decisions.md, own-encode-by-modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer import modules
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from torch import nn

from tdro.errors import UserError
from tdro.machine import Machine
from tdro.models.cuda import attention_of_any_shape
from tdro.models.kinds import ROUTES, TOKEN_MODULES

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Side = Literal["query", "document"]

_TOKEN_MODULES = [getattr(modules, name) for name in sorted(TOKEN_MODULES)]
# The features that a model of tokens may be given. The second five describe texts in one row, without padding.
_FEATURES = {"input_ids", "attention_mask", "token_type_ids", "modality"}
_FEATURES |= {"position_ids", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"}


def needs_own_encode(model: SentenceTransformer) -> str | None:
    """Why a model's embeddings cannot be made from tokens alone, as the end of a sentence; None if they can.

    The sentence begins with "it": ``has a module of another kind (CLIPModel)``. Only the tokenizer is used, so a model
    that was loaded without weights will do.
    """
    first = model[0]
    if type(first).__name__ == "Router":
        return ROUTES
    for module in model:
        if type(module) not in _TOKEN_MODULES:
            return f"has a module of another kind ({type(module).__name__})"
    if isinstance(first, StaticEmbedding):
        return None
    if getattr(first, "query_length", None) or getattr(first, "document_length", None):
        return "has other maximum lengths for queries than for passages"
    features = model.preprocess(["a"])
    if more := set(features) - _FEATURES:
        return f"reads more than tokens ({', '.join(sorted(more))})"
    if "token_type_ids" in features and bool(features["token_type_ids"].any()):
        return "reads token types besides tokens"
    if model.tokenizer.padding_side == "left" and _absolute_positions(model):
        return "pads on the left, which moves its tokens' positions"
    return None


def leaves_out_prompt(model: SentenceTransformer) -> bool:
    """Whether the prompt's tokens are not pooled (``include_prompt: false``)."""
    return any(isinstance(module, Pooling) and not module.include_prompt for module in model)


def prompt_is_message(model: SentenceTransformer) -> bool:
    """Whether texts go through a chat template, where a prompt becomes a message of its own."""
    return "message" in getattr(model[0], "modality_config", {})


def own_vectors(
    model: SentenceTransformer, texts: list[str], side: Side, prompt: str, machine: Machine
) -> NDArray[np.float32]:
    """Embeddings by ``encode_query`` or ``encode_document``, with a prompt before each text; (len(texts), D).

    Raises:
        UserError: the model fails, or does not give one vector a text.
    """
    encode = model.encode_query if side == "query" else model.encode_document
    autocast = torch.autocast(model.device.type, torch.bfloat16, enabled=machine.bf16)
    with attention_of_any_shape(), autocast:
        try:
            found = encode(texts, prompt=prompt, convert_to_tensor=True, show_progress_bar=False)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # the modules may be anybody's, and fail in any way
            line = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
            raise UserError(f"the model cannot embed text ({line}); it cannot be used") from error
    if found.ndim != 2 or found.layout != torch.strided:
        raise UserError("the model does not give one vector a text; it cannot be used")
    return found.float().cpu().numpy()


def _absolute_positions(model: SentenceTransformer) -> bool:
    """Whether the model has a table of position embeddings, as BERT and GPT-2 do (``wpe``)."""
    return any(
        isinstance(part, nn.Embedding) and ("position" in name or name.endswith("wpe"))
        for name, part in model.named_modules()
    )
