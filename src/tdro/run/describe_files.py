"""``tdro data describe``: the card of what the command's paths name, and the tokenizer that its lengths are in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tdro.data.mixtures.from_paths import mixture_of
from tdro.data.quality.data_card import DataCard, describe
from tdro.models.base_tokens import base_tokens
from tdro.planning.base_kind import base_of
from tdro.planning.cuts import cutter_of
from tdro.recipe.builtin import built_in, find
from tdro.recipe.data_sections import Data
from tdro.recipe.rules import exists
from tdro.recipe.schema import load_recipe
from tdro.run.workspace import mixture_on_disk


def describe_files(paths: Sequence[str], base: str | None = None) -> DataCard:
    """The data card of a mixture folder, a recipe, or data files.

    Args:
        paths: as :func:`tdro.data.mixtures.from_paths.mixture_of` takes them, or a recipe of any kind, a built-in one
        too. base: the model whose tokens are counted; None: the recipe's, without a recipe lengths are in characters.

    Raises:
        UserError: an input or a model that is not there or broken.
    """
    model = base_of(base) if base is not None else None
    trusted = False
    limits: Data | None = None
    if len(paths) == 1 and _is_recipe(paths[0]):
        recipe = load_recipe(find(paths[0]))
        mixture = mixture_on_disk(recipe)
        model, trusted, limits = model or recipe.base, recipe.trust_remote_code, recipe.data
    else:
        mixture = mixture_of(paths)
    if model is None:
        return describe(mixture)
    tokens = base_tokens(model, trusted)
    return describe(mixture, tokens.count, tokens.name, cutter=cutter_of(tokens, limits))


def _is_recipe(path: str) -> bool:
    return Path(path).suffix in (".yaml", ".yml") or (path in built_in() and not exists(path))
