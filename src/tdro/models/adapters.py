"""Low-rank adapters (LoRA): add them to a model, and find out whether they change anything.

An adapter adds the product B·A of two small matrices to a layer's weight. B starts at zero, so that training starts
from the base model. An adapter that was saved before B moved changes nothing, and neither does one whose layers have
other names in this base; both load without an error. So we look at the matrices themselves, and compare a text's
embeddings with and without the adapter.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from torch import nn

from tdro.errors import UserError

if TYPE_CHECKING:
    from peft import LoraConfig

    from tdro.recipe.training_sections import Lora

_TEXT = "What is a task?"


def lora_config(lora: Lora) -> LoraConfig:
    """peft's configuration of adapters on every linear layer. Raises :class:`UserError` if peft is not installed."""
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise UserError("base.lora: peft is not installed; pip install 'tdro[lora]'") from error
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # peft divides it by r, so a float works too
        lora_dropout=lora.dropout,
        target_modules="all-linear",
    )


def add_lora(model: SentenceTransformer, lora: Lora, name: object) -> None:
    """Add adapters to every linear layer of a model and freeze the rest.

    Args:
        model: gets the adapters.
        lora: the recipe's ``base.lora``.
        name: what errors call the model.

    Raises:
        UserError: no layer can carry an adapter, or the model has one already.
    """
    if not model.has_peft_compatible_model():
        raise UserError(f"base.lora: {name} has no linear layers for adapters; remove lora")
    if has_adapter(model):
        raise UserError(f"base.lora: {name} has an adapter already; merge it into its base first")
    try:
        model.add_adapter(lora_config(lora))
    except ValueError as error:
        raise UserError(f"base.lora: an adapter fits no layer of {name}; remove lora") from error


def has_adapter(model: SentenceTransformer) -> bool:
    """Whether the model carries an adapter that peft made."""
    return bool(getattr(model.transformers_model, "peft_config", None))


def adapter_layers(model: nn.Module) -> dict[str, bool]:
    """Name → whether the adapter there adds anything (neither A nor B is all zero), for each layer that carries one."""
    layers = {}
    for name, module in model.named_modules():
        if not hasattr(module, "lora_A"):
            continue
        pairs = [(module.lora_A[key].weight, module.lora_B[key].weight) for key in module.lora_A]
        pairs += [(module.lora_embedding_A[key], module.lora_embedding_B[key]) for key in module.lora_embedding_A]
        layers[name] = any(bool(a.any()) and bool(b.any()) for a, b in pairs)
    return layers


def adapter_findings(model: nn.Module) -> list[str]:
    """What is wrong with the adapters of a trained model, one string each; empty if nothing is, or it has none."""
    layers = adapter_layers(model)
    if layers and not any(layers.values()):
        return [f"the adapter changes nothing: A or B is zero in each of its {len(layers)} layers"]
    return []


def layers_without_weights(model: SentenceTransformer, file: Path) -> list[str]:
    """The layers whose adapter did not get its weights from ``file`` (an ``adapter_model.safetensors``).

    That happens when the file has the names of another model's layers. transformers (5.23) then only logs it, and
    leaves the matrices random. A layer counts as loaded if its matrix A equals one that the file has for a layer of its
    name.
    """
    weights = load_file(file)
    inner = model.transformers_model or model  # names in the file are relative to the transformer
    missing = []
    for name, module in inner.named_modules():
        if not hasattr(module, "lora_A"):
            continue
        loaded = [part.weight for part in module.lora_A.values()] + list(module.lora_embedding_A.values())
        stored = [value for key, value in weights.items() if f".{key}".partition(".lora_")[0].endswith(f".{name}")]
        if not any(torch.equal(a, value.to(a.dtype)) for a in loaded for value in stored if a.shape == value.shape):
            missing.append(name)
    return missing


def compare_without_adapter(model: SentenceTransformer) -> tuple[float, bool]:
    """The cosine between a text's embeddings with and without the adapter, and whether they differ in any bit."""
    with_it = torch.from_numpy(model.encode([_TEXT])[0]).double()
    model.disable_adapters()
    without = torch.from_numpy(model.encode([_TEXT])[0]).double()
    model.enable_adapters()
    return float(torch.cosine_similarity(with_it, without, dim=0)), not torch.equal(with_it, without)


def last_parts(names: Iterable[str]) -> tuple[str, ...]:
    """The last parts of layers' names, each once: ``q_proj`` of ``layers.0.self_attn.q_proj``."""
    return tuple(sorted({name.rsplit(".", 1)[-1] for name in names}))
