"""Load an embedding model: any that sentence-transformers can read, with what training asks of it.

:func:`load_model` is how all of tdro loads models. It refuses models that are no embedders, keeps texts within the
model's positions, and adds what a recipe's ``base`` asks for: adapters, gradient checkpointing, an attention kernel.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from sentence_transformers.util import get_device_name
from torch import nn
from transformers.utils import is_flash_attn_2_available

from tdro.data.tokens.limits import positions
from tdro.errors import UserError, first_line
from tdro.hub.faults import hub_fault
from tdro.models.adapters import add_lora, has_adapter
from tdro.models.kinds import about_bare, is_bare, refuse_other_models

if TYPE_CHECKING:
    from tdro.recipe.training_sections import Lora

logger = logging.getLogger(__name__)


def load_model(
    path: Path | str,
    *,
    device: str | None = None,
    computes_on: str | None = None,
    max_tokens: int | None = None,
    bf16: bool = False,
    trust_remote_code: bool = False,
    lora: Lora | None = None,
    gradient_checkpointing: bool = False,
    trained: bool = False,
) -> SentenceTransformer:
    """Load a sentence-transformers model; a bare transformer gets the pooling that sentence-transformers chooses.

    Args:
        path: a folder or a hub id.
        device: as torch names it; the best there is if None. With ``meta`` no weights are read, which is enough for the
            tokenizer.
        computes_on: the device that the model will be moved to later, where it is loaded on another one (FSDP).
        max_tokens: longest text, in tokens; the model's own limit if None.
        bf16: the model will compute under autocast to bfloat16. Then flash attention is used where it is installed and
            works (:func:`flash_attention`), and else the attention that transformers chooses.
        trust_remote_code: run code that comes with the model.
        lora: add adapters to every linear layer and freeze the rest; None trains every weight.
        gradient_checkpointing: recompute activations in the backward pass, to save memory.
        trained: make the weights that are not frozen float32, whatever they are on disk: an optimizer's steps are
            smaller than what bfloat16 can add. With ``lora`` this is always done.

    Raises:
        UserError: the model cannot be read, is of another kind than an embedder (:mod:`tdro.models.kinds`), or has no
            layers for adapters or checkpoints.
    """
    if Path(path).is_absolute() and not Path(path).is_dir():
        raise UserError(f"{path}: no such model folder")
    refuse_other_models(path)
    try:
        device = device or get_device_name()
        model = _read(path, device, flash_attention(computes_on or device, bf16), trust_remote_code)
    except Exception as error:  # a broken file raises anything, a plain Exception too
        if "trust_remote_code" in str(error):
            raise UserError(
                f"{path}: comes with code of its own, which is run only where you say so.\n"
                "Read it; then give --trust-remote-code, or trust_remote_code: true in a recipe."
            ) from error
        if fault := hub_fault(error, str(path)):
            raise UserError(fault) from error
        raise UserError(f"{path}: not a model that sentence-transformers can read ({first_line(error)})") from error
    if is_bare(path):
        pooling = next((module.pooling_mode for module in model if isinstance(module, Pooling)), None)
        name = type(model.transformers_model).__name__
        logger.warning("%s: %s", path, about_bare(name, pooling, has_adapter(model)))
    if max_tokens is not None:
        _set_max_tokens(model, max_tokens)
    _stay_within_positions(model, path)
    if lora is not None:
        add_lora(model, lora, path)
    if trained or lora is not None:
        _make_trained_weights_float32(model)
    if gradient_checkpointing:
        _enable_gradient_checkpointing(model, path)
    return model


def _read(path: Path | str, device: str, flash: str | None, trust_remote_code: bool) -> SentenceTransformer:
    """Read the model, with the flash kernel ``flash`` if one is named and the model has it."""
    # device="meta" alone would still read the weights and then drop them; as device_map it does not.
    without_weights = device == "meta"

    def read(kernel: str | None) -> SentenceTransformer:
        options = {"attn_implementation": kernel, "device_map": "meta" if without_weights else None}
        return SentenceTransformer(
            str(path),
            device=None if without_weights else device,
            trust_remote_code=trust_remote_code,
            model_kwargs={key: value for key, value in options.items() if value} or None,
        )

    if flash:
        with contextlib.suppress(ValueError, ImportError):  # not every architecture has a flash kernel
            return read(flash)
    return read(None)


def flash_attention(device: str, bf16: bool) -> str | None:
    """The name of the flash kernel if it is installed and works here: in bfloat16, on a CUDA GPU since Ampere."""
    if not (bf16 and device.startswith("cuda") and is_flash_attn_2_available()):
        return None
    return "flash_attention_2" if torch.cuda.get_device_capability(device) >= (8, 0) else None


def _set_max_tokens(model: SentenceTransformer, max_tokens: int) -> None:
    if isinstance(model[0], StaticEmbedding):  # ignores max_seq_length; its tokenizer truncates
        model[0].tokenizer.enable_truncation(max_tokens)
    else:
        model.max_seq_length = max_tokens


def _stay_within_positions(model: SentenceTransformer, path: Path | str) -> None:
    """Lower ``max_seq_length`` to the model's positions; a longer text would be an error deep inside the model.

    Static models have no positions. A Router has several transformers, each with a limit of its own, and stays as it
    is.
    """
    if not isinstance(model[0], Transformer):
        return
    limit, available = getattr(model, "max_seq_length", None), positions(model)
    if available is not None and (limit is None or limit > available):
        model.max_seq_length = available
        if limit is not None:
            logger.warning("%s: has positions for %d tokens, not for its max_seq_length of %d", path, available, limit)


def _make_trained_weights_float32(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype in (torch.bfloat16, torch.float16):
            parameter.data = parameter.data.float()


def _enable_gradient_checkpointing(model: SentenceTransformer, path: Path | str) -> None:
    """Done here, because the trainer's ``gradient_checkpointing=True`` calls a method that these models lack."""
    inner = model.transformers_model
    if inner is None:
        raise UserError(f"base.gradient_checkpointing: {path} has no layers to recompute; remove it")
    if hasattr(inner, "activation_checkpointing_enable"):  # its name since transformers 5.2x
        inner.activation_checkpointing_enable({"use_reentrant": False})
    else:
        inner.gradient_checkpointing_enable({"use_reentrant": False})
    if not all(parameter.requires_grad for parameter in inner.parameters()):
        inner.enable_input_require_grads()
