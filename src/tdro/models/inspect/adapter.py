"""What `tdro inspect` says of a saved adapter: on which base it belongs, and whether it changes anything there.

An adapter changes nothing if

- its matrices were saved before they moved from zero, or
- the base has none of the layers that it names, or
- its weights have other names than its layers.

The first and the last load without an error, so the base is loaded, the adapter is put on it, and both are tried.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sentence_transformers import SentenceTransformer

from tdro.errors import UserError, first_line
from tdro.models.adapters import (
    adapter_findings,
    adapter_layers,
    compare_without_adapter,
    last_parts,
    layers_without_weights,
)
from tdro.models.inspect.embedder import embedder_facts
from tdro.models.inspect.facts import Adapter, ModelFacts
from tdro.models.inspect.probes import count_parameters
from tdro.models.load import load_model
from tdro.models.sources import has_file

if TYPE_CHECKING:
    from peft import PeftConfig


def adapter_facts(source: str, folder: str, trust_remote_code: bool) -> ModelFacts:
    """The facts of an adapter's base, and of the adapter on it.

    Args:
        source: what the user called it.
        folder: where the adapter lies, or its hub id.
        trust_remote_code: run code that comes with the base.

    Raises:
        UserError: the adapter or its base cannot be read.
    """
    config = _adapter_config(source, folder)
    base, targets = str(config.base_model_name_or_path), getattr(config, "target_modules", None) or ()
    model = load_model(base, device="cpu", trust_remote_code=trust_remote_code)
    facts = embedder_facts(source, "adapter", base, model)
    adapter = Adapter(
        getattr(config, "r", None),
        getattr(config, "lora_alpha", None),
        (targets,) if isinstance(targets, str) else last_parts(targets),
        layers=0,
        changes=False,
    )
    if not _has_its_layers(config, model):
        finding = f"the adapter changes nothing: {base} has no layer {', '.join(adapter.targets)}"
        return replace(facts, adapter=adapter, trained=0, warnings=(*facts.warnings, finding))
    model = _put_on(source, folder, model, trust_remote_code)
    layers = adapter_layers(model)
    file = Path(folder) / "adapter_model.safetensors"
    unloaded = layers_without_weights(model, file) if file.is_file() else []
    none_loaded = len(unloaded) == len(layers) > 0
    similarity, differs = compare_without_adapter(model)
    if none_loaded:
        findings = [f"the adapter changes nothing: its weights are for layers that {base} does not have"]
    elif unloaded:
        findings = [f"the adapter has no weights for {len(unloaded)} of its {len(layers)} layers, as {unloaded[0]}"]
    else:
        findings = adapter_findings(model)
    if not differs and not findings:
        findings = ["the adapter changes nothing: a text's embedding is the same without it"]
    # Without modules.json only its base says how to pool. Evaluated alone, it gets the pooling of a bare transformer.
    stack = [type(module).__name__ for module in model]
    if not has_file(folder, "modules.json") and (stack != ["Transformer", "Pooling"] or facts.found.pooling != "mean"):
        findings.append("it has no modules.json: by itself it is evaluated with the pooling of a bare transformer")
    return replace(
        facts,
        adapter=replace(adapter, layers=len(layers), similarity=similarity, changes=differs and not none_loaded),
        trained=count_parameters(model) - facts.found.parameters,
        warnings=(*facts.warnings, *findings),
    )


def _adapter_config(source: str, folder: str) -> PeftConfig:
    try:
        from peft import PeftConfig

        return PeftConfig.from_pretrained(folder)
    except ImportError as error:
        raise UserError("peft is not installed; pip install 'tdro[lora]'") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{source}: its adapter_config.json cannot be read ({error})") from error


def _has_its_layers(config: PeftConfig, model: SentenceTransformer) -> bool:
    """Whether the model has at least one of the layers that the adapter's configuration names."""
    from peft.tuners.tuners_utils import check_target_module_exists

    names = [name for name, _ in (model.transformers_model or model).named_modules()]
    return getattr(config, "target_modules", None) == "all-linear" or any(
        check_target_module_exists(config, name) for name in names
    )


def _put_on(source: str, folder: str, model: SentenceTransformer, trust_remote_code: bool) -> SentenceTransformer:
    """The base with the adapter on it.

    A folder of sentence-transformers says itself how both go together; an adapter that peft saved is put on ``model``.
    """
    if has_file(folder, "modules.json"):
        return load_model(folder, device="cpu", trust_remote_code=trust_remote_code)
    try:
        model.load_adapter(folder)
    except Exception as error:  # a broken file raises anything
        raise UserError(f"{source}: an adapter that cannot be read ({first_line(error)})") from error
    return model
