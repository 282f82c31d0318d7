"""What a base model has that training does not use, told to the user before anything is trained.

Training ranks by the cosine, feeds the recipe's prompts and pools them with the text. So a base that ranks by another
similarity, or has prompts of its own, gets a line in the log, and one whose pooling leaves prompts out is refused if
there are prompts.
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
    """One line for each thing that a built base model has and training does not use.

    Args:
        folder: where :func:`tdro.models.base.build_base` has written it.
        source: the recipe's ``base.source``.
        kind: the recipe's ``base.kind``.
        prompts: whether training puts prompts before texts.

    Raises:
        UserError: training has prompts, which it pools with the text, and this model's pooling leaves them out.
    """
    settings, modules = read_json(folder / "config_sentence_transformers.json"), read_json(folder / "modules.json")
    if prompts and not all(_pools_prompt(folder, module) for module in modules):
        raise UserError(
            f"base.source {source}: its pooling leaves the prompt out (include_prompt: false), and training pools it.\n"
            "Set data.prompts to false, or take another base."
        )
    if kind == "encoder" and Path(source).is_dir() and is_bare(source):
        pooling = [
            read_json(folder / module["path"] / "config.json") for module in modules if _class(module) == "Pooling"
        ]
        name = (read_json(folder / "config.json").get("architectures") or ["a transformer"])[0]
        yield f"{source}: {about_bare(name, pooling[0]['pooling_mode'] if pooling else None)}"
    name = settings.get("similarity_fn_name") or "cosine"
    kept = kept_similarity(name, _class(modules[-1]) == "Normalize" and settings.get("truncate_dim") is None)
    if kept != name:
        yield (
            f"{source}: ranks by {name}, and training by the cosine: trained models are saved with the cosine, "
            f"while the untrained base is evaluated by {name}"
        )
    if own := {name: text for name, text in (settings.get("prompts") or {}).items() if text}:
        texts = ", ".join(f"{name} {json.dumps(text, ensure_ascii=False)}" for name, text in list(own.items())[:3])
        yield (
            f"{source}: has prompts of its own ({texts}{', …' if len(own) > 3 else ''}), which training does not feed: "
            "trained models are saved without them, while the untrained base is evaluated with them"
        )


def _class(module: dict[str, Any]) -> str:
    """The class of an entry of modules.json, without its package."""
    return str(module["type"]).rpartition(".")[2]


def _pools_prompt(folder: Path, module: dict[str, Any]) -> bool:
    path = folder / module["path"] / "config.json"
    return _class(module) != "Pooling" or bool(read_json(path).get("include_prompt", True))
