"""The stages of a run, in order: reference, weights, fine-tunings, evaluation, report.

Each is a function of values and files before it (:mod:`tdro.run.stages`); this module only decides what need not run
again,
and says what happens. ``tdro run`` does all of them, group by group, so that each comparison is printed as soon as its
models are there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tdro.console import log_to, quiet_libraries, say
from tdro.data.mixtures.facts import DataFacts
from tdro.data.quality.data_card import describe
from tdro.data.task import Task
from tdro.data.tokens.cut_warnings import cut_lines
from tdro.dro.health import collapse_warning
from tdro.dro.weights_table import weights_table
from tdro.errors import UserError
from tdro.evaluation.compare.compare import compare
from tdro.evaluation.compare.compare_table import table
from tdro.evaluation.leaks.leaks import FILE as LEAKS
from tdro.evaluation.leaks.leaks import counted, find_leaks, leaks_line
from tdro.evaluation.leaks.trained_on import task_fingerprint
from tdro.evaluation.scoring.bm25 import evaluate_bm25
from tdro.evaluation.scoring.evaluate import evaluate_all
from tdro.files import fingerprint, read_json, write_json
from tdro.machine import Machine, idle_gpus, in_turn, join_ranks, this_machine, wait_for_everyone
from tdro.models.base_tokens import BaseTokens, base_tokens_or_none
from tdro.planning.cuts import cuts_of, cutter_of
from tdro.recipe.schema import Finetune, Recipe
from tdro.report.model_card import write_card
from tdro.report.report_page import write_report
from tdro.run.folder import RunFolder, Stage
from tdro.run.stages import Stages
from tdro.run.workspace import Prepared
from tdro.weights import TaskWeights

STAGES = ("reference", "learn", "finetune", "evaluate", "report")
_TRAINING = {"reference", "learn", "finetune"}  # those that read the training data's texts


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
        log_to(None, machine.main)
        if idle := idle_gpus(recipe.device, machine):
            say(idle, machine.main)
        if recipe.trust_remote_code:
            say("warning: trust_remote_code is true: code that comes with a model is run here", machine.main)
        self._leaks_said = False

    def begin(self, stages: Sequence[str]) -> None:
        """Refuse what cannot be done, and what would overwrite or mix the work of other inputs, before anything is
        read, mined or trained; then note what is run."""
        todo, trains = set(stages), not _TRAINING.isdisjoint(stages)
        known = None if trains else self._known_facts()
        self.prepared = Prepared(self.recipe, self.path, self.machine, known)
        self.stages = Stages(self.recipe, self.prepared, self.path)
        self._require_records(todo)
        if trains:
            self.prepared.check_bases()
            self.folder.make()
        log_to(self.path if self.path.is_dir() else None, self.machine.main)
        if todo == {"report"}:
            self._check_report()
        else:
            self._check_inputs(todo)
        if trains:
            self.stages.check()
            self._say_cuts(stages)
            about = [_about(task) for task in self.prepared.unmined.tasks]
            facts = {"recipe": _data_of(self.recipe), **asdict(self.prepared.facts)}
            self.folder.remember(self.recipe, tasks=about, training_data=facts)
        else:
            self.folder.remember(self.recipe)

    def _require_records(self, todo: set[str]) -> None:
        """Refuse stages before which others are missing, without a look at data or models."""
        if "learn" in todo and "reference" not in todo:
            self.folder.require_any(self.stages.reference_names(), "reference")
        if "evaluate" in todo and "finetune" not in todo:
            for group in self.recipe.finetune:
                self.folder.require_any(self.stages.finetune_names(group), "finetune")
        if todo & {"finetune", "evaluate"} and "learn" not in todo:
            self.folder.require_any(["weights"], "learn")
        if todo == {"report"} and not self.path.is_dir():
            raise UserError(f"{self.path}: no such run folder; `tdro run RECIPE` makes one")

    def _check_inputs(self, todo: set[str]) -> None:
        """What is to be made may overwrite nothing of other inputs; what is only read must be of the recipe's."""
        references, weights = self.stages.references(), self.stages.weights()
        if "reference" in todo:
            self.folder.check(references)
        elif "learn" in todo:
            self.folder.require(references, "reference")
        if "learn" in todo:
            self.folder.check([weights])
        elif todo & {"finetune", "evaluate"}:
            for reference in references:
                self.folder.require_current(reference, "reference")
            self.folder.require([weights], "learn")
        if not (self.folder.is_done(weights) and todo & {"finetune", "evaluate"}):
            return
        for group in self.recipe.finetune:
            if "finetune" in todo:
                self.folder.check(self.stages.finetune(group, self.weights()))
            else:
                self.folder.require(self.stages.finetune(group, self.weights()), "finetune")

    def _check_report(self) -> None:
        """Whatever is there must be of the recipe's inputs; nothing need be."""
        if not self.folder.content["stages"]:
            return
        for reference in self.stages.references():
            self.folder.require_current(reference, "reference")
        self.folder.require_current(self.stages.weights(), "learn")
        if self.folder.key_of("weights") is None:
            return
        for group in self.recipe.finetune:
            for stage in self.stages.finetune(group, self.weights()):
                self.folder.require_current(stage, "finetune")
            evaluation = self._evaluation(group)
            if (self.path / "comparison" / f"{group.name}.json").exists():
                self.folder.require([evaluation], "evaluate")

    def reference(self) -> None:
        """Stage 0: fine-tune the base with uniform weights; two of them, on halves, for cross-fitting."""
        for stage in self.stages.references():
            self._do(stage)

    def learn(self) -> None:
        """Stage 1: score the plan with the reference, then learn the weights."""
        self._describe()
        self._do(self.stages.weights())
        if self.machine.main:
            facts = self.prepared.facts
            say(weights_table(self.weights(), dict(zip(facts.names, facts.sizes, strict=True))))

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
            if self.prepared.tests:
                self._evaluate(group)
            else:
                say(f"evaluation/{group.name}: no test sets, nothing to compare", self.machine.main)
            wait_for_everyone(self.machine)

    def report(self) -> None:
        """Write the report from what is there."""
        if self.machine.main:
            say(f"report: {write_report(self.path)}")

    def weights(self) -> TaskWeights:
        """The learned (or loaded) weights."""
        return TaskWeights.load(self.path / "weights" / "weights.json")

    def _evaluate(self, group: Finetune) -> None:
        started, stage, models = time.monotonic(), self._evaluation(group), self._models(group)
        tests, results = self.prepared.tests, self.path / "evaluation" / group.name
        if not self.folder.is_done(stage):
            self.folder.forget(stage.name)  # a comparison of others, until this one is written
        for name, path in models.items():
            evaluate_all(
                path,
                tests,
                results,
                model_name=name,
                bf16=self.machine.bf16,
                device=self.machine.device,
                tokens_folder=self.path / "tokens",
                trust_remote_code=self.recipe.trust_remote_code,
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
        self.folder.note(stage, round(time.monotonic() - started, 2))
        say(f"evaluation/{group.name}: {time.monotonic() - started:.1f} s\n\n{table(comparison)}\n")
        self._say_leaks()

    def _say_leaks(self) -> None:
        """Look for the test queries in the training queries, and say so if there are any; once, for all groups."""
        if not self._leaks_said:
            self._leaks_said = True
            _ = self.prepared.facts
            if self.prepared.data_gone:
                say(f"leaks of test queries were not looked for: {self.prepared.data_gone}\n")
                return
            found, names = find_leaks(self.prepared.unmined, self.path), [test.name for test in self.prepared.tests]
            if counted(found, names)[0]:
                say(f"warning: {leaks_line(found, names)}: see {self.path / LEAKS} or the report\n")

    def _models(self, group: Finetune) -> dict[str, Path]:
        """The models of a group by name: the untrained base, then one per mixture and seed."""
        untrained = {"untrained": self.prepared.base(self.recipe.base_of(group)).path} if group.untrained else {}
        return untrained | {Path(name).name: self.path / name for name in self.stages.finetune_names(group)}

    def _evaluation(self, group: Finetune) -> Stage:
        """The stage that compares a group's models, known by what each of them was made from."""
        models = {Path(name).name: self.folder.key_of(name) or "" for name in self.stages.finetune_names(group)}
        if group.untrained:
            models["untrained"] = self.prepared.base(self.recipe.base_of(group)).fingerprint
        settings = {**self.recipe.evaluate.model_dump(mode="json"), "bf16": self.machine.bf16}
        return self.stages.evaluation(group, models, settings)

    def _known_facts(self) -> DataFacts | None:
        """What the run's folder knows of the training data, if they are the recipe's."""
        known = dict(self.folder.content.get("training_data") or {})
        try:
            return DataFacts(**known) if known.pop("recipe", None) == _data_of(self.recipe) else None
        except TypeError:  # of another version
            return None

    def _say_cuts(self, stages: Sequence[str]) -> None:
        """Say which limits the bases of some stages cannot keep, and where much is cut away, before anything is done.

        Raises:
            UserError: a task's instruction leaves nothing of its texts.
        """
        recipe = self.recipe
        bases = [recipe.base] if {"reference", "learn"} & set(stages) and not recipe.weights.load else []
        bases += [recipe.base_of(group) for group in recipe.finetune] if "finetune" in stages else []
        with in_turn(self.machine):
            tasks = self.prepared.unmined.tasks
        lines: list[str] = []
        for base in dict.fromkeys(bases):
            cutter = cutter_of(self.prepared.tokens_as_trained(base), recipe.data)
            lines += cut_lines(base.source, cutter, cuts_of(tasks, cutter))
        for line in dict.fromkeys(lines):  # some bases differ in their adapters only
            say(f"warning: {line}", self.machine.main)

    def _describe(self) -> None:
        """Write ``data.json``, what the tasks hold before mining, for the report; unless it is there."""
        if not self.machine.main:
            return
        path, base, data = self.path / "data.json", self.recipe.base, self.recipe.data
        limits = [data.query_tokens, data.passage_tokens, data.prompts]
        key = fingerprint([self.prepared.inputs["mixture"], base.kind, base.source, *limits])
        if path.exists() and read_json(path).get("fingerprint") == key:
            return
        tokens: BaseTokens | None
        if self.recipe.weights.load:  # then this base is not trained
            tokens = base_tokens_or_none(base, self.recipe.trust_remote_code)
        else:
            tokens = self.prepared.tokens_as_trained(base)
        count, name = (tokens.count, tokens.name) if tokens else (None, "")
        cutter = cutter_of(tokens, data) if tokens else None
        describe(self.prepared.unmined, count, name, 1_000, cutter).save(path, key)

    def _do(self, stage: Stage) -> None:
        started = time.monotonic()
        made = self.folder.do(stage)
        say(f"{stage.name}: {f'{time.monotonic() - started:.1f} s' if made else 'done before'}", self.machine.main)


def _data_of(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says of where its training data are."""
    return recipe.data.model_dump(mode="json", include={"mixture", "sources", "tasks", "hard_negatives_only"})


def _about(task: Task) -> dict[str, Any]:
    keys = ("name", "licence", "source", "instruction")
    return {"rows": len(task), "fingerprint": task_fingerprint(task), **{key: getattr(task, key) for key in keys}}
