"""What each training of a run is made from, and how: its inputs, under the recipe's names, and the call that makes it.

The inputs are known before anything is trained (a reference counts by its own inputs), so that a run which would
overwrite other work is refused at its start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdro.dro.weights import TaskWeights
from tdro.files import fingerprint
from tdro.prepared import BaseModel, Prepared
from tdro.recipe import Finetune, Recipe, Training
from tdro.retriever.machine import wait_for_everyone
from tdro.retriever.saving import merge_saved
from tdro.retriever.train import Job, finetune
from tdro.run_folder import Stage
from tdro.stage_one import learn_weights, reference_job, reference_rows

# Settings that change a training's speed or memory or which trainings there are, not the result of one.
_NO_INPUT = {
    *("chunk_rows", "gradient_caching", "checkpoint_steps"),
    *("load", "name", "base", "mixtures", "seeds", "untrained"),
    "merge",  # counts where there are adapters
}


@dataclass(frozen=True)
class Stages:
    """The trainings of a recipe with its data and models, in its folder."""

    recipe: Recipe
    prepared: Prepared
    path: Path

    def references(self) -> list[Stage]:
        """Stage 0: a reference, two for cross-fitting, or none where weights are loaded."""
        recipe = self.recipe
        if recipe.weights.load:
            return []
        base, mixture = self.prepared.base(recipe.base), self.prepared.mixture
        rows_read = recipe.weights.model_dump(mode="json", include={"stage1_rows", "held_out_share"})
        stages = []
        for number, rows in enumerate(reference_rows(recipe, mixture.sizes)):
            name = "reference" if number == 0 else f"reference-{number + 1}"
            inputs = self._inputs(base, recipe.reference, recipe.seed) | {"part": number, **rows_read}
            stages.append(Stage(name, inputs, self._trainer(name, base, reference_job(recipe, mixture, rows))))
        return stages

    def weights(self) -> Stage:
        """Stage 1; or weights that somebody has learned, instead of stages 0 and 1."""
        if source := self.recipe.weights.load:
            weights = TaskWeights.paper() if source == "paper" else TaskWeights.load(source)
            weights.on(self.prepared.mixture.names)  # names a task that is not in the mixture
            return Stage("weights", {"loaded": weights.as_dict()}, lambda: self._save(weights))
        base = self.prepared.base(self.recipe.base)
        references = {stage.key: self.path / stage.name for stage in self.references()}
        inputs = self._inputs(base, self.recipe.weights, self.recipe.seed) | {"references": list(references)}
        key, file = fingerprint(inputs), self.path / "weights" / "weights.json"  # is written last
        return Stage(
            "weights",
            inputs,
            make=lambda: learn_weights(self.recipe, self.prepared, base, references, self.path, key),
            made=lambda: file.exists() and TaskWeights.load(file).provenance.get("inputs") == key,
        )

    def finetune(self, group: Finetune, learned: TaskWeights) -> Iterator[Stage]:
        """Stage 2: a group's base fine-tuned by each mixture and seed.

        Adapters that were saved alone are merged without training. Not the reverse: merged, they are gone.
        """
        mixture, base = self.prepared.mixture, self.prepared.base(self.recipe.base_of(group))
        sizes = dict(zip(mixture.names, mixture.sizes, strict=True))
        # Elsewhere there are no adapters, or they are merged in any case.
        merge = group.merge and self.prepared.saving(base, merge=False).adapter_base is not None
        for transfer in group.mixtures:
            shares = learned.transfer(transfer, sizes)
            if group.max_epochs is not None:
                shares = shares.capped(sizes, group.steps * group.batch, group.max_epochs, group.batch)
            factors = _loss_factors(learned, mixture.names) if transfer == "loss-reweight" else None
            for seed in group.seeds:
                title, name = f"{group.name} {transfer} seed {seed}", f"models/{group.name}/{transfer}-seed{seed}"
                job = Job(
                    *(title, transfer, shares.on(mixture.names), group, seed, group.draw),
                    hard_negatives_only=mixture.hard_negatives_only,
                    factors=factors,
                )
                inputs = self._inputs(base, group, seed)
                inputs["weights"] = dict(zip(mixture.names, job.weights.tolist(), strict=True))
                if factors is not None:
                    inputs["gradient_factors"] = factors.tolist()
                make, remake = self._trainer(name, base, job, merge), {}
                if merge:
                    remake[fingerprint(inputs)] = self._merger(name, base)
                    inputs["merge"] = True
                yield Stage(name, inputs, make, remake)

    def _inputs(self, base: BaseModel, settings: Training, seed: int) -> dict[str, Any]:
        """What a training's result depends on, under the recipe's names."""
        return {
            **self.prepared.inputs,
            "hard_negatives_only": list(self.prepared.mixture.hard_negatives_only),
            "base": base.fingerprint,
            "lora": base.settings.model_dump(mode="json")["lora"],
            "seed": seed,
            "settings": settings.model_dump(mode="json", exclude=_NO_INPUT),
        }

    def _trainer(self, name: str, base: BaseModel, job: Job, merge: bool = False) -> Callable[[], None]:
        prepared, folder = self.prepared, self.path / name

        def train() -> None:
            saving = prepared.saving(base, merge)
            finetune(prepared.loader(base), prepared.tokens(base), job, folder, prepared.machine, saving)

        return train

    def _merger(self, name: str, base: BaseModel) -> Callable[[], None]:
        def merge() -> None:
            if self.prepared.machine.main:
                merge_saved(self.path / name, self.prepared.saving(base, merge=True))
            wait_for_everyone(self.prepared.machine)

        return merge

    def _save(self, weights: TaskWeights) -> None:
        if self.prepared.machine.main:
            weights.save(self.path / "weights" / "weights.json")
        wait_for_everyone(self.prepared.machine)


def _loss_factors(weights: TaskWeights, names: Sequence[str]) -> NDArray[np.float64]:
    """k·α of each task, (k,); 0 for one that has no weight."""
    factors = weights.loss_factors()
    return np.array([factors.get(name, 0.0) for name in names])
