"""What a model is, what tdro would make of it, and what is wrong with it.

A bare decoder is looked at without its weights: its configuration gives every shape, its tokenizer says how a text
ends; so a model of 8 B takes seconds and no memory. A model that is taken as it is, is loaded. Rejected: building the
base to look at it, which writes all its weights once more.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from tdro.errors import UserError
from tdro.models.adapters import last_parts, lora_config
from tdro.models.decoder import embedding_tokenizer, keep_layers, read_decoder, vocabulary_rows
from tdro.models.gguf_file import gguf_parsed_once
from tdro.models.inspect.adapter import adapter_facts
from tdro.models.inspect.embedder import embedder_facts
from tdro.models.inspect.facts import Adapter, Form, Kind, ModelFacts, State
from tdro.models.inspect.probes import attention, count_parameters, dtype_on_disk, has_file, is_causal, tokenization
from tdro.models.load import load_model
from tdro.models.sources import encoder_source, model_source
from tdro.recipe.schema import Lora


def inspect_model(
    source: str | Path,
    *,
    kind: Kind | None = None,
    layers: int | None = None,
    lora: bool = False,
    max_tokens: int = 512,
    trust_remote_code: bool = False,
    cache: Path | str | None = None,
) -> ModelFacts:
    """Look at a model.

    Args:
        source: a folder, a hub id, a ``.gguf`` file, ``smollm2`` or ``minilm``, or the folder of an adapter.
        kind: how to read it; None: a bare causal language model is a decoder, all else is taken as it is.
        layers: of a decoder, keep the first so many.
        lora: train adapters of rank 8 instead of all weights.
        max_tokens: longest text of a decoder.
        trust_remote_code: run code that comes with the model.
        cache: folder for packaged models.

    Raises:
        UserError: it cannot be read, or not in this way.
    """
    folder, gguf_file = model_source(str(source), cache)
    form = _form(folder, gguf_file)
    if form == "adapter":
        if kind or layers or lora:
            raise UserError(f"{source}: an adapter, not a whole model; it is looked at as it is")
        return adapter_facts(str(source), folder, trust_remote_code)
    if kind is None:
        bare = form == "GGUF" or (form == "transformers" and _is_causal(folder, trust_remote_code))
        kind = "decoder" if bare else "encoder"
    inner: PreTrainedModel | None
    if kind == "decoder":
        facts, inner = _decoder(str(source), form, folder, gguf_file, layers, max_tokens, trust_remote_code)
        return _with_lora(facts, inner, inner, lora)
    if layers is not None:
        raise UserError(f"{source}: is taken as it is; only a decoder can be cut to its first layers")
    folder = encoder_source(str(source), cache)
    model = load_model(folder, device="cpu", trust_remote_code=trust_remote_code)
    return _with_lora(embedder_facts(str(source), form, folder, model), model, model.transformers_model, lora)


def _form(folder: str, gguf_file: str | None) -> Form:
    if gguf_file:
        return "GGUF"
    if has_file(folder, "adapter_config.json"):
        return "adapter"
    return "sentence-transformers" if has_file(folder, "modules.json") else "transformers"


def _is_causal(folder: str, trust_remote_code: bool) -> bool:
    try:
        return is_causal(AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code))
    except (OSError, ValueError, KeyError):  # said in full by whoever reads the model
        return False


@gguf_parsed_once()
def _decoder(
    source: str,
    form: Form,
    folder: str,
    gguf_file: str | None,
    layers: int | None,
    max_tokens: int,
    trust_remote_code: bool,
) -> tuple[ModelFacts, PreTrainedModel]:
    """What becomes of a causal language model, and its shapes."""
    config, raw = read_decoder(folder, gguf_file=gguf_file, trust_remote_code=trust_remote_code)
    tokenizer = embedding_tokenizer(raw, max_tokens=max_tokens)
    kept = copy.deepcopy(config)
    keep_layers(kept, layers, source)
    kept.vocab_size = max(config.vocab_size, vocabulary_rows(tokenizer))
    whole, built = _shapes(config, trust_remote_code), _shapes(kept, trust_remote_code)
    dtype = dtype_on_disk(folder, gguf_file, config)
    facts = ModelFacts(
        source=source,
        form=form,
        kind="decoder",
        architecture=(config.architectures or [type(whole).__name__])[0],
        width=config.hidden_size,
        tied=bool(config.tie_word_embeddings),
        found=State(
            tokenization(raw, None), config.num_hidden_layers, count_parameters(whole), config.vocab_size, dtype
        ),
        built=State(
            tokenization(tokenizer, max_tokens),
            kept.num_hidden_layers,
            count_parameters(built),
            kept.vocab_size,
            "float32" if gguf_file else dtype,
            "lasttoken",
        ),
        trained=count_parameters(built),
        attention=attention(built),
    )
    warnings = []
    if not is_causal(config):
        warnings.append(f"{facts.architecture} is not a causal language model; --kind encoder is meant for it")
    if (missing := vocabulary_rows(raw) - config.vocab_size) > 0:
        warnings.append(f"{missing} tokens have no row of embeddings; they get the mean of the others")
    positions = getattr(config, "max_position_embeddings", None)
    if positions and max_tokens > positions:
        warnings.append(f"it was made for texts of up to {positions} tokens, not {max_tokens}")
    if not (facts.built.tokenization.ends_in_eos and facts.built.tokenization.cut_ends_in_eos):
        warnings.append("texts do not end in the end-of-sequence token though they should; this is a bug in tdro")
    return replace(facts, warnings=tuple(warnings)), built


def _shapes(config: PretrainedConfig, trust_remote_code: bool) -> PreTrainedModel:
    """The model without its weights, which takes no memory."""
    with torch.device("meta"):
        return AutoModel.from_config(config, trust_remote_code=trust_remote_code)


def _with_lora(facts: ModelFacts, model: nn.Module, inner: PreTrainedModel | None, lora: bool) -> ModelFacts:
    """How much adapters of the default rank would train. ``inner``, a part of ``model``, gets them."""
    full = replace(facts, built=replace(facts.built, dtype="float32"))  # see base.load_model
    settings = Lora()
    try:
        if inner is None:
            raise UserError(f"{facts.source}: no layer can carry an adapter")
        inner.add_adapter(lora_config(settings))
    except (UserError, ValueError) as error:
        if lora:
            raise UserError(f"{error}; leave --lora out") from error
        return full
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if not lora:
        return replace(full, trained_with_lora=count)
    layers = [name for name, module in inner.named_modules() if hasattr(module, "lora_A")]
    adapter = Adapter(settings.r, settings.alpha, last_parts(layers), len(layers))
    return replace(facts, trained=count, trained_with_lora=count, adapter=adapter)
