"""``tdro run --workers N``: what the processes of :mod:`tdro.workers` do of a run: train models, and evaluate them.

The trainings of a recipe do not need each other, and nor do the evaluations of its models. So N of them run at once,
each on a core or a GPU of its own. The process that was started keeps the run's folder and its log.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tdro.console import progress_bar
from tdro.data.task import TestSet
from tdro.evaluation.scoring.evaluate import evaluate_all
from tdro.gain.learned_weights import LearnedWeights
from tdro.machine import this_machine
from tdro.recipe.schema import Recipe
from tdro.run.folder import Stage
from tdro.run.out_of_memory import out_of_memory_named
from tdro.run.stages import Stages
from tdro.run.training_data import RunData
from tdro.run.workspace import shared_workspace
from tdro.workers import Workers


def make_in_workers(
    workers: Workers, recipe: Recipe, stages: Iterable[Stage], learned: LearnedWeights | None
) -> Iterator[tuple[Stage, float]]:
    """Make trainings in several processes at once, and yield each that is done with the seconds that it took.

    Args:
        workers: the processes.
        recipe: whose stages these are.
        stages: references, those that learn weights, or fine-tunings.
        learned: the weights that fine-tunings sample by; None for the others.
    """
    begun: dict[str, tuple[Stage, float]] = {}

    def tasks() -> Iterator[MakeStage]:
        for stage in stages:
            begun[stage.name] = stage, time.monotonic()
            yield MakeStage(recipe, stage.name, stage.key, learned)

    for task, _ in workers.do(tasks()):
        stage, started = begun.pop(task.title)
        yield stage, time.monotonic() - started


def mine_in_workers(workers: Workers, recipe: Recipe, data: RunData) -> None:
    """Mine hard negatives in several processes at once, a task in each; the run then reads what they keep.

    Only where BM25 alone is asked for: an embedding model's batches fill a device, and tasks share its embeddings.
    """
    if data.mining is None or data.mining.dense:
        return
    sizes = data.sizes
    largest_first = sorted(sizes, key=lambda name: -sizes[name])
    with progress_bar(total=sum(sizes.values()), title="hard negatives", unit=" rows", unit_scale=True) as bar:
        for task, _ in workers.do(MineTask(recipe, name) for name in largest_first):
            bar.update(sizes[task.title])


@dataclass(frozen=True)
class MineTask:
    """The mining of one task's hard negatives by BM25.

    Attributes:
        recipe: whose task it is.
        title: the task's name.
    """

    recipe: Recipe
    title: str

    def __call__(self) -> None:
        """Mine the task, unless that was done before."""
        machine = this_machine(self.recipe.device, self.recipe.precision)
        shared_workspace(self.recipe, self.recipe.folder, machine).data.mine_alone(self.title)


@dataclass(frozen=True)
class MakeStage:
    """The training of a reference, of a proxy, or of a fine-tuned model.

    Attributes:
        recipe: whose stage it is.
        title: the stage's name.
        key: the fingerprint of its inputs.
        learned: the weights that a fine-tuned model samples by; None for the others.
    """

    recipe: Recipe
    title: str
    key: str
    learned: LearnedWeights | None

    def __call__(self) -> None:
        """Make the stage in the run's folder; a training that was stopped goes on from its last checkpoint."""
        machine = this_machine(self.recipe.device, self.recipe.precision)
        workspace = shared_workspace(self.recipe, self.recipe.folder, machine)
        stages = Stages(self.recipe, workspace, self.recipe.folder, trackers=self.recipe.report_to)
        stage = next(stage for stage in self._stages(stages) if stage.name == self.title)
        if stage.key != self.key:
            raise RuntimeError(f"planned as {self.key}, and the worker would make {stage.key}")
        with out_of_memory_named(stage.name, self.recipe, workspace.data, machine):
            stage.make()

    def _stages(self, stages: Stages) -> Iterable[Stage]:
        if self.learned is None:
            return chain(stages.references(), stages.learned())
        (group,) = (one for one in self.recipe.finetune if self.title in stages.finetune_names(one))
        return stages.finetune(group, self.learned)


@dataclass(frozen=True)
class EvaluateModel:
    """The evaluation of one of a recipe's models; its results are files.

    Attributes:
        recipe: whose model it is.
        title: the model's name, such as ``top-70-seed1``.
        model: its folder.
        tests: the test sets.
        results: the folder for the results of all models.
        sizes: see :func:`tdro.evaluation.scoring.evaluate.evaluate_all`.
        warn: say if much of the test sets' texts is cut away.
    """

    recipe: Recipe
    title: str
    model: Path
    tests: tuple[TestSet, ...]
    results: Path
    sizes: Mapping[int, Path]
    warn: bool

    def __call__(self) -> None:
        """Evaluate the model, unless that was done before."""
        machine = this_machine(self.recipe.device, self.recipe.precision)
        evaluate_all(
            self.model,
            self.tests,
            self.results,
            model_name=self.title,
            bf16=machine.bf16,
            device=machine.device,
            tokens_folder=self.recipe.folder / "tokens",
            trust_remote_code=self.recipe.trust_remote_code,
            sizes=self.sizes,
            warn=self.warn,
        )
