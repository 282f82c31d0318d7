"""``tdro data describe``: the card of what the command's paths name, and the tokenizer that its lengths are in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tdro.data.describe import DataCard, describe
from tdro.data.mixture_of import mixture_of
from tdro.planning.cuts import cutter_of
from tdro.planning.kind import base_of
from tdro.prepared import Prepared
from tdro.recipe import load_recipe
from tdro.recipe_checks import exists
from tdro.recipe_data import Data
from tdro.recipes import built_in, find
from tdro.retriever.base_tokens import base_tokens
from tdro.retriever.machine import Machine


def describe_files(paths: Sequence[str], base: str | None = None) -> DataCard:
    """The data card of a mixture folder, a recipe, or data files.

    Args:
        paths: as :func:`tdro.data.mixture_of.mixture_of` takes them, or a recipe of any kind, a built-in one too.
        base: the model whose tokens are counted; None: the recipe's, without a recipe lengths are in characters.

    Raises:
        UserError: an input or a model that is not there or broken.
    """
    model = base_of(base) if base is not None else None
    trusted = False
    limits: Data | None = None
    if len(paths) == 1 and _is_recipe(paths[0]):
        recipe = load_recipe(find(paths[0]))
        mixture = Prepared(recipe, Path(recipe.folder), Machine()).unmined
        model, trusted, limits = model or recipe.base, recipe.trust_remote_code, recipe.data
    else:
        mixture = mixture_of(paths)
    if model is None:
        return describe(mixture)
    tokens = base_tokens(model, trusted)
    return describe(mixture, tokens.count, tokens.name, cutter=cutter_of(tokens, limits))


def _is_recipe(path: str) -> bool:
    return Path(path).suffix in (".yaml", ".yml") or (path in built_in() and not exists(path))
