"""The three weights that stage 1 keeps (α of the last step, its mean, its moving average), and the one that is used.

All three are in ``weights/alphas.json``. The one that the recipe's ``weights.alpha`` names is in
``weights/weights.json``, which fine-tunings and people read. So a change of that key needs no training: the other file
is written again from the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tdro.dro.learner import WeightLearner
from tdro.errors import UserError
from tdro.files import read_json, write_json
from tdro.recipe.training_sections import LearnWeights
from tdro.weights import TaskWeights


def save_learned(learner: WeightLearner, alpha: str, folder: Path, provenance: Mapping[str, Any]) -> None:
    """Write ``alphas.json``, then ``weights.json``, into stage 1's folder.

    Args:
        learner: after the last step.
        alpha: ``last``, ``mean`` or ``ema``: which one is used.
        folder: ``weights/`` of the run.
        provenance: what ``weights.json`` says of where the weights come from.
    """
    three = {"last": learner.weights, "mean": learner.mean, "ema": learner.ema}
    write_json(folder / "alphas.json", {name: weights.as_dict() for name, weights in three.items()})
    _with(three[alpha], provenance, alpha).save(folder / "weights.json")


def used_weights(settings: LearnWeights, folder: Path) -> TaskWeights:
    """The weights that a run's fine-tunings are made from, by the recipe as it is now. Writes nothing.

    Args:
        settings: the recipe's ``weights`` section.
        folder: ``weights/`` of the run.

    Raises:
        UserError: another α is asked for than ``weights.json`` has, and ``alphas.json`` is not there.
    """
    weights = TaskWeights.load(folder / "weights.json")
    if settings.load is not None or weights.provenance.get("alpha", "last") == settings.alpha:
        return weights
    path = folder / "alphas.json"
    if not path.is_file():
        raise UserError(
            f"weights.alpha: {path} is not there, so only the {weights.provenance.get('alpha', 'last')} α is known.\n"
            "Give the recipe another folder to learn them again, or take the change back."
        )
    found = read_json(path).get(settings.alpha)
    return _with(TaskWeights.from_dict(found), weights.provenance, settings.alpha)


def _with(weights: TaskWeights, provenance: Mapping[str, Any], alpha: str) -> TaskWeights:
    return TaskWeights(weights.names, weights.values, {**provenance, "alpha": alpha})
