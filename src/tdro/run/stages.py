"""What each training of a run is made from, and how: its inputs, under the recipe's names, and the call that makes it.

The inputs are known before anything is trained (a reference counts by its own inputs), so that a run which would
overwrite other work is refused at its start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdro.data.mixtures.folder import beir_sha256
from tdro.errors import UserError
from tdro.files import fingerprint
from tdro.machine import wait_for_everyone
from tdro.models.saving import ADAPTER, merge_saved
from tdro.planning.trainings import capped
from tdro.recipe.schema import Finetune, Recipe, Training
from tdro.run.folder import Stage
from tdro.run.stage_one import learn_weights, reference_job, reference_rows
from tdro.run.workspace import BaseModel, Prepared
from tdro.training.finetune import FinetuneJob, finetune
from tdro.weights import TaskWeights

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

    def reference_names(self) -> list[str]:
        """Of the stages of :meth:`references`, whose inputs need not be known for them."""
        if self.recipe.weights.load:
            return []
        return ["reference", "reference-2"] if self.recipe.weights.stage1_rows == "cross_fit" else ["reference"]

    def references(self) -> list[Stage]:
        """Stage 0: a reference, two for cross-fitting, or none where weights are loaded."""
        recipe, names = self.recipe, self.reference_names()
        if not names:
            return []
        base, facts = self.prepared.base(recipe.base), self.prepared.facts
        rows_read = recipe.weights.model_dump(mode="json", include={"stage1_rows", "held_out_share"})
        stages = []
        for number, rows in enumerate(reference_rows(recipe, facts.sizes)):
            inputs = self._inputs(base, recipe.reference, recipe.seed) | {"part": number, **rows_read}
            job = reference_job(recipe, facts, rows)
            stages.append(Stage(names[number], inputs, self._trainer(names[number], base, job)))
        return stages

    def weights(self) -> Stage:
        """Stage 1; or weights that somebody has learned, instead of stages 0 and 1."""
        if source := self.recipe.weights.load:
            weights = TaskWeights.paper() if source == "paper" else TaskWeights.load(source)
            weights.on(self.prepared.facts.names)  # names a task that is not in the mixture
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

    def finetune_names(self, group: Finetune) -> list[str]:
        """Of the stages of :meth:`finetune`, whose inputs need not be known for them."""
        return [f"models/{group.name}/{mixture}-seed{seed}" for mixture in group.mixtures for seed in group.seeds]

    def finetune(self, group: Finetune, learned: TaskWeights) -> Iterator[Stage]:
        """Stage 2: a group's base fine-tuned by each mixture and seed.

        Adapters that were saved alone are merged without training. Not the reverse: merged, they are gone, and they are
        as good.
        """
        facts, base = self.prepared.facts, self.prepared.base(self.recipe.base_of(group))
        # The record of a training shall say what base it was, whatever becomes of the recipe.
        group = group.model_copy(update={"base": base.settings})
        sizes = dict(zip(facts.names, facts.sizes, strict=True))
        # Elsewhere there are no adapters, or they are merged in any case.
        merge = group.merge and self.prepared.saving(base, merge=False).adapter_base is not None
        for transfer in group.mixtures:
            shares = learned.transfer(transfer, sizes)
            shares = capped(shares, sizes, group)
            factors = _loss_factors(learned, facts.names) if transfer == "loss-reweight" else None
            for seed in group.seeds:
                title, name = f"{group.name} {transfer} seed {seed}", f"models/{group.name}/{transfer}-seed{seed}"
                job = FinetuneJob(
                    *(title, transfer, shares.on(facts.names), group, seed, group.draw),
                    hard_negatives_only=tuple(facts.hard_negatives_only),
                    factors=factors,
                )
                inputs = self._inputs(base, group, seed)
                inputs["weights"] = dict(zip(facts.names, job.weights.tolist(), strict=True))
                if factors is not None:
                    inputs["gradient_factors"] = factors.tolist()
                make, merged = self._trainer(name, base, job, merge), {**inputs, "merge": True}
                if merge:
                    yield Stage(name, merged, make, {fingerprint(inputs): self._merger(name, base)})
                else:
                    yield Stage(name, inputs, make, same=(fingerprint(merged),))

    def evaluation(self, group: Finetune, models: Mapping[str, str], settings: Mapping[str, Any]) -> Stage:
        """The comparison of a group's models on the test sets; it is no training, and made by the pipeline.

        Args:
            group: the group.
            models: name to the fingerprint of what each was made from.
            settings: of the evaluation.
        """
        tests = {
            test.name: [beir_sha256(test.folder)[:16], test.task, test.prompt, test.passage_prompt]
            for test in self.prepared.tests
        }
        inputs = {"models": dict(models), "tests": tests, "settings": dict(settings)}
        return Stage(f"evaluation/{group.name}", inputs, make=lambda: None)

    def check(self) -> None:
        """Raise :class:`UserError` for what would end some training only when its turn comes.

        Every row must have a negative or get one, every base must be there, and a group's cap must leave rows enough.
        """
        self.prepared.check_negatives()
        facts, recipe = self.prepared.facts, self.recipe
        sizes = dict(zip(facts.names, facts.sizes, strict=True))
        for title, settings in [("reference", recipe.reference), *((f"models/{g.name}", g) for g in recipe.finetune)]:
            if facts.hard_negatives_only and not settings.negatives:
                name = facts.names[facts.hard_negatives_only[0]]
                raise UserError(f"{title}: task {name!r} takes no in-batch negatives; set negatives to at least 1")
        for group in recipe.finetune:
            self.prepared.base(recipe.base_of(group))
            capped(TaskWeights.uniform(facts.names), sizes, group)  # no choice of tasks has more rows than all of them

    def _inputs(self, base: BaseModel, settings: Training, seed: int) -> dict[str, Any]:
        """What a training's result depends on, under the recipe's names."""
        return {
            **self.prepared.inputs,
            "hard_negatives_only": self.prepared.facts.hard_negatives_only,
            "base": base.fingerprint,
            "lora": base.settings.model_dump(mode="json")["lora"],
            "seed": seed,
            "settings": settings.model_dump(mode="json", exclude=_NO_INPUT),
        }

    def _trainer(self, name: str, base: BaseModel, job: FinetuneJob, merge: bool = False) -> Callable[[], None]:
        prepared, folder = self.prepared, self.path / name

        def train() -> None:
            saving = prepared.saving(base, merge)
            finetune(prepared.loader(base), prepared.tokens(base), job, folder, prepared.machine, saving)

        return train

    def _merger(self, name: str, base: BaseModel) -> Callable[[], None]:
        def merge() -> None:
            if self.prepared.machine.main and (self.path / name / ADAPTER).exists():  # else a kill came after it
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
