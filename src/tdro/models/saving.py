"""Save a trained model as a folder that anybody can load with sentence-transformers, without tdro.

The folder has the base's modules, ``truncate_dim`` and maximum length, and from the training its prompts and the
similarity, which is the cosine. The base's own prompts are dropped: training has not fed them to the model.

A model that was trained with adapters is saved as its adapters alone (a few megabytes) or with the adapters merged into
the base. Adapters alone name the base that they belong to, and that name must mean the same weights to other people.
Where tdro has changed the base (cut it to its first layers, read it from GGUF or a package, added a row for a pad
token) there is no such name, and the adapters are merged. See docs/decisions.md, adapters-alone-or-merged.
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

    from tdro.recipe.training_sections import Base

ADAPTER = "adapter_config.json"  # says that a folder holds adapters alone
_ADAPTER_FILES = (ADAPTER, "adapter_model.safetensors")


@dataclass(frozen=True)
class Saving:
    """How a trained model is saved.

    Attributes:
        prompts: name → text, as :func:`tdro.models.prompts.saved_prompts` gives them.
        merge_into: folder of the base that adapters are merged into; None saves adapters alone.
        adapter_base: the name of the base that adapters alone are saved with; None: the folder of the base.
        trust_remote_code: run code that comes with the base, when it is loaded for merging.
        may_be_cut: the embeddings may be cut to smaller sizes. These have no unit length, so the similarity is the
            cosine even if the base's own ranks whole embeddings just as the cosine does.
    """

    prompts: Mapping[str, str] = field(default_factory=dict)
    merge_into: Path | None = None
    adapter_base: str | None = None
    trust_remote_code: bool = False
    may_be_cut: bool = False


PLAIN = Saving()  # no prompts, adapters alone


def save_model(model: SentenceTransformer, folder: Path, saving: Saving) -> None:
    """Write a trained model into a folder; other files that are there stay."""
    set_prompts_and_similarity(model, saving)
    adapted = has_adapter(model)
    if adapted and saving.adapter_base:
        for config in model.transformers_model.peft_config.values():  # type: ignore[union-attr]
            config.base_model_name_or_path = saving.adapter_base
    model.save_pretrained(str(folder), create_model_card=False)
    if adapted and saving.merge_into is not None:
        _merge(folder, saving)


def merge_saved(folder: Path, saving: Saving) -> None:
    """Merge the adapters of a saved model into their base, in place. ``training.json`` and ``log.jsonl`` stay."""
    with whole_folder(folder) as made:
        shutil.copytree(folder, made, dirs_exist_ok=True)
        (made / "README.md").unlink(missing_ok=True)  # it describes adapters
        _merge(made, saving)


def set_prompts_and_similarity(model: SentenceTransformer, saving: Saving) -> None:
    """Make ``encode`` do what training did: its prompts, pooled together with the text, and the cosine."""
    model.prompts = {"query": "", "document": "", **saving.prompts}
    model.default_prompt_name = None
    if saving.prompts:
        model.set_pooling_include_prompt(True)
    model.similarity_fn_name = "cosine" if saving.may_be_cut else trained_similarity(model)  # type: ignore[assignment]


def _merge(folder: Path, saving: Saving) -> None:
    """Replace the adapters in ``folder`` by the base's weights with the adapters added to them.

    It works on the saved files and a base that is loaded for it, because the trained model may still be wrapped, or cut
    into shards over several ranks.
    """
    from peft import PeftModel

    model = load_model(str(saving.merge_into), device="cpu", trust_remote_code=saving.trust_remote_code)
    PeftModel.from_pretrained(model.transformers_model, str(folder)).merge_and_unload()  # type: ignore[arg-type]
    for name in _ADAPTER_FILES:
        (folder / name).unlink()
    set_prompts_and_similarity(model, saving)
    model.save_pretrained(str(folder), create_model_card=False)


def public_base(settings: Base, built: Path, trust_remote_code: bool = False) -> str | None:
    """The name under which anybody finds the weights of ``built``: the hub id or folder that it was built from.

    None where there is no such name, because tdro has changed the weights or has them from a package or a GGUF file.

    Args:
        settings: the recipe's ``base``.
        built: the folder that :func:`tdro.models.base.build_base` has made of it.
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
