"""The stages of a recipe as values: what each is made from (its inputs) and the call that makes it.

The inputs are known before anything is trained: a reference stands in the inputs of stage 1 by the fingerprint of its
own inputs, not of its weights. So a run that would overwrite other work is refused at its start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from tdro.data.mixtures.facts import DataFacts
from tdro.dro.stage_one.plan import StageOnePlan, plan_stage_one, reference_count
from tdro.dro.stage_one.stage import StageOne, learn_weights
from tdro.errors import UserError
from tdro.files import fingerprint
from tdro.gain.learned_weights import ALPHA, GAIN, LearnedWeights
from tdro.gain.looked_at import LookedAt
from tdro.machine import wait_for_everyone
from tdro.mixture_name import parse_mixture
from tdro.models.saving import ADAPTER, merge_saved
from tdro.planning.trainings import capped
from tdro.recipe.finetune_section import Finetune
from tdro.recipe.names import model_name
from tdro.recipe.schema import Recipe
from tdro.recipe.training_sections import Base
from tdro.run.base_models import BaseModel
from tdro.run.development import check_apart, content_of, evaluator_of, refuse_shards
from tdro.run.folder import Stage
from tdro.run.learn_gain import learn_gain_of
from tdro.run.matryoshka import check_sizes
from tdro.run.training_inputs import finetuning_inputs, training_inputs
from tdro.run.workspace import Workspace
from tdro.training.finetune import FinetuneJob, finetune
from tdro.training.tracking import TrackedRun
from tdro.weights import TaskWeights
from tdro.weights_on_tasks import weights_on_tasks


@dataclass(frozen=True)
class Stages:
    """The stages of a recipe, with its data and models, in its folder.

    ``reference_base`` is None, but in a study whose reference is larger or smaller than its proxy. ``trackers`` are
    what the trainings report to; studies report nothing.
    """

    recipe: Recipe
    workspace: Workspace
    path: Path
    reference_base: Base | None = None
    trackers: tuple[str, ...] = ()

    def tracked(self, name: str) -> TrackedRun:
        """Where the stage of this name reports to."""
        return TrackedRun(self.trackers, self.recipe.name, name.removeprefix("models/"), self.path)

    @cached_property
    def stage_one_plan(self) -> StageOnePlan:
        """Who reads which rows in stages 0 and 1."""
        return plan_stage_one(self.recipe.weights, self.workspace.data.facts.sizes, self.recipe.seed)

    def reference_names(self) -> list[str]:
        """The names of :meth:`references`; no data are read for them."""
        if not self.recipe.has_stage_one:
            return []
        return ["reference", "reference-2"][: reference_count(self.recipe.weights)]

    def references(self) -> list[Stage]:
        """Stage 0: one reference, two for cross-fitting, or none where no tDRO weights are learned."""
        recipe, names = self.recipe, self.reference_names()
        if not names:
            return []
        base = self.workspace.models.base(self.reference_base or recipe.base)
        rows_read = recipe.weights.model_dump(mode="json", include={"stage1_rows", "held_out_share"})
        stages = []
        for number, name in enumerate(names):
            inputs = training_inputs(self.workspace.data, base, recipe.reference, recipe.seed) | {
                "part": number,
                **rows_read,
            }
            stages.append(Stage(name, inputs, partial(self._reference, name, base, number)))
        return stages

    def _reference(self, name: str, base: BaseModel, number: int) -> None:
        job = reference_job(self.recipe, self.workspace.data.facts, self.stage_one_plan, number)
        self._trainer(name, base, job)()

    def learned_names(self) -> list[str]:
        """The names of :meth:`learned`; no data are read for them."""
        recipe = self.recipe
        return [*(["weights"] if recipe.learns_alpha else []), *(["weights/gain"] if recipe.learns_gain else [])]

    def learned(self) -> list[Stage]:
        """The weights that the recipe's mixtures need: stage 1, transfer gain, or both."""
        makers = {"weights": self._weights, "weights/gain": self._gain}
        return [makers[name]() for name in self.learned_names()]

    def _weights(self) -> Stage:
        """Stage 1; or the weights that the recipe loads, in place of stages 0 and 1."""
        if source := self.recipe.weights.load:
            weights = TaskWeights.paper() if source == "paper" else TaskWeights.load(source)
            weights = weights_on_tasks(weights, self.workspace.data.facts.names)
            return Stage("weights", {"loaded": weights.as_dict()}, lambda: self._save(weights))
        base = self.workspace.models.base(self.recipe.base)
        references = {stage.key: self.path / stage.name for stage in self.references()}
        inputs = training_inputs(self.workspace.data, base, self.recipe.weights, self.recipe.seed) | {
            "references": list(references)
        }
        if self.recipe.weights.initial == "uniform":
            del inputs["settings"]["initial"]  # as in runs from before there was such a key
        key = fingerprint(inputs)
        return Stage("weights", inputs, lambda: self._learn(base, references, key), _made_from(self.path / ALPHA, key))

    def _gain(self) -> Stage:
        """Transfer gain."""
        recipe, base = self.recipe, self.workspace.models.base(self.recipe.base)
        training = recipe.gain.training(recipe.reference)
        # The steps stand in those of the training, and a target by its content.
        settings = recipe.gain.model_dump(mode="json", exclude={"steps", "target"})
        inputs = training_inputs(self.workspace.data, base, training, recipe.seed) | {"gain": settings}
        if (target := self.workspace.target) is not None:
            inputs["target"] = target.inputs
        key = fingerprint(inputs)

        def learn() -> None:
            learn_gain_of(recipe, self.workspace, base, self.path, key, self.tracked("weights/gain"))

        return Stage("weights/gain", inputs, learn, _made_from(self.path / GAIN, key))

    def finetune_names(self, group: Finetune) -> list[str]:
        """The names of :meth:`finetune`; no data are read for them."""
        return [_model_path(group, each.name, seed) for each in group.trainings() for seed in each.seeds]

    def finetune(self, group: Finetune, learned: LearnedWeights) -> Iterator[Stage]:
        """Stage 2: the group's base fine-tuned by each mixture and seed.

        Adapters that an earlier run saved alone are merged without training, if ``merge`` is asked for now. Merged
        adapters cannot be taken out again, so there the model is left as it is; it computes the same.
        """
        data, models = self.workspace.data, self.workspace.models
        names, base = data.facts.names, models.base(self.recipe.base_of(group))
        # So that a training's own record says which base it had, whatever becomes of the recipe.
        group = group.model_copy(update={"base": base.settings})
        # Without adapters, or where they are merged in any case, ``merge`` changes nothing.
        merge = group.merge and models.saving(base, merge=False).adapter_base is not None
        for training in group.trainings():
            model, mixture, settings = training.name, training.mixture, training.settings
            shares = capped(learned.transfer(mixture, data.sizes), data.sizes, settings)
            factors = None
            if mixture == "loss-reweight" and learned.alpha:
                of_tasks = learned.alpha.loss_factors()
                factors = np.array([of_tasks.get(name, 0.0) for name in names])  # k·α; 0 for a task without a weight
            for seed in training.seeds:
                name = _model_path(group, model, seed)
                title = f"{group.name} {model} seed {seed}"
                job = FinetuneJob(
                    *(title, model, shares.on(names), settings, seed, group.draw),
                    hard_negatives_only=tuple(data.facts.hard_negatives_only),
                    factors=factors,
                )
                inputs = finetuning_inputs(data, base, group, job, mixture)
                make, merged = self._trainer(name, base, job, merge), {**inputs, "merge": True}
                if merge:
                    conversions = {fingerprint(inputs): self._merger(name, base, bool(group.matryoshka))}
                    yield Stage(name, merged, make, conversions=conversions)
                else:
                    yield Stage(name, inputs, make, equivalent=(fingerprint(merged),))

    def evaluation(self, group: Finetune, models: Mapping[str, str], settings: Mapping[str, Any]) -> Stage:
        """The comparison of a group's models on the test sets. :mod:`tdro.run.compare_models` makes it.

        Args:
            group: the group.
            models: for each model's name, the fingerprint of what it was made from.
            settings: of the evaluation.
        """
        tests = {test.name: content_of(test) for test in self.workspace.data.tests}
        inputs = {"models": dict(models), "tests": tests, "settings": dict(settings)}
        if looked_at := self.looked_at(group):
            inputs["looked_at"] = {data: fingerprint(each.queries) for data, each in looked_at.items()}
        return Stage(f"evaluation/{group.name}", inputs, make=lambda: None)

    def looked_at(self, group: Finetune) -> dict[str, LookedAt]:
        """The test queries that weights of the group's mixtures are learned on, by the checksum of their test set."""
        target = self.workspace.target
        by_gain = any(parse_mixture(mixture).uses_gain for mixture in group.mixtures)
        return target.looked_at if target is not None and by_gain else {}

    def check(self) -> None:
        """Raise :class:`UserError` now for what would otherwise end a training when its turn comes.

        Every row must have a negative or get one by mining, every base must be there, a group's cap on epochs must
        leave enough rows, and a target enough queries to learn from and to judge by. Development sets must be apart
        from the test sets.
        """
        data, recipe = self.workspace.data, self.recipe
        refuse_shards(recipe.finetune)
        check_apart(data.development, data.tests)
        if self.workspace.target is not None:
            self.workspace.target.check()
        data.check_negatives()
        facts = data.facts
        trained = [("reference", recipe.reference)] if recipe.trains_proxy else []
        for title, settings in [*trained, *((f"models/{g.name}", g) for g in recipe.finetune)]:
            if facts.hard_negatives_only and not settings.negatives:
                name = facts.names[facts.hard_negatives_only[0]]
                raise UserError(f"{title}: task {name!r} takes no in-batch negatives; set negatives to at least 1")
        for group in recipe.finetune:
            base = self.workspace.models.base(recipe.base_of(group))
            check_sizes(group, base.path, recipe.trust_remote_code)
            for training in group.trainings():  # any choice of tasks has fewer rows than all
                capped(TaskWeights.uniform(facts.names), data.sizes, training.settings)

    def _trainer(self, name: str, base: BaseModel, job: FinetuneJob, merge: bool = False) -> Callable[[], None]:
        workspace, folder = self.workspace, self.path / name

        def train() -> None:
            saving, load = workspace.models.saving(base, merge, bool(job.sizes)), workspace.models.loader(base)
            evaluator = evaluator_of(job.settings, workspace.data.development, folder, self.path, workspace.machine)
            reports = (saving, evaluator, self.tracked(name))
            finetune(load, workspace.tokens(base), job, folder, workspace.machine, *reports)

        return train

    def _merger(self, name: str, base: BaseModel, may_be_cut: bool) -> Callable[[], None]:
        workspace, folder = self.workspace, self.path / name

        def merge() -> None:
            if workspace.machine.main and (folder / ADAPTER).exists():  # else merged, and killed before it was noted
                merge_saved(folder, workspace.models.saving(base, True, may_be_cut))
            wait_for_everyone(workspace.machine)

        return merge

    def _learn(self, base: BaseModel, references: Mapping[str, Path], key: str) -> None:
        recipe, workspace, models, plan = self.recipe, self.workspace, self.workspace.models, self.stage_one_plan
        data = workspace.tokens(base)
        job = reference_job(recipe, workspace.data.facts, plan)
        stage = StageOne(
            settings=recipe.weights,
            seed=recipe.seed,
            plan=plan,
            data=data,
            reference_batches=None if plan.cross_fits else job.plan(data),
            references={made_from: models.finished_loader(path) for made_from, path in references.items()},
            untrained={base.fingerprint: models.finished_loader(base.path)},
            load_proxy=models.loader(base, dropout=False),
            machine=workspace.machine,
            tracked=self.tracked("weights"),
        )
        provenance = {
            "recipe": recipe.name,
            "seed": recipe.seed,
            "steps": recipe.weights.steps,
            "eta_times_steps": recipe.weights.eta_value * recipe.weights.steps,
            "base": base.fingerprint,
            "references": list(references),
            "mixture": workspace.data.inputs["mixture"],
            "inputs": key,
        }
        learn_weights(stage, self.path, provenance)

    def _save(self, weights: TaskWeights) -> None:
        if self.workspace.machine.main:
            weights.save(self.path / ALPHA)
        wait_for_everyone(self.workspace.machine)


def reference_job(recipe: Recipe, facts: DataFacts, plan: StageOnePlan, number: int = 0) -> FinetuneJob:
    """The training of a reference: the base fine-tuned with uniform weights on the rows that are its own."""
    uniform = np.full(len(facts.names), 1 / len(facts.names))
    return FinetuneJob(
        *("reference", "uniform", uniform, recipe.reference, recipe.seed),
        subset=plan.reference_rows[number],
        hard_negatives_only=tuple(facts.hard_negatives_only),
    )


def _made_from(file: Path, key: str) -> Callable[[], bool]:
    """Whether a weights file, the last of a stage's outputs, was made from the inputs of this fingerprint."""
    return lambda: file.exists() and TaskWeights.load(file).provenance.get("inputs") == key


def _model_path(group: Finetune, model: str, seed: int) -> str:
    """A fine-tuned model's folder in the run's folder, which is the name of its stage too."""
    return f"models/{group.name}/{model_name(model, seed)}"
