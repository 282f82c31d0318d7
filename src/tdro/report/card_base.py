"""The model that was fine-tuned, as a model card names it: its id on the hub, its licence, and a line about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdro.evaluation.compare.readable_numbers import nested
from tdro.files import exists
from tdro.report.hide_paths import without_paths
from tdro.report.run_contents import TrainedModel

# The models that come from the package index: their names on the hub, and the licences that their authors give them.
_PACKAGED = {
    "smollm2": ("HuggingFaceTB/SmolLM2-135M-Instruct", "Apache-2.0"),
    "minilm": ("sentence-transformers/all-MiniLM-L6-v2", "Apache-2.0"),
}


@dataclass(frozen=True)
class CardBase:
    """The model that was fine-tuned, as a card names it.

    Attributes:
        hub: its id on the hub, if it has one.
        name: that id, or the name of its folder.
        what: a line about it: its layers, its pooling, its adapters.
        licence: empty if it is not known.
        adapter: whether the fine-tuned model's folder holds adapters alone.
    """

    hub: str | None
    name: str
    what: str
    licence: str
    adapter: bool


def card_base(recipe: Any, training: TrainedModel, folder: Path) -> CardBase:
    """What a card says of the base of a training. ``folder`` is the fine-tuned model's."""
    groups = {nested(entry, "name"): entry for entry in nested(recipe, "finetune") or []}
    settings = training.base or nested(groups.get(training.group), "base") or nested(recipe, "base") or {}
    source, kind = str(nested(settings, "source") or "unknown"), nested(settings, "kind")
    adapter = (folder / "adapter_config.json").exists()
    hub, licence = _PACKAGED.get(source, (None, ""))
    if hub is None and re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not exists(source):
        hub = source
    name = hub or without_paths(source)
    if kind == "static":
        what = (
            f"static embeddings of {nested(settings, 'dimension')} dimensions with a random start; tokenizer of {name}"
        )
        return CardBase(None, name, what, licence, False)
    layers, lora = nested(settings, "layers"), nested(settings, "lora")
    pooling = "last-token pooling" if kind == "decoder" else "its own pooling"
    parts = [name, f"its first {layers} layers" if layers else "", pooling]
    if lora:
        saved = "saved alone" if adapter else "merged into the weights"
        parts.append(f"LoRA adapters of rank {nested(lora, 'r')}, {saved}")
    return CardBase(hub, name, ", ".join(part for part in parts if part), licence, adapter)
