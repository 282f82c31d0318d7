"""The stages of a run, in order: reference, weights, fine-tunings, evaluation, report.

Each is a function of values and files before it (:mod:`tdro.stages`); this module only decides what need not run again,
and says what happens. ``tdro run`` does all of them, group by group, so that each comparison is printed as soon as its
models are there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tdro.console import log_to, quiet_libraries, say
from tdro.data.describe import describe
from tdro.data.task import Task
from tdro.dro.health import collapse_warning
from tdro.dro.weights import TaskWeights
from tdro.evaluation.bm25 import evaluate_bm25
from tdro.evaluation.compare import compare
from tdro.evaluation.compare_table import table
from tdro.evaluation.evaluate import evaluate_all
from tdro.evaluation.leaks import FILE as LEAKS
from tdro.evaluation.leaks import counted, find_leaks, leaks_line
from tdro.evaluation.trained_on import task_fingerprint
from tdro.files import fingerprint, read_json, write_json
from tdro.planning.kind import token_counter_or_none
from tdro.prepared import Prepared
from tdro.recipe import Finetune, Recipe
from tdro.report.card import write_card
from tdro.report.html import write_report
from tdro.retriever.machine import Machine, in_turn, join_ranks, this_machine, wait_for_everyone
from tdro.run_folder import RunFolder, Stage
from tdro.stages import Stages
from tdro.weights_table import weights_table

STAGES = ("reference", "learn", "finetune", "evaluate", "report")


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
    current.begin(stages or STAGES)
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
        if recipe.trust_remote_code:
            say("warning: trust_remote_code is true: code that comes with a model is run here", machine.main)
        self.prepared = Prepared(recipe, self.path, machine)
        self.stages = Stages(recipe, self.prepared, self.path)
        self._leaks_said = False

    def begin(self, stages: Sequence[str]) -> None:
        """Refuse what would overwrite the work of other inputs, before anything is changed; then note what is run."""
        if {"reference", "learn", "finetune"}.isdisjoint(stages):
            self.folder.remember(self.recipe)
            return
        self.folder.check_input("negatives", self.recipe.negatives.model_dump(mode="json"))  # before they are mined
        self.folder.check([*self.stages.references(), weights := self.stages.weights()])
        if self.folder.is_done(weights):
            for group in self.recipe.finetune:
                self.folder.check(self.stages.finetune(group, self.weights()))
        self.folder.remember(self.recipe, tasks=[_about(task) for task in self.prepared.unmined.tasks])

    def reference(self) -> None:
        """Stage 0: fine-tune the base with uniform weights; two of them, on halves, for cross-fitting."""
        for stage in self.stages.references():
            self._do(stage)

    def learn(self) -> None:
        """Stage 1: score the plan with the reference, then learn the weights."""
        for stage in self.stages.references():
            self.folder.require(stage.name, "reference", stage.key)
        self._describe()
        self._do(self.stages.weights())
        if self.machine.main:
            mixture = self.prepared.mixture
            say(weights_table(self.weights(), dict(zip(mixture.names, mixture.sizes, strict=True))))

    def finetune(self, groups: Sequence[Finetune] | None = None) -> None:
        """Stage 2: fine-tune every group's base by each of its mixtures and seeds."""
        weights = self.weights()
        for group in groups or self.recipe.finetune:
            if {"reweight", "loss-reweight"} & set(group.mixtures) and (warning := collapse_warning(weights)):
                say(f"warning: {warning}", self.machine.main)
            for stage in self.stages.finetune(group, weights):
                self._do(stage)
                if self.machine.main and not (self.path / stage.name / "README.md").exists():
                    write_card(self.path, group.name, Path(stage.name).name, evaluated=False)

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
        )
        write_json(self.path / "comparison" / f"{group.name}.json", comparison)
        for name in models.keys() - {"untrained"}:
            write_card(self.path, group.name, name)
        say(f"evaluation/{group.name}: {time.monotonic() - started:.1f} s\n\n{table(comparison)}\n")
        self._say_leaks()

    def _say_leaks(self) -> None:
        """Look for the test queries in the training queries, and say so if there are any; once, for all groups."""
        if not self._leaks_said:
            self._leaks_said = True
            found, tests = find_leaks(self.prepared.unmined, self.path), self.prepared.mixture.tests
            names = [test.name for test in tests]
            if counted(found, names)[0]:
                say(f"warning: {leaks_line(found, names)}: see {self.path / LEAKS} or the report\n")

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

    def _do(self, stage: Stage) -> None:
        started = time.monotonic()
        made = self.folder.do(stage)
        say(f"{stage.name}: {f'{time.monotonic() - started:.1f} s' if made else 'done before'}", self.machine.main)


def _about(task: Task) -> dict[str, Any]:
    keys = ("name", "licence", "source", "instruction")
    return {"rows": len(task), "fingerprint": task_fingerprint(task), **{key: getattr(task, key) for key in keys}}
