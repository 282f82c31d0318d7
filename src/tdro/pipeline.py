"""The stages of a run, in order: reference, weights, fine-tunings, evaluation, report.

Each is a function of values and files before it; this module only decides what need not run again, and says what happens.
``tdro run`` does all of them, group by group, so that each comparison is printed as soon as its models are there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdro.console import log_to, quiet_libraries, say
from tdro.data.holdout import part_of, split_rows
from tdro.data.plan import MixedPlan
from tdro.dro.health import collapse_warning, memorisation_warnings, reference_warnings
from tdro.dro.learn import learn
from tdro.dro.reference import one_reference, score_plan
from tdro.dro.seen import losses_by_task, seen_rows
from tdro.dro.weights import TaskWeights
from tdro.evaluation.compare import compare, table
from tdro.evaluation.evaluate import evaluate_all
from tdro.files import write_json
from tdro.prepared import BaseModel, Prepared
from tdro.recipe import Finetune, Recipe, Training
from tdro.report.html import write_report
from tdro.retriever.machine import Machine, this_machine
from tdro.retriever.steps import PlannedSteps, passage_labels
from tdro.retriever.train import Job, finetune
from tdro.run_folder import RunFolder
from tdro.weights_table import weights_table

STAGES = ("reference", "learn", "finetune", "evaluate", "report")
# Settings of a training that change its speed or memory, not its result.
_SPEED = {"chunk_rows", "gradient_caching", "checkpoint_steps", "load"}
_ROWS_FOR_UNTRAINED = 32  # rows per task by which the untrained base is judged


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
    for stage in stages or STAGES[:2]:
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
        _join_ranks(machine)
        self.folder = RunFolder(recipe, force, writes=machine.main)
        self.path = self.folder.path
        log_to(self.path, machine.main)
        self.folder.remember(recipe)
        self.prepared = Prepared(recipe, self.path, machine)

    def reference(self) -> None:
        """Stage 0: fine-tune the base with uniform weights; two of them, on halves, for cross-fitting."""
        if self.recipe.weights.load:
            return
        base = self.prepared.base(self.recipe.base)
        for number, subset in enumerate(self._reference_rows()):
            name, folder = self._reference_place(number)

            def make(subset: Any = subset, folder: Path = folder) -> None:
                job = self._reference_job(subset)
                finetune(self.prepared.loader(base), self.prepared.tokens(base), job, folder, self.machine)

            self._stage(name, self._training_inputs(base, self.recipe.reference, self.recipe.seed, part=number), make)

    def learn(self) -> None:
        """Stage 1: score the plan with the reference, then learn the weights."""
        self._note_tasks()
        if self.recipe.weights.load:
            self._loaded_weights()
            return
        base, settings = self.prepared.base(self.recipe.base), self.recipe.weights
        for number in range(len(self._reference_rows())):
            self.folder.require(self._reference_place(number)[0], "reference")
        inputs = self._training_inputs(base, settings, self.recipe.seed)
        inputs["reference"] = self._training_inputs(base, self.recipe.reference, self.recipe.seed)
        self._stage("weights", inputs, lambda: self._learn(base))
        if self.machine.main:
            weights = self.weights()
            say(weights_table(weights, dict(zip(weights.names, self.prepared.mixture.sizes, strict=True)), None))

    def finetune(self, groups: Sequence[Finetune] | None = None) -> None:
        """Stage 2: fine-tune every group's base by each of its mixtures and seeds."""
        weights = self.weights()
        for group in groups or self.recipe.finetune:
            base = self.prepared.base(self.recipe.base_of(group))
            if "reweight" in group.mixtures and (warning := collapse_warning(weights)):
                say(f"warning: {warning}", self.machine.main)
            for mixture in group.mixtures:
                for seed in group.seeds:
                    self._finetune(group, base, mixture, seed, weights)

    def evaluate(self, groups: Sequence[Finetune] | None = None) -> None:
        """Score every model of the groups on the test sets, compare the mixtures, and print the table."""
        for group in groups or self.recipe.finetune:
            started = time.monotonic()
            tests, results = self.prepared.mixture.tests, self.path / "evaluation" / group.name
            for name, path in self._models(group):
                if self.machine.main:
                    evaluate_all(path, tests, results, model_name=name, bf16=self.machine.bf16, device=self.machine.device)
            if self.machine.main:
                settings = self.recipe.evaluate
                comparison = compare(
                    results, group.name, permutations=settings.permutations, resamples=settings.bootstrap
                )
                write_json(self.path / "comparison" / f"{group.name}.json", comparison)
                say(f"\n{table(comparison)}\n")
                say(f"evaluation of {group.name}: {time.monotonic() - started:.0f} s")
            self._barrier()

    def report(self) -> None:
        """Write the report from what is there."""
        if self.machine.main:
            say(f"report: {write_report(self.path)}")

    def weights(self) -> TaskWeights:
        """The learned (or loaded) weights."""
        self.folder.require("weights", "learn")
        return TaskWeights.load(self.path / "weights" / "weights.json")

    def _learn(self, base: BaseModel) -> None:
        settings, prepared, seed = self.recipe.weights, self.prepared, self.recipe.seed
        data, folder = prepared.tokens(base), self.path / "weights"
        sizes, subset, parts = prepared.mixture.sizes, self._stage1_rows(), self._reference_rows()
        plan = MixedPlan(
            [len(rows) for rows in subset] if subset else sizes, settings.batch, settings.steps, seed, settings.sampling
        )
        steps = self._steps(data, plan, settings.negatives, subset)
        loads, choose = {}, one_reference
        for number in range(len(parts)):
            path = self._reference_place(number)[1]
            loads[f"{number}-{self.folder_key(path)}"] = lambda path=path: prepared.load(path)
        if len(parts) > 1:
            of_row = part_of([rows for rows in parts if rows], sizes)
            # A row is scored by the reference that was trained on the other half.
            choose = lambda rows: np.array([1 - of_row[t][r] for t, r in zip(rows.task, rows.row, strict=True)])  # noqa: E731
        similarities = score_plan(loads, steps, self.path / "scores", self.machine, choose)
        self._barrier()
        seen, unseen = self._seen_and_unseen(data, steps, similarities, parts)
        untrained = self._untrained_losses(base, steps)
        reference = losses_by_task(steps, similarities, settings.temperature)
        for warning in [*reference_warnings(reference, untrained), *memorisation_warnings(seen, unseen)]:
            say(f"warning: {warning}", self.machine.main)
        learner, health = learn(
            prepared.loader(base, dropout=False), steps, similarities, settings, folder, self.machine, seed
        )
        if self.machine.main:
            write_json(folder / "health.json", health.summary(untrained, seen, unseen))
            provenance = {
                "recipe": self.recipe.name,
                "seed": seed,
                "steps": settings.steps,
                "eta_times_steps": settings.eta_value * settings.steps,
                "base": base.fingerprint,
                "references": list(loads),
                "mixture": prepared.inputs["mixture"],
            }
            TaskWeights(learner.names, learner.weights.values, provenance).save(folder / "weights.json")
        self._barrier()

    def _finetune(self, group: Finetune, base: BaseModel, mixture: str, seed: int, learned: TaskWeights) -> None:
        names, sizes = [task.name for task in self.prepared.mixture.tasks], self.prepared.mixture.sizes
        by_task = dict(zip(names, sizes, strict=True))
        weights = learned.transfer(mixture, by_task)
        if group.max_epochs is not None:
            weights = weights.capped(by_task, group.steps * group.batch, group.max_epochs)
        job = Job(
            f"{group.name} {mixture} seed {seed}", mixture, weights.on(names), group, seed, group.draw
        )
        folder = self.path / "models" / group.name / f"{mixture}-seed{seed}"
        inputs = self._training_inputs(base, group, seed)
        inputs["weights"] = dict(zip(names, job.weights.tolist(), strict=True))
        self._stage(
            f"models/{group.name}/{folder.name}",
            inputs,
            lambda: finetune(self.prepared.loader(base), self.prepared.tokens(base), job, folder, self.machine),
        )

    def _models(self, group: Finetune) -> list[tuple[str, Path]]:
        """The models of a group by name: the untrained base, then one per mixture and seed."""
        found: list[tuple[str, Path]] = []
        if group.untrained:
            found.append(("untrained", self.prepared.base(self.recipe.base_of(group)).path))
        for mixture in group.mixtures:
            for seed in group.seeds:
                name = f"{mixture}-seed{seed}"
                self.folder.require(f"models/{group.name}/{name}", "finetune")
                found.append((name, self.path / "models" / group.name / name))
        return found

    def _loaded_weights(self) -> None:
        load = str(self.recipe.weights.load)
        weights = TaskWeights.paper() if load == "paper" else TaskWeights.load(load)
        weights.on(self.prepared.mixture.names)  # names a task that is not in the mixture
        save = lambda: weights.save(self.path / "weights" / "weights.json")  # noqa: E731
        self._stage("weights", {"loaded": weights.as_dict()}, save if self.machine.main else lambda: None)
        self._barrier()

    def _reference_place(self, number: int) -> tuple[str, Path]:
        name = "reference" if number == 0 else f"reference-{number + 1}"
        return name, self.path / name

    def _reference_rows(self) -> list[list[NDArray[np.int64]] | None]:
        """For each reference, the rows it is trained on; None for all."""
        settings, sizes = self.recipe.weights, self.prepared.mixture.sizes
        if settings.stage1_rows == "held_out":
            return [split_rows(sizes, settings.held_out_share, self.recipe.seed)[0]]
        if settings.stage1_rows == "cross_fit":
            return list(split_rows(sizes, 0.5, self.recipe.seed))
        return [None]

    def _reference_job(self, subset: list[NDArray[np.int64]] | None) -> Job:
        count = len(self.prepared.mixture.tasks)
        uniform = np.full(count, 1 / count)
        return Job("reference", "uniform", uniform, self.recipe.reference, self.recipe.seed, subset=subset)

    def _stage1_rows(self) -> list[NDArray[np.int64]] | None:
        if self.recipe.weights.stage1_rows != "held_out":
            return None
        return split_rows(self.prepared.mixture.sizes, self.recipe.weights.held_out_share, self.recipe.seed)[1]

    def _seen_and_unseen(
        self, data: Any, steps: PlannedSteps, similarities: NDArray[np.float32], parts: Sequence[Any]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """The reference's loss per task on planned rows that stage 0 read, and on those that it did not."""
        if len(parts) > 1:  # every row is scored by the reference that has not seen it
            return {}, losses_by_task(steps, similarities, self.recipe.weights.temperature)
        plan = self._reference_job(parts[0]).plan(data)
        read = seen_rows(PlannedSteps(data, plan, 0, passage_labels, subset=parts[0]))
        temperature = self.recipe.weights.temperature
        return (
            losses_by_task(steps, similarities, temperature, lambda rows: read(rows)),
            losses_by_task(steps, similarities, temperature, lambda rows: ~read(rows)),
        )

    def _untrained_losses(self, base: BaseModel, steps: PlannedSteps) -> dict[str, float]:
        """The untrained base's loss per task, on the first rows of the plan."""
        settings, count = self.recipe.weights, len(steps.data.index.tasks)
        some = min(settings.steps, -(-_ROWS_FOR_UNTRAINED * count // settings.batch))
        plan = MixedPlan(steps.plan.sizes, settings.batch, some, self.recipe.seed, settings.sampling)  # type: ignore[attr-defined]
        first = self._steps(steps.data, plan, settings.negatives, steps.subset)
        scored = score_plan(
            {base.fingerprint: lambda: self.prepared.load(base.path)},
            first,
            self.path / "scores",
            self.machine,
            title="scoring the untrained base",
        )
        self._barrier()
        return losses_by_task(first, scored, settings.temperature)

    def _steps(self, data: Any, plan: MixedPlan, negatives: int, subset: Any) -> PlannedSteps:
        return PlannedSteps(data, plan, negatives, passage_labels, self.machine.rank, self.machine.world, subset)

    def _training_inputs(self, base: BaseModel, settings: Training, seed: int, **more: Any) -> dict[str, Any]:
        kept = settings.model_dump(mode="json", exclude=_SPEED | {"name", "base", "mixtures", "seeds", "untrained"})
        adapters = base.settings.model_dump(mode="json", include={"lora"})
        rows = self.recipe.weights.model_dump(mode="json", include={"stage1_rows", "held_out_share"})
        if isinstance(settings, Finetune):
            rows = {}
        return {**self.prepared.inputs, "base": base.fingerprint, **adapters, "seed": seed, "settings": kept, **rows, **more}

    def folder_key(self, path: Path) -> str:
        """The fingerprint of a stage's inputs, which stands for its model."""
        name = str(path.relative_to(self.path))
        return next(stage["fingerprint"] for stage in self.folder.content["stages"] if stage["name"] == name)

    def _note_tasks(self) -> None:
        tasks = [
            {"name": t.name, "rows": len(t), "licence": t.licence, "source": t.source, "instruction": t.instruction}
            for t in self.prepared.mixture.tasks
        ]
        self.folder.remember(self.recipe, tasks=tasks)

    def _stage(self, name: str, inputs: dict[str, Any], make: Any) -> None:
        started = time.monotonic()
        made: list[bool] = []
        self.folder.stage(name, inputs, lambda: (made.append(True), make())[1])
        say(f"{name}: {f'{time.monotonic() - started:.1f} s' if made else 'done before'}", self.machine.main)

    def _barrier(self) -> None:
        if self.machine.world > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()


def _join_ranks(machine: Machine) -> None:
    """Make the process group before anything is written, so that ranks can wait for each other."""
    if machine.world > 1:
        from accelerate import PartialState

        PartialState(cpu=machine.device == "cpu")


