"""The sizes of a base model, from its configuration: no weights are read and no memory is taken.

The model is built on torch's meta device, where a parameter has a shape and no bytes, and its parameters are counted.
So the count is exact for every architecture. See docs/decisions.md, sizes-from-the-meta-device.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from tdro.errors import UserError, first_line
from tdro.hub.model_files import model_file
from tdro.models.base_tokens import base_files, is_static
from tdro.models.decoder import keep_layers
from tdro.models.kinds import refuse_as_base
from tdro.models.sources import plain_tokenizer
from tdro.recipe.rules import PACKAGED
from tdro.recipe.training_sections import Base

# What the configurations of different architectures call the dropout of attention.
_DROPOUTS = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")


@dataclass(frozen=True)
class ModelShape:
    """The sizes from which memory and FLOPs follow. A static model has ``layers`` 0.

    Attributes:
        parameters: how many there are.
        vocabulary: rows of the token embedding.
        width: of the hidden states and the embeddings.
        stored: bytes of a weight on disk, and in memory if it is not trained.
        layers: how many layers.
        heads: of attention, in one layer.
        queries: the width of all heads together.
        matrices: (inputs, outputs) of each matrix of one layer.
        attention_dropout: whether attention drops probabilities out in training.
    """

    parameters: int
    vocabulary: int
    width: int
    stored: int = 4
    layers: int = 0
    heads: int = 0
    queries: int = 0
    matrices: tuple[tuple[int, int], ...] = ()
    attention_dropout: bool = False

    @property
    def static(self) -> bool:
        """Whether the model is a table of one vector a token and nothing else."""
        return self.layers == 0

    @property
    def products(self) -> int:
        """How many weights every token is multiplied with: those of the matrices of all layers."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.matrices)

    def adapters(self, rank: int) -> int:
        """How many parameters LoRA adapters of a rank have, one on each matrix of each layer."""
        return self.layers * sum(rank * (inputs + outputs) for inputs, outputs in self.matrices)


def read_shape(base: Base, trust_remote_code: bool = False) -> ModelShape:
    """The sizes of a base model.

    Raises:
        UserError: its configuration cannot be read, or has no layers, or fewer than the recipe asks for.
    """
    if base.kind == "static":
        vocabulary = max(plain_tokenizer(base.source).get_vocab().values()) + 1
        width = base.dimension or 256
        return ModelShape(vocabulary * width, vocabulary, width)
    from transformers import AutoConfig, AutoModel

    folder, gguf_file = base_files(base)
    if base.kind == "encoder" and is_static(folder):
        return _static_shape(base.source, folder)
    if gguf_file is None and base.source not in PACKAGED:
        refuse_as_base(base.source)
    try:
        config = AutoConfig.from_pretrained(folder, gguf_file=gguf_file, trust_remote_code=trust_remote_code)
        keep_layers(config, base.layers, base.source)
        with torch.device("meta"):
            model = AutoModel.from_config(config, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(
            f"base.source {base.source}: its configuration cannot be read ({first_line(error)[:200]})"
        ) from error
    return shape_of(model)


def shape_of(model: nn.Module) -> ModelShape:
    """The sizes of a transformers model, on the meta device or any other.

    Raises:
        UserError: it has no list of layers.
    """
    config: Any = model.config
    width, heads = config.hidden_size, config.num_attention_heads
    layer = _layer(model, config.num_hidden_layers)
    matrices = tuple((p.shape[1], p.shape[0]) for p in layer.parameters() if p.dim() == 2)
    head = getattr(config, "head_dim", None) or width // heads
    return ModelShape(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocabulary=config.vocab_size,
        width=width,
        stored=2 if getattr(config, "dtype", None) in (torch.bfloat16, torch.float16) and not _quantised(config) else 4,
        layers=config.num_hidden_layers,
        heads=heads,
        queries=heads * head,
        matrices=matrices,
        attention_dropout=any((getattr(config, name, 0.0) or 0.0) > 0 for name in _DROPOUTS),
    )


def _static_shape(source: str, folder: str) -> ModelShape:
    """The sizes of a sentence-transformers model of static vectors, from the header of its weights file.

    Args:
        source: the recipe's ``base.source``.
        folder: with the model's files; of a model on the hub, all but the weights, which are downloaded now.
    """
    path = Path(folder) / "model.safetensors"
    if not path.exists() and not Path(source).exists():
        path = model_file(source, path.name) or path
    try:
        with safe_open(str(path), framework="np") as file:
            vocabulary, width = file.get_slice("embedding.weight").get_shape()
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: weights that cannot be read ({error})") from error
    return ModelShape(vocabulary * width, vocabulary, width)


def _layer(model: nn.Module, count: int) -> nn.Module:
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    if not lists:
        raise UserError(f"{type(model).__name__}: no list of {count} layers in it; its plan cannot be made")
    return lists[0][0]


def _quantised(config: object) -> bool:
    """Whether the model comes from GGUF, whose weights become float32."""
    return getattr(config, "quantization_config", None) is not None
