"""``inspect_model``: what a model is, what tdro would make of it, and what is wrong with it.

A bare decoder is looked at without its weights (:mod:`tdro.models.inspect.decoder`). Everything else is loaded.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn
from transformers import AutoConfig, PreTrainedModel

from tdro.errors import UserError
from tdro.models.adapters import last_parts, lora_config
from tdro.models.inspect.adapter import adapter_facts
from tdro.models.inspect.decoder import decoder_facts
from tdro.models.inspect.embedder import embedder_facts
from tdro.models.inspect.facts import Adapter, Form, Kind, ModelFacts
from tdro.models.inspect.probes import is_causal
from tdro.models.load import load_model
from tdro.models.sources import encoder_source, has_file, model_source
from tdro.recipe.training_sections import Lora


def inspect_model(
    source: str | Path,
    *,
    kind: Kind | None = None,
    layers: int | None = None,
    lora: bool = False,
    max_tokens: int = 512,
    trust_remote_code: bool = False,
) -> ModelFacts:
    """Find out what a model is.

    Args:
        source: a folder, a hub id, a ``.gguf`` file, ``smollm2`` or ``minilm``, or the folder of an adapter.
        kind: how tdro should read it; None: a bare causal language model as a decoder, everything else as an encoder,
            that is, as it is.
        layers: keep only the first layers of a decoder, so many.
        lora: train adapters of rank 8 instead of all weights.
        max_tokens: longest text of a decoder.
        trust_remote_code: run code that comes with the model.

    Raises:
        UserError: it cannot be read, or not as ``kind``.

    Example::

        facts = inspect_model("smollm2", layers=6)
        facts.built.parameters, facts.warnings
    """
    folder, gguf_file = model_source(str(source))
    form = _form(folder, gguf_file)
    if form == "adapter":
        if kind or layers or lora:
            raise UserError(f"{source}: an adapter, not a whole model; it is looked at as it is")
        return adapter_facts(str(source), folder, trust_remote_code)
    if kind is None:
        bare = form == "GGUF" or (form == "transformers" and _is_causal(folder, trust_remote_code))
        kind = "decoder" if bare else "encoder"
    if kind == "decoder":
        facts, built = decoder_facts(str(source), form, folder, gguf_file, layers, max_tokens, trust_remote_code)
        return _with_lora(facts, built, built, lora)
    if layers is not None:
        raise UserError(f"{source}: is taken as it is; only a decoder can be cut to its first layers")
    folder = encoder_source(str(source))
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
    except (OSError, ValueError, KeyError):  # whoever loads the model will say what is wrong
        return False


def _with_lora(facts: ModelFacts, model: nn.Module, inner: PreTrainedModel | None, lora: bool) -> ModelFacts:
    """Add to the facts how many parameters adapters of the default rank would train.

    Args:
        facts: of the model.
        model: the model; it is changed, and of no use afterwards.
        inner: the transformer in it, which gets the adapters; None for a static model.
        lora: the user asks for adapters, so a model that cannot have them is an error.
    """
    # Without adapters, training makes all weights float32 (load_model with trained=True).
    all_weights = replace(facts, built=replace(facts.built, dtype="float32"))
    settings = Lora()
    try:
        if inner is None:
            raise UserError(f"{facts.source}: no layer can carry an adapter")
        inner.add_adapter(lora_config(settings))
    except (UserError, ValueError) as error:
        if lora:
            raise UserError(f"{error}; leave --lora out") from error
        return all_weights
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if not lora:
        return replace(all_weights, trained_with_lora=count)
    layers = [name for name, module in inner.named_modules() if hasattr(module, "lora_A")]
    adapter = Adapter(settings.r, settings.alpha, last_parts(layers), len(layers))
    return replace(facts, trained=count, trained_with_lora=count, adapter=adapter)
