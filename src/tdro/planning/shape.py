"""A base model's sizes, from its configuration: no weight is read, and no memory taken.

The model is built on torch's meta device, where a parameter has a shape and no bytes, and looked at. So parameters
are counted exactly, whatever the architecture. Rejected: formulas by model type, of which there is a new one a month.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from tdro.errors import UserError
from tdro.models.base_tokens import base_files, is_static
from tdro.models.decoder import keep_layers
from tdro.models.kinds import refuse_as_base
from tdro.models.sources import plain_tokenizer
from tdro.recipe.rules import PACKAGED
from tdro.recipe.schema import Base


@dataclass(frozen=True)
class ModelShape:
    """The sizes that memory and FLOPs follow from. A static model has ``layers`` 0.

    Attributes:
        parameters: all of them.
        vocabulary: rows of the token embedding.
        width: of the hidden states and the embeddings.
        stored: bytes of a weight on disk, and in memory where it is not trained.
        layers: how many.
        heads: of attention.
        queries: width of all heads together.
        inner: width inside the MLP.
        gated: whether the MLP has a gate beside its way up.
        matrices: (inputs, outputs) of every matrix of one layer.
        normalised: numbers that one layer normalises a token, queries and keys included.
        rms: whether by RMSNorm; else LayerNorm.
        dropout: whether hidden states are dropped out in training.
        attention_dropout: the same of attention.
    """

    parameters: int
    vocabulary: int
    width: int
    stored: int = 4
    layers: int = 0
    heads: int = 0
    queries: int = 0
    inner: int = 0
    gated: bool = False
    matrices: tuple[tuple[int, int], ...] = ()
    normalised: int = 0
    rms: bool = False
    dropout: bool = False
    attention_dropout: bool = False

    @property
    def static(self) -> bool:
        """Whether it is a vector a token and nothing else."""
        return self.layers == 0

    @property
    def products(self) -> int:
        """Weights of all layers' matrices: those that every token is multiplied with."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.matrices)

    def adapters(self, rank: int) -> int:
        """Parameters of adapters of a rank on every matrix of every layer."""
        return self.layers * sum(rank * (inputs + outputs) for inputs, outputs in self.matrices)


def read_shape(base: Base, trust_remote_code: bool = False) -> ModelShape:
    """The sizes of a base model.

    Raises:
        UserError: its configuration cannot be read, has fewer layers than asked for, or no layers.
    """
    if base.kind == "static":
        vocabulary = max(plain_tokenizer(base.source).get_vocab().values()) + 1
        width = base.dimension or 256
        return ModelShape(vocabulary * width, vocabulary, width)
    from transformers import AutoConfig, AutoModel

    folder, gguf_file = base_files(base)
    if base.kind == "encoder" and is_static(folder):
        return _static_shape(folder)
    if gguf_file is None and base.source not in PACKAGED:
        refuse_as_base(base.source)
    try:
        config = AutoConfig.from_pretrained(folder, gguf_file=gguf_file, trust_remote_code=trust_remote_code)
        keep_layers(config, base.layers, base.source)
        with torch.device("meta"):
            model = AutoModel.from_config(config, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"base.source {base.source}: its configuration cannot be read ({_line(error)})") from error
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
    inner = getattr(config, "intermediate_size", 4 * width)
    norms = [(name, module) for name, module in layer.named_modules() if "Norm" in type(module).__name__]
    return ModelShape(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocabulary=config.vocab_size,
        width=width,
        stored=2 if getattr(config, "dtype", None) in (torch.bfloat16, torch.float16) and not _quantised(config) else 4,
        layers=config.num_hidden_layers,
        heads=heads,
        queries=heads * head,
        inner=inner,
        # Two matrices, or one that is twice as high.
        gated=sum(outputs for inputs, outputs in matrices if inputs == width and outputs % inner == 0) >= 2 * inner,
        matrices=matrices,
        normalised=sum(
            {"q_norm": heads, "k_norm": getattr(config, "num_key_value_heads", heads)}.get(name.rsplit(".", 1)[-1], 1)
            * sum(parameter.numel() for name, parameter in module.named_parameters() if name == "weight")
            for name, module in norms
        ),
        rms=any("RMS" in type(module).__name__ for _, module in norms),
        dropout=_above_zero(config, "hidden_dropout_prob", "hidden_dropout", "resid_pdrop", "mlp_dropout"),
        attention_dropout=_above_zero(config, "attention_probs_dropout_prob", "attention_dropout", "attn_pdrop"),
    )


def _static_shape(folder: str) -> ModelShape:
    """Of a sentence-transformers model of static vectors, by the head of its weights."""
    path = Path(folder) / "model.safetensors"
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


def _above_zero(config: object, *names: str) -> bool:
    return any((getattr(config, name, 0.0) or 0.0) > 0 for name in names)


def _quantised(config: object) -> bool:
    """Whether it was read from GGUF, which becomes float32."""
    return getattr(config, "quantization_config", None) is not None


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]
