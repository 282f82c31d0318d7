"""Which trainings a recipe is made of, and what each reads: steps, rows and epochs of each task.

Where the weights are known the counts are exact, because they come from the functions that training itself draws by.
Only stage 1 with ``sampling: random`` is an expectation: it is counted as if the rows were dealt out in turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tdro.data.plan.task_order import draw_tasks, most_steps
from tdro.data.task import TestSet
from tdro.data.testsets.halves import answered_queries, may_be_looked_at
from tdro.dro.stage_one.plan import StageOnePlan, plan_stage_one
from tdro.errors import UserError
from tdro.gain.held_out import hold_out
from tdro.gain.learned_weights import LearnedWeights
from tdro.mixture_name import parse_mixture
from tdro.recipe.finetune_section import Finetune
from tdro.recipe.schema import Recipe
from tdro.recipe.target_section import ALL
from tdro.recipe.training_sections import Base, LearnWeights, Training
from tdro.weights import TaskWeights

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class RowsRead:
    """What one training reads of each task; all arrays have shape (k,).

    Attributes:
        steps: steps that have a row of the task.
        rows: rows read.
        available: rows there are to read. A reference may have only a part of the task's.
    """

    steps: Ints
    rows: Ints
    available: Ints

    @property
    def epochs(self) -> NDArray[np.float64]:
        """How often each row is read."""
        return self.rows / self.available


@dataclass(frozen=True)
class PlannedTraining:
    """One training, or several that differ only in their seed.

    Attributes:
        stage: ``reference`` (for cross-fitting ``reference-2`` too), ``weights``, ``gain``, or the
            name of a fine-tuning group.
        mixture: of a fine-tuning, such as ``top-70``, or ``uniform-1.5x`` where uniform is trained longer; empty for
            the others.
        times: how many they are.
        base: the model that is trained.
        settings: steps, batch and so on.
        reading: what is read; None where it follows from weights that are still to be learned.
        scored: (k,) how many rows of each task go through a model without being trained on; None for none.
    """

    stage: str
    mixture: str
    times: int
    base: Base
    settings: Training
    reading: RowsRead | None
    scored: Ints | None = None

    @property
    def mixed(self) -> bool:
        """Whether a step has rows of all tasks (stage 1), and not of one."""
        return isinstance(self.settings, LearnWeights)

    @property
    def title(self) -> str:
        """Stage and mixture, for a table."""
        return f"{self.stage} {self.mixture}".rstrip()


def planned_trainings(
    recipe: Recipe, sizes: Mapping[str, int], weights: LearnedWeights, tests: Sequence[TestSet] = ()
) -> list[PlannedTraining]:
    """Every training of a recipe, in the order in which they run.

    Args:
        recipe: the recipe.
        sizes: rows of each task, by name.
        weights: those that are loaded or have been learned.
        tests: the recipe's test sets, for ``gain.target``.

    Raises:
        UserError: weights of a task that is not there, or a cap on epochs that cannot be kept.
    """
    trainings = []
    if recipe.has_stage_one:
        plan = plan_stage_one(recipe.weights, list(sizes.values()), recipe.seed)
        trainings = [*_references(recipe, plan), _stage_one(recipe, plan)]
    if recipe.learns_gain:
        trainings.append(_gain(recipe, sizes, tests))
    return trainings + [
        PlannedTraining(
            group.name,
            training.name,
            len(training.seeds),
            recipe.base_of(group),
            training.settings,
            _finetuning(training.settings, training.mixture, sizes, weights),
        )
        for group in recipe.finetune
        for training in group.trainings()
    ]


def _references(recipe: Recipe, plan: StageOnePlan) -> list[PlannedTraining]:
    """The trainings of the references, with the names that a run gives them."""
    settings, tasks = recipe.reference, len(plan.sizes)
    uniform = np.full(tasks, 1 / tasks)
    steps = np.bincount(draw_tasks(uniform, settings.steps, recipe.seed), minlength=tasks)
    return [
        PlannedTraining(name, "", 1, recipe.base, settings, _homogeneous(steps, settings.batch, sizes))
        for name, sizes in zip(("reference", "reference-2"), plan.reference_sizes, strict=False)
    ]


def _stage_one(recipe: Recipe, plan: StageOnePlan) -> PlannedTraining:
    settings, tasks = recipe.weights, len(plan.sizes)
    total = settings.steps * settings.batch
    rows = np.full(tasks, total // tasks) + (np.arange(tasks) < total % tasks)
    reading = RowsRead(np.minimum(rows, settings.steps), rows, np.array(plan.proxy_sizes))
    return PlannedTraining("weights", "", 1, recipe.base, settings, reading, scored=rows)


def _gain(recipe: Recipe, rows: Mapping[str, int], tests: Sequence[TestSet]) -> PlannedTraining:
    """The proxy of transfer gain with all trials, as if its weights stayed uniform; and its held-out rows."""
    gain, sizes, tasks = recipe.gain, list(rows.values()), len(rows)
    training = gain.training(recipe.reference)
    steps = np.full(tasks, training.steps // tasks) + (np.arange(tasks) < training.steps % tasks)
    steps = steps + gain.rounds * gain.trial_steps
    trained, held = ([len(rows) for rows in part] for part in hold_out(sizes, gain.held_out_rows, recipe.seed))
    measured = np.array(held) if gain.target is None else _target_rows(recipe, list(rows), held, tests)
    scored = measured * gain.rounds * (1 + tasks)
    settings = training.model_copy(update={"steps": int(steps.sum())})
    reading = _homogeneous(steps, training.batch, trained)
    return PlannedTraining("gain", "", 1, recipe.base, settings, reading, scored=scored)


def _target_rows(recipe: Recipe, names: Sequence[str], held: Sequence[int], tests: Sequence[TestSet]) -> Ints:
    """How many rows a target is measured on, (k,): of a task in it its held-out rows, and those of test sets dealt out
    to all tasks, as if their texts were as long. A test query has ``negatives.per_row`` passages; it counts for as many
    rows as have as many texts."""
    target = recipe.gain.target
    assert target is not None
    wanted = [test.folder for test in tests if target.tests == ALL or test.name in (target.tests or ())]
    whole = [folder.folder for folder in (target.folders or {}).values()]
    counts = [sum(map(may_be_looked_at, answered_queries(folder).values())) for folder in wanted]
    counts += [len(answered_queries(folder)) for folder in whole]
    texts = sum(min(count, recipe.gain.held_out_rows) for count in counts) * (2 + recipe.negatives.per_row)
    of_tests = texts / (2 + recipe.reference.negatives) / len(names)
    return np.array(
        [
            round(of_tests) + (rows if name in (target.tasks or ()) else 0)
            for name, rows in zip(names, held, strict=True)
        ]
    )


def capped(weights: TaskWeights, sizes: Mapping[str, int], group: Finetune) -> TaskWeights:
    """The weights, moved so that no task is seen more often than the group's ``max_epochs``.

    Raises:
        UserError: the tasks have too few rows for it; names the group.
    """
    if group.max_epochs is None:
        return weights
    try:
        return weights.capped(sizes, group.steps * group.batch, group.max_epochs, group.batch)
    except UserError as error:
        raise UserError(f"finetune '{group.name}', max_epochs: {error}") from error


def _finetuning(group: Finetune, mixture: str, sizes: Mapping[str, int], weights: LearnedWeights) -> RowsRead | None:
    if not weights.knows(mixture):
        if parse_mixture(mixture).samples_by_weights:
            return None
        weights = LearnedWeights(TaskWeights.uniform(sizes))
    shares = capped(weights.transfer(mixture, sizes), sizes, group)
    most = most_steps(list(sizes.values()), group.batch, group.max_epochs)
    tasks = draw_tasks(shares.on(sizes), group.steps, group.seeds[0], group.draw, most, group.uniform_steps)
    return _homogeneous(np.bincount(tasks, minlength=len(sizes)), group.batch, list(sizes.values()))


def _homogeneous(steps: Ints, batch: int, available: Sequence[int]) -> RowsRead:
    return RowsRead(steps, steps * batch, np.array(available))
