"""The stages of a run, in order: reference, weights, fine-tunings, evaluation, report.

Each is a function of values and files before it; this module only decides what need not run again, and says what
happens. ``tdro run`` does all of them, group by group, so that each comparison is printed as soon as its models are
there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdro.console import log_to, quiet_libraries, say
from tdro.data.describe import describe
from tdro.dro.health import collapse_warning
from tdro.dro.weights import TaskWeights
from tdro.evaluation.bm25 import evaluate_bm25
from tdro.evaluation.compare import compare
from tdro.evaluation.compare_table import table
from tdro.evaluation.evaluate import evaluate_all
from tdro.evaluation.leaks import find_leaks
from tdro.files import fingerprint, read_json, write_json
from tdro.planning.kind import token_counter_or_none
from tdro.prepared import BaseModel, Prepared
from tdro.recipe import Finetune, Recipe, Training
from tdro.report.card import write_card
from tdro.report.html import write_report
from tdro.retriever.machine import Machine, in_turn, join_ranks, this_machine, wait_for_everyone
from tdro.retriever.train import Job, finetune
from tdro.run_folder import RunFolder
from tdro.stage_one import learn_weights, reference_job, reference_rows
from tdro.weights_table import weights_table

STAGES = ("reference", "learn", "finetune", "evaluate", "report")
# Settings that change a training's speed or memory or which trainings there are, not the result of one.
_NO_INPUT = {
    *("chunk_rows", "gradient_caching", "checkpoint_steps"),
    *("load", "name", "base", "mixtures", "seeds", "untrained"),
    "merge",  # counts where there are adapters
}


def run(recipe: Recipe, stages: Sequence[str] | None = None, force: bool = False) -> None:
    """Run a recipe's stages; what is done from the same inputs is skipped.

    Args:
        recipe: what to run.
        stages: some of :data:`STAGES`, or None for all of them.
        force: make anew what other inputs have made.

    Raises:
        UserError: whatever the user can mend; what was done stays.
    """
    quiet_libraries()
    current = Run(recipe, force, this_machine(recipe.device, recipe.precision))
    for stage in stages or ("reference", "learn"):
        getattr(current, stage)()
    if stages is None:
        for group in recipe.finetune:
            current.finetune([group])
            current.evaluate([group])
        current.report()


class Run:
    """One recipe in its folder: a method per stage, and what they share."""

    def __init__(self, recipe: Recipe, force: bool, machine: Machine) -> None:
        self.recipe, self.machine = recipe, machine
        join_ranks(machine)
        with in_turn(machine):  # another rank would take a folder that is being made for somebody else's
            self.folder = RunFolder(recipe, force, machine.main, lambda: wait_for_everyone(machine))
        self.path = self.folder.path
        log_to(self.path, machine.main)
        self.folder.remember(recipe)
        self.prepared = Prepared(recipe, self.path, machine)

    def reference(self) -> None:
        """Stage 0: fine-tune the base with uniform weights; two of them, on halves, for cross-fitting."""
        if self.recipe.weights.load:
            return
        base, mixture = self.prepared.base(self.recipe.base), self.prepared.mixture
        for number, rows in enumerate(reference_rows(self.recipe, mixture.sizes)):
            job = reference_job(self.recipe, mixture, rows)
            inputs = self._reference_inputs(base, number)
            self._stage(_reference_name(number), inputs, self._trainer(base, job, self.path / _reference_name(number)))

    def learn(self) -> None:
        """Stage 1: score the plan with the reference, then learn the weights."""
        mixture = self.prepared.mixture
        self.folder.remember(self.recipe, tasks=[_about(task) for task in mixture.tasks])
        self._describe()
        if self.recipe.weights.load:
            self._take_weights(self.recipe.weights.load)
        else:
            base = self.prepared.base(self.recipe.base)
            names = [_reference_name(number) for number in range(len(reference_rows(self.recipe, mixture.sizes)))]
            references = {self.folder.require(name, "reference"): self.path / name for name in names}
            inputs = self._training_inputs(base, self.recipe.weights, self.recipe.seed)
            inputs["references"] = list(references)
            self._stage(
                "weights",
                inputs,
                lambda: learn_weights(self.recipe, self.prepared, base, references, self.path),
            )
        if self.machine.main:
            say(weights_table(self.weights(), dict(zip(mixture.names, mixture.sizes, strict=True))))

    def finetune(self, groups: Sequence[Finetune] | None = None) -> None:
        """Stage 2: fine-tune every group's base by each of its mixtures and seeds."""
        weights, mixture = self.weights(), self.prepared.mixture
        sizes = dict(zip(mixture.names, mixture.sizes, strict=True))
        for group in groups or self.recipe.finetune:
            base = self.prepared.base(self.recipe.base_of(group))
            if {"reweight", "loss-reweight"} & set(group.mixtures) and (warning := collapse_warning(weights)):
                say(f"warning: {warning}", self.machine.main)
            for transfer in group.mixtures:
                shares = weights.transfer(transfer, sizes)
                if group.max_epochs is not None:
                    shares = shares.capped(sizes, group.steps * group.batch, group.max_epochs)
                factors = _loss_factors(weights, mixture.names) if transfer == "loss-reweight" else None
                for seed in group.seeds:
                    title = f"{group.name} {transfer} seed {seed}"
                    job = Job(
                        *(title, transfer, shares.on(mixture.names), group, seed, group.draw),
                        hard_negatives_only=mixture.hard_negatives_only,
                        factors=factors,
                    )
                    name = f"models/{group.name}/{transfer}-seed{seed}"
                    inputs = self._training_inputs(base, group, seed)
                    inputs["weights"] = dict(zip(mixture.names, job.weights.tolist(), strict=True))
                    if factors is not None:
                        inputs["loss_factors"] = factors.tolist()
                    if group.merge and base.settings.lora is not None:
                        inputs["merge"] = True
                    self._stage(name, inputs, self._trainer(base, job, self.path / name, group.merge))
                    if self.machine.main and not (self.path / name / "README.md").exists():
                        write_card(self.path, group.name, f"{transfer}-seed{seed}", evaluated=False)

    def evaluate(self, groups: Sequence[Finetune] | None = None) -> None:
        """Score every model of the groups on the test sets, compare the mixtures, and print the table."""
        for group in groups or self.recipe.finetune:
            models = self._models(group)
            if self.prepared.mixture.tests:
                self._evaluate(group, models)
            else:
                say(f"evaluation/{group.name}: no test sets, nothing to compare", self.machine.main)
            wait_for_everyone(self.machine)

    def report(self) -> None:
        """Write the report from what is there."""
        if self.machine.main:
            say(f"report: {write_report(self.path)}")

    def weights(self) -> TaskWeights:
        """The learned (or loaded) weights."""
        self.folder.require("weights", "learn")
        return TaskWeights.load(self.path / "weights" / "weights.json")

    def _evaluate(self, group: Finetune, models: dict[str, Path]) -> None:
        started = time.monotonic()
        tests, results = self.prepared.mixture.tests, self.path / "evaluation" / group.name
        for name, path in models.items():
            evaluate_all(
                path,
                tests,
                results,
                model_name=name,
                bf16=self.machine.bf16,
                device=self.machine.device,
                tokens_folder=self.path / "tokens",
            )
        if not self.machine.main:
            return
        if self.recipe.evaluate.bm25:
            evaluate_bm25(tests, results)
        comparison = compare(
            results,
            group.name,
            models=[*models, *(["bm25"] if self.recipe.evaluate.bm25 else [])],
            test_sets=[test.name for test in tests],
            permutations=self.recipe.evaluate.permutations,
            resamples=self.recipe.evaluate.bootstrap,
        )
        comparison["leaks"] = find_leaks(self.prepared.mixture, self.path)
        write_json(self.path / "comparison" / f"{group.name}.json", comparison)
        for name in models.keys() - {"untrained"}:
            write_card(self.path, group.name, name)
        say(f"evaluation/{group.name}: {time.monotonic() - started:.1f} s\n\n{table(comparison)}\n")

    def _models(self, group: Finetune) -> dict[str, Path]:
        """The models of a group by name: the untrained base, then one per mixture and seed."""
        found: dict[str, Path] = {}
        if group.untrained:
            found["untrained"] = self.prepared.base(self.recipe.base_of(group)).path
        for mixture in group.mixtures:
            for seed in group.seeds:
                name = f"{mixture}-seed{seed}"
                self.folder.require(f"models/{group.name}/{name}", "finetune")
                found[name] = self.path / "models" / group.name / name
        return found

    def _describe(self) -> None:
        """Write ``data.json``, what the tasks hold before mining, for the report; unless it is there."""
        path, base = self.path / "data.json", self.recipe.base
        key = fingerprint([self.prepared.inputs["mixture"], base.kind, base.source])
        if self.machine.main and not (path.exists() and read_json(path).get("fingerprint") == key):
            card = describe(self.prepared.unmined, *token_counter_or_none(base, self.recipe.trust_remote_code), 1_000)
            card.save(path, key)

    def _take_weights(self, source: str) -> None:
        """Use weights that somebody has learned, instead of stages 0 and 1."""
        weights = TaskWeights.paper() if source == "paper" else TaskWeights.load(source)
        weights.on(self.prepared.mixture.names)  # names a task that is not in the mixture

        def save() -> None:
            if self.machine.main:
                weights.save(self.path / "weights" / "weights.json")
            wait_for_everyone(self.machine)

        self._stage("weights", {"loaded": weights.as_dict()}, save)

    def _trainer(self, base: BaseModel, job: Job, folder: Path, merge: bool = False) -> Callable[[], None]:
        prepared, machine = self.prepared, self.machine
        return lambda: finetune(
            prepared.loader(base), prepared.tokens(base), job, folder, machine, prepared.saving(base, merge)
        )

    def _reference_inputs(self, base: BaseModel, number: int) -> dict[str, Any]:
        rows = self.recipe.weights.model_dump(mode="json", include={"stage1_rows", "held_out_share"})
        return self._training_inputs(base, self.recipe.reference, self.recipe.seed) | {"part": number, **rows}

    def _training_inputs(self, base: BaseModel, settings: Training, seed: int) -> dict[str, Any]:
        """What a training's result depends on, under the recipe's names."""
        return {
            **self.prepared.inputs,
            "hard_negatives_only": list(self.prepared.mixture.hard_negatives_only),
            "base": base.fingerprint,
            "lora": base.settings.model_dump(mode="json")["lora"],
            "seed": seed,
            "settings": settings.model_dump(mode="json", exclude=_NO_INPUT),
        }

    def _stage(self, name: str, inputs: dict[str, Any], make: Callable[[], None]) -> None:
        started = time.monotonic()
        made = self.folder.stage(name, inputs, make)
        say(f"{name}: {f'{time.monotonic() - started:.1f} s' if made else 'done before'}", self.machine.main)


def _reference_name(number: int) -> str:
    return "reference" if number == 0 else f"reference-{number + 1}"


def _loss_factors(weights: TaskWeights, names: Sequence[str]) -> NDArray[np.float64]:
    """k·α of each task, (k,); 0 for one that has no weight."""
    factors = weights.loss_factors()
    return np.array([factors.get(name, 0.0) for name in names])


def _about(task: Any) -> dict[str, Any]:
    keys = ("name", "licence", "source", "instruction")
    return {"rows": len(task), **{key: getattr(task, key) for key in keys}}
