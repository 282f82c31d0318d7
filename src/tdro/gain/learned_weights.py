"""The weights that the mixtures of a recipe are made of: tDRO's, those of transfer gain, or both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tdro.dro.stage_one.choose_alpha import used_weights
from tdro.errors import UserError
from tdro.mixture_name import parse_mixture
from tdro.recipe.schema import Recipe
from tdro.weights import TaskWeights

ALPHA, GAIN = Path("weights", "weights.json"), Path("weights", "gain", "weights.json")  # in a run's folder


@dataclass(frozen=True)
class LearnedWeights:
    """What a run has learned.

    Attributes:
        alpha: tDRO's weights, or those that the recipe loads; None where there are none.
        gain: the weights of transfer gain.
    """

    alpha: TaskWeights | None = None
    gain: TaskWeights | None = None

    @classmethod
    def load(cls, folder: Path, recipe: Recipe) -> LearnedWeights:
        """What there is in a run's folder of the weights that the recipe's mixtures need.

        Raises:
            UserError: a file is broken.
        """
        alpha = gain = None
        if recipe.learns_alpha and (folder / ALPHA).exists():
            alpha = used_weights(recipe.weights, folder / ALPHA.parent)
        if recipe.learns_gain and (folder / GAIN).exists():
            gain = TaskWeights.load(folder / GAIN)
        return cls(alpha, gain)

    def knows(self, mixture: str) -> bool:
        """Whether the weights that a mixture needs are there."""
        parsed = parse_mixture(mixture)
        needed = self.gain if parsed.uses_gain else self.alpha if parsed.uses_alpha else self.alpha or self.gain
        return needed is not None

    def transfer(self, mixture: str, sizes: Mapping[str, int]) -> TaskWeights:
        """What fine-tuning samples by. ``gain`` is by its weights, ``gain^E`` by their power; for the others see
        :meth:`tdro.TaskWeights.transfer`.

        Raises:
            UserError: the weights that the mixture needs are not there.
        """
        if not self.knows(mixture):
            raise UserError(f"mixture {mixture!r}: its weights are not learned yet; run `tdro learn RECIPE` first")
        parsed = parse_mixture(mixture)
        if parsed.uses_gain:
            assert self.gain is not None
            return self.gain.transfer(str(replace(parsed, kind="reweight")), sizes)
        weights = self.alpha or self.gain  # uniform and proportional need the names of the tasks only
        assert weights is not None
        return weights.transfer(mixture, sizes)
