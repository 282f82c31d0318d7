"""The forecast of a group's gain over uniform, said before its fine-tuning, where there is one with skill."""

from __future__ import annotations

from pathlib import Path

from tdro.dro.forecast import FILE, Forecast, signs_of
from tdro.files import read_jsonl
from tdro.recipe.finetune_section import Finetune
from tdro.recipe.schema import Recipe


def forecast_line(recipe: Recipe, group: Finetune, folder: Path, file: Path = FILE) -> str | None:
    """What is to be said before a group is fine-tuned; None if nothing is forecast.

    That is the case without coefficients, for mixtures and kinds of models that they are not from, for weights that
    were not learned here, and for a stage 1 unlike any that they are from.

    Args:
        recipe: the run's.
        group: that will be fine-tuned.
        folder: of the run.
        file: with the coefficients.
    """
    forecast, log = Forecast.load(file), folder / "weights" / "steps.jsonl"
    if forecast is None or recipe.weights.load or not log.exists():
        return None
    if forecast.mixture not in group.mixtures or recipe.base_of(group).kind != forecast.kind:
        return None
    steps = read_jsonl(log)
    signs = signs_of(steps)
    return None if signs is None else forecast.sentence(signs, len(steps[0]["alpha"]))
