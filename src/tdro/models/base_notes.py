"""What training does not take over from a base model: refused, or said in a line, before anything is trained.

A base may rank by another similarity than the cosine, have prompts of its own, or leave prompts out of its pooling.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tdro.errors import UserError
from tdro.files import read_json
from tdro.models.kinds import about_bare, is_bare
from tdro.models.similarity import kept_similarity


def base_notes(folder: Path, source: str, kind: str, prompts: bool) -> Iterator[str]:
    """Lines about a base model that was built.

    Args:
        folder: where it was built.
        source: the recipe's ``base.source``.
        kind: the recipe's ``base.kind``.
        prompts: prompts will stand before training's texts.

    Raises:
        UserError: prompts would be pooled in training, and this model does not pool them.
    """
    about, modules = read_json(folder / "config_sentence_transformers.json"), read_json(folder / "modules.json")
    if prompts and not all(_include_prompt(folder, module) for module in modules):
        raise UserError(
            f"base.source {source}: its pooling leaves the prompt out (include_prompt: false), and training pools it.\n"
            "Set data.prompts to false, or take another base."
        )
    if kind == "encoder" and Path(source).is_dir() and is_bare(source):
        pooling = [read_json(folder / each["path"] / "config.json") for each in modules if _class(each) == "Pooling"]
        name = (read_json(folder / "config.json").get("architectures") or ["a transformer"])[0]
        yield f"{source}: {about_bare(name, pooling[0]['pooling_mode'] if pooling else None)}"
    name = about.get("similarity_fn_name") or "cosine"
    kept = kept_similarity(name, _class(modules[-1]) == "Normalize" and about.get("truncate_dim") is None)
    if kept != name:
        yield (
            f"{source}: ranks by {name}, and training by the cosine: trained models are saved with the cosine, "
            f"while the untrained base is evaluated by {name}"
        )
    if own := {name: text for name, text in (about.get("prompts") or {}).items() if text}:
        texts = ", ".join(f"{name} {json.dumps(text, ensure_ascii=False)}" for name, text in list(own.items())[:3])
        yield (
            f"{source}: has prompts of its own ({texts}{', …' if len(own) > 3 else ''}), which training does not feed: "
            "trained models are saved without them, while the untrained base is evaluated with them"
        )


def _class(module: dict[str, Any]) -> str:
    return str(module["type"]).rpartition(".")[2]


def _include_prompt(folder: Path, module: dict[str, Any]) -> bool:
    path = folder / module["path"] / "config.json"
    return _class(module) != "Pooling" or bool(read_json(path).get("include_prompt", True))
