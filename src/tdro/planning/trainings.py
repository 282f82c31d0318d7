"""Which trainings a recipe is made of, and what each reads: steps, rows and epochs per task.

The counts are exact where the weights are known: they come from the functions that training itself draws by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tdro.data.plan.holdout import split_rows
from tdro.data.plan.task_order import draw_tasks, most_steps
from tdro.errors import UserError
from tdro.recipe.schema import Base, Finetune, LearnWeights, Recipe, Training
from tdro.weights import TaskWeights

Ints = NDArray[np.int64]
KNOWN_BEFORE = ("uniform", "proportional", "loss-reweight")  # mixtures that need no learned weights


@dataclass(frozen=True)
class Reading:
    """What one training reads of each task; all arrays have shape (k,).

    Attributes:
        steps: steps with a row of the task.
        rows: rows read.
        available: rows there are to read, which may be a part of the task's.
    """

    steps: Ints
    rows: Ints
    available: Ints

    @property
    def epochs(self) -> NDArray[np.float64]:
        """How often each row is read."""
        return self.rows / self.available


@dataclass(frozen=True)
class Work:
    """One training, or several that differ in their seed only.

    Attributes:
        stage: ``reference`` (for cross-fitting ``reference-2`` too), ``weights``, or the name of a fine-tuning group.
        mixture: of a fine-tuning; empty for the others.
        trainings: how many of them.
        base: the model that is trained.
        settings: steps, batch and so on.
        reading: what is read; None where the weights are not known before stage 1.
    """

    stage: str
    mixture: str
    trainings: int
    base: Base
    settings: Training
    reading: Reading | None

    @property
    def mixed(self) -> bool:
        """Whether a step has rows of all tasks (stage 1), not of one."""
        return isinstance(self.settings, LearnWeights)

    @property
    def title(self) -> str:
        """Stage and mixture, for a table."""
        return f"{self.stage} {self.mixture}".rstrip()


def all_work(recipe: Recipe, sizes: Mapping[str, int], weights: TaskWeights | None) -> list[Work]:
    """Every training of a recipe, in the order in which they run.

    Args:
        recipe: the recipe.
        sizes: rows of each task, by name.
        weights: those that are loaded or have been learned; None if stage 1 is still to run.

    Raises:
        UserError: weights of a task that is not there, or a cap on epochs that cannot be kept.
    """
    stages = [] if recipe.weights.load else [*_references(recipe, sizes), _stage_one(recipe, sizes)]
    return stages + [
        Work(
            group.name,
            mixture,
            len(group.seeds),
            recipe.base_of(group),
            group,
            _finetuning(group, mixture, sizes, weights),
        )
        for group in recipe.finetune
        for mixture in group.mixtures
    ]


def _references(recipe: Recipe, sizes: Mapping[str, int]) -> list[Work]:
    """One for each part of the rows that a reference is trained on; they have the names that a run gives them."""
    settings, rows = recipe.reference, list(sizes.values())
    parts = [rows]
    if recipe.weights.stage1_rows == "held_out":
        parts = [_lengths(split_rows(rows, recipe.weights.held_out_share, recipe.seed)[0])]
    elif recipe.weights.stage1_rows == "cross_fit":
        parts = [_lengths(half) for half in split_rows(rows, 0.5, recipe.seed)]
    uniform = np.full(len(sizes), 1 / len(sizes))
    steps = np.bincount(draw_tasks(uniform, settings.steps, recipe.seed), minlength=len(sizes))
    names = ("reference", "reference-2")
    return [
        Work(name, "", 1, recipe.base, settings, _homogeneous(steps, settings.batch, part))
        for name, part in zip(names, parts, strict=False)
    ]


def _stage_one(recipe: Recipe, sizes: Mapping[str, int]) -> Work:
    """Stage 1 deals the rows out in turn; drawn at random, the tasks have as many on average."""
    settings, available = recipe.weights, list(sizes.values())
    if settings.stage1_rows == "held_out":
        available = _lengths(split_rows(available, settings.held_out_share, recipe.seed)[1])
    total, tasks = settings.steps * settings.batch, len(available)
    rows = np.full(tasks, total // tasks) + (np.arange(tasks) < total % tasks)
    reading = Reading(np.minimum(rows, settings.steps), rows, np.array(available))
    return Work("weights", "", 1, recipe.base, settings, reading)


def capped(weights: TaskWeights, sizes: Mapping[str, int], group: Finetune) -> TaskWeights:
    """Weights by which no task is seen more often than the group's ``max_epochs``. Errors name the group."""
    if group.max_epochs is None:
        return weights
    try:
        return weights.capped(sizes, group.steps * group.batch, group.max_epochs, group.batch)
    except UserError as error:
        raise UserError(f"finetune '{group.name}', max_epochs: {error}") from error


def _finetuning(group: Finetune, mixture: str, sizes: Mapping[str, int], weights: TaskWeights | None) -> Reading | None:
    if weights is None:
        if mixture not in KNOWN_BEFORE:
            return None
        weights = TaskWeights.uniform(sizes)
    shares = capped(weights.transfer(mixture, sizes), sizes, group)
    most = most_steps(list(sizes.values()), group.batch, group.max_epochs)
    tasks = draw_tasks(shares.on(sizes), group.steps, group.seeds[0], group.draw, most)
    return _homogeneous(np.bincount(tasks, minlength=len(sizes)), group.batch, list(sizes.values()))


def _homogeneous(steps: Ints, batch: int, available: Sequence[int]) -> Reading:
    return Reading(steps, steps * batch, np.array(available))


def _lengths(parts: Sequence[Ints]) -> list[int]:
    return [len(part) for part in parts]
