"""What a run says of its training data: ``data.json`` for the report, and warnings of texts that are cut.

``tdro data describe`` makes the same card of files, a mixture folder or a recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tdro.console import say
from tdro.data.mixtures.from_paths import mixture_of
from tdro.data.quality.data_card import DataCard, describe
from tdro.data.tokens.cut_warnings import cut_lines
from tdro.files import fingerprint, read_json
from tdro.machine import in_turn
from tdro.models.base_tokens import BaseTokens, base_tokens, base_tokens_or_none
from tdro.models.sources import source_content
from tdro.planning.base_kind import base_of
from tdro.planning.cuts import cuts_of, cutter_of
from tdro.recipe.builtin import find, names_recipe
from tdro.recipe.data_sections import Data
from tdro.recipe.schema import load_recipe
from tdro.run.training_data import mixture_on_disk
from tdro.run.workspace import Workspace

_ROWS = 1_000  # of each task, which data.json measures the texts of


def say_cuts(workspace: Workspace, stages: Sequence[str]) -> None:
    """Warn of limits that a base cannot keep, and of tasks whose texts are cut much, before anything is trained.

    Args:
        workspace: data and models.
        stages: names of those that are run; only the bases that they train are looked at.

    Raises:
        UserError: a task's instruction fills the limit, so that nothing of its texts is left.
    """
    recipe = workspace.recipe
    bases = [recipe.base] if {"reference", "learn"} & set(stages) and recipe.trains_proxy else []
    bases += [recipe.base_of(group) for group in recipe.finetune] if "finetune" in stages else []
    with in_turn(workspace.machine):
        tasks = workspace.data.unmined.tasks
    lines: list[str] = []
    for base in dict.fromkeys(bases):
        cutter = cutter_of(workspace.models.tokens_as_trained(base), recipe.data)
        lines += cut_lines(base.source, cutter, cuts_of(tasks, cutter))
    for line in dict.fromkeys(lines):  # bases that differ only in their adapters give the same lines
        say(f"warning: {line}", workspace.machine.main)


def write_data_card(workspace: Workspace, path: Path) -> None:
    """Write the card of the tasks as they are before mining, unless it is there."""
    recipe, base, data = workspace.recipe, workspace.recipe.base, workspace.recipe.data
    limits = [data.query_tokens, data.passage_tokens, data.prompts]
    origins = [[task.licence, task.source] for task in workspace.data.unmined.tasks]
    tokenizer = [base.kind, base.source, source_content(base.source)]
    key = fingerprint([workspace.data.inputs["mixture"], origins, *tokenizer, *limits])
    if path.exists() and read_json(path).get("fingerprint") == key:
        return
    tokens: BaseTokens | None
    if not recipe.trains_proxy:  # then this base is not trained, and need not be there
        tokens = base_tokens_or_none(base, recipe.trust_remote_code)
    else:
        tokens = workspace.models.tokens_as_trained(base)
    count, name = (tokens.count, tokens.name) if tokens else (None, "")
    cutter = cutter_of(tokens, data) if tokens else None
    describe(workspace.data.unmined, count, name, _ROWS, cutter).save(path, key)


def describe_files(paths: Sequence[str], base: str | None = None) -> DataCard:
    """The data card of a mixture folder, a recipe, or data files.

    Args:
        paths: data files or a mixture folder, as :func:`tdro.data.mixtures.from_paths.mixture_of` takes them, or one
            recipe: its file or the name of a built-in one.
        base: the model whose tokens are counted. None takes the recipe's; without a recipe, characters are counted.

    Raises:
        UserError: an input or a model that is not there or broken.
    """
    model = base_of(base) if base is not None else None
    trusted = False
    limits: Data | None = None
    if len(paths) == 1 and names_recipe(paths[0]):
        recipe = load_recipe(find(paths[0]))
        mixture = mixture_on_disk(recipe)
        model, trusted, limits = model or recipe.base, recipe.trust_remote_code, recipe.data
    else:
        mixture = mixture_of(paths)
    if model is None:
        return describe(mixture)
    tokens = base_tokens(model, trusted)
    return describe(mixture, tokens.count, tokens.name, cutter=cutter_of(tokens, limits))
