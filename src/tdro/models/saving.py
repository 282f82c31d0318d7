"""A trained model becomes a folder that anybody can load: as it was trained, and its adapters alone or merged.

It keeps its base's modules, ``truncate_dim`` and maximum length. Prompts are training's and no other, for the base's
own were never fed to it. So is the similarity: of a base that ranks by something else it becomes the cosine.

The folder is sentence-transformers' own and needs nothing of tdro. Adapters alone are a few megabytes, but they name
the base that they belong to, and the name has to mean the same weights to others. Where tdro has made the base (cut to
its first layers, read from GGUF or out of a package, with a row more for a new pad token) there is no such name, so its
adapters are merged. Rejected: a copy of the base beside its adapters. sentence-transformers 6.2 finds a base by a hub
id or by a path from the current folder, never by one from the adapters'; and the copy is as large as the merged model.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tdro.files import whole_folder
from tdro.models.adapters import has_adapter
from tdro.models.load import load_model
from tdro.models.similarity import trained_similarity
from tdro.recipe.rules import PACKAGED

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from tdro.recipe.schema import Base

ADAPTER = "adapter_config.json"  # says that a folder holds adapters alone
_ADAPTER_FILES = (ADAPTER, "adapter_model.safetensors")


@dataclass(frozen=True)
class Saving:
    """How a trained model is saved.

    Attributes:
        prompts: name → text, as :func:`tdro.models.prompts.saved_prompts` gives them.
        merge_into: folder of the base that adapters are merged into; None saves adapters alone.
        adapter_base: what adapters alone name as their base; None: the folder that it was loaded from.
        trust_remote_code: run code that comes with the base, when it is loaded to merge.
    """

    prompts: Mapping[str, str] = field(default_factory=dict)
    merge_into: Path | None = None
    adapter_base: str | None = None
    trust_remote_code: bool = False


PLAIN = Saving()  # no prompts, adapters as they are


def save_model(model: SentenceTransformer, folder: Path, saving: Saving) -> None:
    """Write a trained model; what else is in the folder stays."""
    _as_trained(model, saving.prompts)
    adapted = has_adapter(model)
    if adapted and saving.adapter_base:
        for config in model.transformers_model.peft_config.values():  # type: ignore[union-attr]
            config.base_model_name_or_path = saving.adapter_base
    model.save_pretrained(str(folder), create_model_card=False)
    if adapted and saving.merge_into is not None:
        _merge(folder, saving)


def merge_saved(folder: Path, saving: Saving) -> None:
    """Merge the adapters of a saved model into their base, in place; training's records beside them stay."""
    with whole_folder(folder) as made:
        shutil.copytree(folder, made, dirs_exist_ok=True)
        (made / "README.md").unlink(missing_ok=True)  # it speaks of adapters
        _merge(made, saving)


def _as_trained(model: SentenceTransformer, prompts: Mapping[str, str]) -> None:
    """Prompts and similarity of the training, where a prompt is a part of the text and is pooled with it."""
    model.prompts = {"query": "", "document": "", **prompts}
    model.default_prompt_name = None
    if prompts:
        model.set_pooling_include_prompt(True)
    model.similarity_fn_name = trained_similarity(model)  # type: ignore[assignment]


def _merge(folder: Path, saving: Saving) -> None:
    """Replace the adapters in ``folder`` by the base's weights with the adapters in them.

    From the files and a fresh base, so that it makes no difference how the model that was trained is wrapped or spread.
    """
    from peft import PeftModel

    model = load_model(str(saving.merge_into), device="cpu", trust_remote_code=saving.trust_remote_code)
    PeftModel.from_pretrained(model.transformers_model, str(folder)).merge_and_unload()  # type: ignore[arg-type]
    for name in _ADAPTER_FILES:
        (folder / name).unlink()
    _as_trained(model, saving.prompts)
    model.save_pretrained(str(folder), create_model_card=False)


def public_base(settings: Base, built: Path, trust_remote_code: bool = False) -> str | None:
    """A name for a base under which transformers finds the weights of ``built``: its hub id or its folder.

    None where there is no such name because tdro has changed the weights, or has them from a package.

    Args:
        settings: the recipe's ``base``.
        built: the folder that was made of it.
        trust_remote_code: run code that comes with the model.
    """
    from transformers import AutoConfig

    if settings.kind == "static" or settings.source in PACKAGED or settings.source.endswith(".gguf"):
        return None
    try:
        theirs = AutoConfig.from_pretrained(settings.source, trust_remote_code=trust_remote_code)
        ours = AutoConfig.from_pretrained(built, trust_remote_code=trust_remote_code)
    except (OSError, ValueError):
        return None
    shape = ("model_type", "num_hidden_layers", "vocab_size")
    if any(getattr(theirs, key, None) != getattr(ours, key, None) for key in shape):
        return None
    return str(Path(settings.source).resolve()) if Path(settings.source).is_dir() else settings.source
