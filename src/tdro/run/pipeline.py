"""A run from its recipe to its report: reference, weights, fine-tunings, evaluation, report, in this order.

This file decides what is done in which order, skips what is done, and says so. What each stage is made from is in
:mod:`tdro.run.stages`; what is refused before anything starts, in :mod:`tdro.run.checks`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tdro.console import log_to, quiet_libraries, say
from tdro.dro.health import collapse_warning
from tdro.dro.weights_table import weights_table
from tdro.errors import UserError
from tdro.gain.learned_weights import ALPHA, LearnedWeights
from tdro.machine import (
    Machine,
    fp32_for_want_of_bf16,
    idle_gpus,
    in_turn,
    join_ranks,
    this_machine,
    wait_for_everyone,
)
from tdro.mixture_name import parse_mixture
from tdro.recipe.finetune_section import Finetune
from tdro.recipe.names import STAGES
from tdro.recipe.schema import Recipe
from tdro.recipe.training_sections import Base
from tdro.report.model_card import write_card
from tdro.report.report_page import write_report
from tdro.run.checks import check_inputs, check_report, require_records
from tdro.run.compare_models import compare_models
from tdro.run.describe_data import say_cuts, write_data_card
from tdro.run.development import check_apart
from tdro.run.folder import RunFolder, Stage
from tdro.run.in_workers import make_in_workers, mine_in_workers
from tdro.run.out_of_memory import out_of_memory_named
from tdro.run.push_models import check_pushes, push_models
from tdro.run.remembered_data import about_data, about_tasks, known_facts
from tdro.run.small_chunks import small_chunks
from tdro.run.stages import Stages
from tdro.run.workspace import Workspace
from tdro.training.tracking import check_trackers
from tdro.weights import TaskWeights
from tdro.workers import Workers

_NEED_TRAINING_DATA = {"reference", "learn", "finetune"}


def run_recipe(recipe: Recipe, stages: Sequence[str] | None = None, force: bool = False, workers: int = 1) -> None:
    """Run a recipe: learn the weights of its tasks, fine-tune by them, and compare the models.

    Everything goes to ``recipe.folder``. A stage that is done from the same inputs is skipped, so a run that was
    stopped goes on where it was.

    Args:
        recipe: as :func:`tdro.load_recipe` gives it.
        stages: which stages to run, some of ``reference``, ``learn``, ``finetune``, ``evaluate`` and ``report``; None
            for all of them.
        force: make anew what other inputs have made. Without it such a run is refused.
        workers: how many references, fine-tunings and evaluations run at once, each in a process of its own, on a core
            or a GPU of its own. With 2 and more, a script must call this under ``if __name__ == "__main__":``, because
            the processes import it.

    Raises:
        tdro.errors.UserError: whatever the user can mend, in a line or two; what was done before stays.

    Example::

        from tdro import load_recipe, run_recipe

        run_recipe(load_recipe("recipe.yaml"))  # as `tdro run recipe.yaml`
    """
    quiet_libraries()
    run = Pipeline(recipe, force, this_machine(recipe.device, recipe.precision))
    if stages is None:
        with in_turn(run.machine):
            check_pushes(recipe, run.path)
    with run.sharing(workers):
        run.begin(stages or tuple(STAGES))
        for stage in stages or ("reference", "learn"):
            getattr(run, stage)()
        if stages is None:  # group by group, so that each comparison is printed as soon as its models are there
            for group in recipe.finetune:
                run.finetune([group])
                run.evaluate([group])
            run.report()
            run.push()


class Pipeline:
    """One recipe in its folder: a method for each stage, and what they share."""

    def __init__(self, recipe: Recipe, force: bool, machine: Machine) -> None:
        self.recipe, self.machine = recipe, machine
        join_ranks(machine)
        with in_turn(machine):  # else a rank could see a half-made folder and take it for somebody else's
            self.folder = RunFolder(recipe, force, machine.main, lambda: wait_for_everyone(machine))
        self.path = self.folder.path
        log_to(None, machine.main)
        if line := fp32_for_want_of_bf16(recipe.precision, machine):
            say(line, machine.main)
        if recipe.trust_remote_code:
            say("warning: trust_remote_code is true: code that comes with a model is run here", machine.main)
        self._leaks_said = False
        self._workers: Workers | None = None
        self._mined = False

    @contextmanager
    def sharing(self, count: int) -> Iterator[None]:
        """Share trainings and evaluations among ``count`` processes inside; with 1, this process does all of them.

        Raises:
            UserError: fewer than 1, or ranks share each training already.
        """
        if count < 1:
            raise UserError(f"workers: {count}; it must be at least 1")
        if count == 1:
            if line := idle_gpus(self.recipe.device, self.machine):
                say(line, self.machine.main)
            yield
            return
        if self.machine.world > 1:
            raise UserError("--workers: the ranks that torchrun or accelerate has started share each training already")
        threads = max(1, (os.cpu_count() or 1) // count)
        with Workers(count, "tdro.run.in_workers", self.path / "logs", threads) as self._workers:
            yield

    def begin(self, stages: Sequence[str]) -> None:
        """Look at recipe, data, models and folder before anything is mined or trained, then note what is run.

        Raises:
            UserError: something cannot be done, or would overwrite or mix with the work of other inputs.
        """
        wanted, trains = set(stages), not _NEED_TRAINING_DATA.isdisjoint(stages)
        if wanted != {"report"}:
            check_trackers(self.recipe.report_to)
        facts = None if trains else known_facts(self.folder.content, self.recipe)
        self.workspace = Workspace(self.recipe, self.path, self.machine, facts)
        self.stages = Stages(self.recipe, self.workspace, self.path, trackers=self.recipe.report_to)
        require_records(self.folder, self.stages, wanted)
        if trains:
            self.workspace.models.check()
            self.folder.create()
        log_to(self.path if self.path.is_dir() else None, self.machine.main)
        if wanted == {"report"}:
            check_report(self.folder, self.stages)
        else:
            check_inputs(self.folder, self.stages, wanted)
        if not trains:
            if "evaluate" in wanted:
                check_apart(self.workspace.data.development, self.workspace.data.tests)
            self.folder.remember(self.recipe)
            return
        self.stages.check()
        say_cuts(self.workspace, stages)
        if line := small_chunks(self.recipe, stages, self.machine):
            say(line, self.machine.main)
        data = self.workspace.data
        self.folder.remember(
            self.recipe,
            tasks=about_tasks(data.unmined.tasks),
            training_data=about_data(self.recipe, data.facts),
        )

    def reference(self) -> None:
        """Stage 0: fine-tune the base with uniform weights; for cross-fitting twice, each on one half of the rows."""
        self._do_all(self.stages.references(), self.recipe.base)

    def learn(self) -> None:
        """Learn the weights that the mixtures need: stage 1 (score the planned rows, then learn), gain, or both."""
        if self.machine.main:
            write_data_card(self.workspace, self.path / "data.json")
        stages = self.stages.learned()
        if len(stages) > 1:
            self._do_all(stages, self.recipe.base, then=self._say_weights)
            return
        for stage in stages:  # in this process, with all cores
            self._do(stage)
            self._say_weights(stage)

    def _say_weights(self, stage: Stage) -> None:
        self.weights()  # writes weights.json again where the recipe's α is another now
        if self.machine.main:
            learned = TaskWeights.load(self.path / stage.name / "weights.json")
            say(weights_table(learned, self.workspace.data.sizes), answer=True)

    def finetune(self, groups: Sequence[Finetune] | None = None) -> None:
        """Stage 2: fine-tune the base of each group by each of its mixtures and seeds."""
        weights = self.weights()
        for group in groups or self.recipe.finetune:
            for warning in _collapse_warnings(group, weights):
                say(f"warning: {warning}", self.machine.main)
            write_its_card = partial(self._write_card, group)
            self._do_all(self.stages.finetune(group, weights), self.recipe.base_of(group), weights, write_its_card)

    def _write_card(self, group: Finetune, stage: Stage) -> None:
        if self.machine.main and not (self.path / stage.name / "README.md").exists():
            write_card(self.path, group.name, Path(stage.name).name, evaluated=False)

    def evaluate(self, groups: Sequence[Finetune] | None = None) -> None:
        """Score every model of the groups on the test sets, compare the mixtures, and print the table."""
        for group in groups or self.recipe.finetune:
            if self.workspace.data.tests:
                leaks_said, self._leaks_said = self._leaks_said, True
                with out_of_memory_named(f"evaluation/{group.name}", self.recipe, self.workspace.data, self.machine):
                    compare_models(self.folder, self.stages, group, not leaks_said, self._workers)
            else:
                say(f"evaluation/{group.name}: no test sets, nothing to compare", self.machine.main)
            wait_for_everyone(self.machine)

    def report(self) -> None:
        """Write the report from what is there."""
        if self.machine.main:
            self.weights()
            say(f"report: {write_report(self.path)}", answer=True)

    def push(self) -> None:
        """Upload the models that the recipe's groups name to the hub."""
        if self.machine.main:  # the other ranks do not wait: a large model may take longer than they would
            push_models(self.recipe, self.path)

    def weights(self) -> LearnedWeights:
        """The weights that were learned or loaded; ``weights.json`` is written again if the recipe's α is another."""
        weights, file = LearnedWeights.load(self.path, self.recipe), self.path / ALPHA
        changed = weights.alpha is not None and weights.alpha.provenance != TaskWeights.load(file).provenance
        if weights.alpha is not None and changed and self.machine.main:
            weights.alpha.save(file)
        return weights

    def _do_all(
        self,
        stages: Iterable[Stage],
        base: Base,
        learned: LearnedWeights | None = None,
        then: Callable[[Stage], None] = lambda stage: None,
    ) -> None:
        """Do trainings that do not need each other: here one after the other, or several at once in the workers.

        Args:
            stages: the trainings.
            base: that all of them train.
            learned: the weights that fine-tunings sample by; None for the others.
            then: called with each stage that is done.
        """
        if self._workers is None:
            for stage in stages:
                self._do(stage)
                then(stage)
            return

        stages = list(stages)
        if not all(self.folder.is_done(stage) for stage in stages):
            self._mine_in(self._workers)

        def sent() -> Iterator[Stage]:
            for stage in stages:
                if self.folder.begin(stage) is stage.make:
                    self.workspace.tokens(self.workspace.models.base(base))  # before several workers look for them
                    yield stage
                else:  # it is done, or soon will be
                    self._do(stage)
                    then(stage)

        for stage, seconds in make_in_workers(self._workers, self.recipe, sent(), learned):
            self.folder.finish(stage, seconds)
            say(f"{stage.name}: {seconds:.1f} s")
            then(stage)

    def _mine_in(self, workers: Workers) -> None:
        if not self._mined:
            mine_in_workers(workers, self.recipe, self.workspace.data)
            self._mined = True

    def _do(self, stage: Stage) -> None:
        started = time.monotonic()
        with out_of_memory_named(stage.name, self.recipe, self.workspace.data, self.machine):
            made = self.folder.do(stage)
        say(f"{stage.name}: {f'{time.monotonic() - started:.1f} s' if made else 'done before'}", self.machine.main)


def _collapse_warnings(group: Finetune, learned: LearnedWeights) -> list[str]:
    """What is to be said of a group's mixtures that train on all tasks by tDRO's weights."""
    mixtures = [parse_mixture(name) for name in group.mixtures]
    # loss-reweight samples equally; it is its gradients that follow the weights.
    by_weight = [one for one in mixtures if one.uses_alpha and not one.selects]
    alpha = learned.alpha
    used = [alpha if one.exponent is None else alpha.tempered(one.exponent) for one in by_weight if alpha]
    return list(dict.fromkeys(warning for one in used if (warning := collapse_warning(one))))
