"""Changes of learned weights that a study can set: noise, exchanged tasks, shuffled weights.

Each training seed draws its own change. So an interval over seeds also says how much the draw matters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tdro.errors import UserError
from tdro.mixture_name import MixtureName
from tdro.weights import TaskWeights

Change = Callable[[TaskWeights, Any, MixtureName, np.random.Generator], TaskWeights]


@dataclass(frozen=True)
class WeightChange:
    """A change of weights.

    Attributes:
        what: it does, for the docs.
        problem: what is wrong with a value, or an empty text.
        apply: makes the changed weights, from the weights, the value, the mixture and a random generator.
        of_selection: whether it makes sense for a mixture ``top-P`` or ``bottom-P`` only.
    """

    what: str
    problem: Callable[[Any], str]
    apply: Change
    of_selection: bool = False

    def check_mixture(self, key: str, mixture: MixtureName) -> None:
        """Raise :class:`UserError` for a mixture that the change cannot be made for."""
        if self.of_selection and not mixture.selects:
            raise UserError(f"{key}: exchanges tasks of a selection, and {mixture} selects none; take top-70, say")


def not_a_number(value: Any) -> str:
    """What is wrong with a value that should be a number of at least 0."""
    fine = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    return "" if fine else "must be a number of at least 0"


def not_a_count(value: Any) -> str:
    """What is wrong with a value that should be a whole number of at least 0."""
    return "" if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else "must be a whole number"


def not_a_switch(value: Any) -> str:
    """What is wrong with a value that should be true or false."""
    return "" if isinstance(value, bool) else "must be true or false"


def _noise(weights: TaskWeights, sigma: Any, mixture: MixtureName, random: np.random.Generator) -> TaskWeights:
    if not sigma:
        return weights
    values = weights.values * np.exp(float(sigma) * random.standard_normal(len(weights)))
    return _with(weights, values / values.sum())


def _exchanged(weights: TaskWeights, count: Any, mixture: MixtureName, random: np.random.Generator) -> TaskWeights:
    """``count`` tasks of the selection swap their weights with as many of the others."""
    selected = set(weights.transfer(str(mixture)).names)
    inside = np.flatnonzero([name in selected for name in weights.names])
    outside = np.flatnonzero([name not in selected for name in weights.names])
    if count > min(len(inside), len(outside)):
        raise UserError(
            f"alpha.exchanged: {count} tasks cannot be exchanged; {mixture} selects {len(inside)} of {len(weights)}"
        )
    values = weights.values.copy()
    leave, enter = (random.choice(side, int(count), replace=False) for side in (inside, outside))
    values[leave], values[enter] = weights.values[enter], weights.values[leave]
    return _with(weights, values)


def _shuffled(weights: TaskWeights, shuffle: Any, mixture: MixtureName, random: np.random.Generator) -> TaskWeights:
    return _with(weights, random.permutation(weights.values)) if shuffle else weights


def _with(weights: TaskWeights, values: np.ndarray) -> TaskWeights:
    return TaskWeights(weights.names, values, weights.provenance)


WEIGHT_CHANGES: dict[str, WeightChange] = {
    "alpha.noise": WeightChange("each weight times exp(σ·z), z normal; the value is σ", not_a_number, _noise),
    "alpha.exchanged": WeightChange(
        "so many tasks of the selection are exchanged for others", not_a_count, _exchanged, of_selection=True
    ),
    "alpha.shuffled": WeightChange("true: the weights are dealt out to the tasks by chance", not_a_switch, _shuffled),
}


def changed_weights(weights: TaskWeights, changes: Mapping[str, Any], mixture: MixtureName, seed: int) -> TaskWeights:
    """The weights after all changes.

    Args:
        weights: as they were learned.
        changes: ``{"alpha.noise": 0.5}``, see :data:`WEIGHT_CHANGES`.
        mixture: what the weights are used for.
        seed: of the training.

    Raises:
        UserError: more tasks are to be exchanged than there are.
    """
    for number, (key, change) in enumerate(WEIGHT_CHANGES.items()):
        if key in changes:
            random = np.random.default_rng([number, seed])
            weights = change.apply(weights, changes[key], mixture, random)
    return weights
