"""Single questions to a model or tokenizer, each answered by trying it or by reading its files.

Configurations are often wrong about whether a text ends in the end-of-sequence token, so texts are encoded and the last
token id is looked at.
"""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from tdro.data.tokens.limits import within
from tdro.errors import UserError
from tdro.machine import this_machine
from tdro.models.inspect.facts import Attention, Token, Tokenization
from tdro.models.load import flash_attention

_TEXT = "What is a task?"
_LONGEST_TRIED = 4096
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def is_causal(config: PretrainedConfig) -> bool:
    """Whether models of this configuration predict the next token, so that each token sees only those before it.

    BERT and its kin do not count: transformers has a causal head for them too, but they are not made for it.
    """
    return (
        config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        and config.model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        and getattr(config, "is_causal", True) is not False
        and not getattr(config, "is_encoder_decoder", False)
    )


def tokenization(
    tokenizer: Any, max_tokens: int | None, encode: Callable[[str], list[int]] | None = None
) -> Tokenization:
    """How a tokenizer makes tokens of texts.

    Args:
        tokenizer: a tokenizer of transformers.
        max_tokens: where texts are cut; None: where the tokenizer cuts them.
        encode: gives a text's token ids as training sees them; None: those that the tokenizer gives.
    """
    limit = max_tokens or tokenizer.model_max_length
    cut = min(limit, _LONGEST_TRIED)
    encode = encode or (lambda text: tokenizer(text, truncation=True, max_length=cut).input_ids)
    eos = _token(tokenizer, "eos")
    short, long = (eos is not None and encode(text)[-1:] == [eos.id] for text in (_TEXT, "word " * (cut + 50)))
    return Tokenization(
        tokens=len(tokenizer.get_vocab()),
        max_tokens=within(limit),
        padding_side=tokenizer.padding_side,
        pad=_token(tokenizer, "pad"),
        eos=eos,
        ends_in_eos=short,
        cut_ends_in_eos=long,
        chat_template=bool(getattr(tokenizer, "chat_template", None)),
    )


def _token(tokenizer: Any, which: str) -> Token | None:
    text = getattr(tokenizer, f"{which}_token", None)
    return None if text is None else Token(text, getattr(tokenizer, f"{which}_token_id"))


def attention(model: PreTrainedModel) -> Attention:
    """The attention kernels of an architecture, and the one that training on this machine uses."""
    machine = this_machine()
    flash = flash_attention(machine.device, machine.bf16) if model._supports_flash_attn else None
    kernels = [*([flash] if flash else []), *(["sdpa"] if model._supports_sdpa else []), "eager"]
    installed = importlib.util.find_spec("flash_attn") is not None
    return Attention(tuple(kernels), flash or model.config._attn_implementation, installed)


def _weights_by_dtype(path: Path) -> Counter[str]:
    """How many weights of each type a safetensors file has, from its header. UserError if it is broken."""
    sizes: Counter[str] = Counter()
    try:
        with safe_open(str(path), framework="np") as file:
            for name in file.keys():  # noqa: SIM118  # not a dict
                part = file.get_slice(name)
                sizes[part.get_dtype()] += math.prod(part.get_shape())
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: weights that cannot be read ({error})") from error
    return sizes


def dtype_on_disk(folder: str, gguf_file: str | None, config: PretrainedConfig | None) -> str:
    """The type of most of a model's weights, by its files; by its configuration where the files are not here."""
    sizes: Counter[str] = Counter()
    if gguf_file:
        from gguf import GGUFReader

        for tensor in GGUFReader(str(Path(folder) / gguf_file)).tensors:
            sizes[tensor.tensor_type.name] += int(tensor.n_elements)
    elif Path(folder).is_dir():
        for path in sorted(Path(folder).rglob("*.safetensors")):
            sizes += _weights_by_dtype(path)
    if not sizes:
        return str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")
    name = sizes.most_common(1)[0][0]
    return _DTYPES.get(name, name)


def count_parameters(model: nn.Module) -> int:
    """The number of a model's parameters, trained or not."""
    return sum(parameter.numel() for parameter in model.parameters())
