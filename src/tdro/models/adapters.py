"""Low-rank adapters: put on a model, and whether they do anything.

An adapter adds B·A to a layer's matrix. B starts at zero, so that training starts from the base; an adapter that was
saved before it moved, or whose layers have other names in this base, loads without complaint and changes nothing. So
the matrices are looked at, and a text is embedded with the adapter and without.
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

    from tdro.recipe.schema import Lora

_TEXT = "What is a task?"


def lora_config(lora: Lora) -> LoraConfig:
    """Adapters on every linear layer. Raises :class:`UserError` if peft is not installed."""
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise UserError("base.lora: peft is not installed; pip install 'tdro[lora]'") from error
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # a float works, and is divided by r
        lora_dropout=lora.dropout,
        target_modules="all-linear",
    )


def add_lora(model: SentenceTransformer, lora: Lora, name: object) -> None:
    """Add adapters to every linear layer of a model and freeze the rest.

    Raises:
        UserError: naming the model ``name``: no layer can carry one, or it has an adapter already.
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
    """Whether the model carries an adapter of peft's."""
    return bool(getattr(model.transformers_model, "peft_config", None))


def adapter_layers(model: nn.Module) -> dict[str, bool]:
    """The layers that carry a low-rank adapter, by name, and whether it adds anything: neither A nor B is all zero."""
    found = {}
    for name, module in model.named_modules():
        if not hasattr(module, "lora_A"):
            continue
        pairs = [(module.lora_A[key].weight, module.lora_B[key].weight) for key in module.lora_A]
        pairs += [(module.lora_embedding_A[key], module.lora_embedding_B[key]) for key in module.lora_embedding_A]
        found[name] = any(bool(a.any()) and bool(b.any()) for a, b in pairs)
    return found


def adapter_findings(model: nn.Module) -> list[str]:
    """What is wrong with the adapters of a trained model; empty if nothing is, or it has none."""
    layers = adapter_layers(model)
    if layers and not any(layers.values()):
        return [f"the adapter changes nothing: A or B is zero in each of its {len(layers)} layers"]
    return []


def layers_without_weights(model: SentenceTransformer, file: Path) -> list[str]:
    """The layers that carry a low-rank adapter, but not with the matrix A that ``adapter_model.safetensors`` has.

    The names in the file are another model's then. transformers (5.23) logs it and fills the matrices at random.
    """
    weights = load_file(file)
    inner = model.transformers_model or model  # the names in the file begin there
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
    """Cosine between a text's embeddings with the adapter and without, and whether they differ at all."""
    with_it = torch.from_numpy(model.encode([_TEXT])[0]).double()
    model.disable_adapters()
    without = torch.from_numpy(model.encode([_TEXT])[0]).double()
    model.enable_adapters()
    return float(torch.cosine_similarity(with_it, without, dim=0)), not torch.equal(with_it, without)


def last_parts(names: Iterable[str]) -> tuple[str, ...]:
    """``q_proj`` and so on, of the names of all layers."""
    return tuple(sorted({name.rsplit(".", 1)[-1] for name in names}))
