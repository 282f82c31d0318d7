"""Stage 1 of a run: which rows the references and the proxy read, the scores, the warnings before, and the weights.

The algorithm is in :mod:`tdro.dro`; this joins it to a recipe's data, models and folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tdro.console import say
from tdro.data.mixtures.facts import DataFacts
from tdro.data.plan.holdout import part_of, split_rows
from tdro.data.plan.row_plans import MixedPlan, StepRows
from tdro.dro.health import memorisation_warnings, reference_warnings
from tdro.dro.stage_one.learn import learn
from tdro.dro.stage_one.scoring import one_reference, score_plan
from tdro.dro.stage_one.seen_losses import losses_by_task, seen_rows
from tdro.files import write_json
from tdro.machine import wait_for_everyone
from tdro.recipe.schema import Recipe
from tdro.run.workspace import BaseModel, Prepared
from tdro.training.finetune import FinetuneJob
from tdro.training.steps import PlannedSteps, TokenizedMixture, text_labels
from tdro.weights import TaskWeights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Ints = NDArray[np.int64]
_ROWS_FOR_UNTRAINED = 32  # per task, to judge the untrained base by


def reference_rows(recipe: Recipe, sizes: Sequence[int]) -> list[list[Ints] | None]:
    """For each reference, the rows that it is trained on; None for all. Two references for cross-fitting."""
    settings = recipe.weights
    if settings.stage1_rows == "held_out":
        return [split_rows(sizes, settings.held_out_share, recipe.seed)[0]]
    if settings.stage1_rows == "cross_fit":
        return list(split_rows(sizes, 0.5, recipe.seed))
    return [None]


def reference_job(recipe: Recipe, facts: DataFacts, rows: list[Ints] | None) -> FinetuneJob:
    """Stage 0: the base fine-tuned with uniform weights."""
    uniform = np.full(len(facts.names), 1 / len(facts.names))
    return FinetuneJob(
        *("reference", "uniform", uniform, recipe.reference, recipe.seed),
        subset=rows,
        hard_negatives_only=tuple(facts.hard_negatives_only),
    )


def learn_weights(
    recipe: Recipe, prepared: Prepared, base: BaseModel, references: dict[str, Path], folder: Path, key: str
) -> None:
    """Score the plan with the references, say what is wrong with them, and learn the weights.

    Args:
        recipe: its ``weights`` section is what is done.
        prepared: data, models and machine.
        base: the proxy's base.
        references: the references' folders by fingerprint, as many as :func:`reference_rows` gives.
        folder: the run's folder; results go to ``weights/``, scores to ``scores/``.
        key: the fingerprint of all that the weights depend on; they keep it.
    """
    settings, machine = recipe.weights, prepared.machine
    steps = _steps(recipe, prepared, prepared.tokens(base), settings.steps)
    rows = reference_rows(recipe, prepared.facts.sizes)
    loads = {key: _loader(prepared, path) for key, path in references.items()}
    # In stage 1's own micro-batches, proxy = reference gives M = 1 in bf16 too. With two references nothing can be
    # equal, and each distinct text is embedded once instead.
    chunk = settings.chunk_rows if len(references) == 1 else None
    choice = _choice(rows, prepared.facts.sizes)
    similarities = score_plan(loads, steps, folder / "scores", machine, choice, chunk_rows=chunk)
    wait_for_everyone(machine)

    untrained = _untrained_losses(recipe, prepared, base, folder)
    seen, unseen = _seen_and_unseen(recipe, prepared.facts, steps, similarities, rows)
    reference = losses_by_task(steps, similarities, settings.temperature)
    weak = reference_warnings(reference, untrained, settings.solved_below)
    for warning in [*weak, *memorisation_warnings(seen, unseen)]:
        say(f"warning: {warning}", machine.main)

    load = prepared.loader(base, dropout=False)
    learner, health = learn(load, steps, similarities, settings, folder / "weights", machine, recipe.seed)
    if machine.main:
        write_json(folder / "weights" / "health.json", health.summary(untrained, seen, unseen))
        provenance = {
            "recipe": recipe.name,
            "seed": recipe.seed,
            "steps": settings.steps,
            "eta_times_steps": settings.eta_value * settings.steps,
            "base": base.fingerprint,
            "references": list(references),
            "mixture": prepared.inputs["mixture"],
            "inputs": key,
        }
        TaskWeights(learner.names, learner.weights.values, provenance).save(folder / "weights" / "weights.json")
    wait_for_everyone(machine)


def _steps(recipe: Recipe, prepared: Prepared, data: TokenizedMixture, count: int) -> PlannedSteps:
    """The mixed plan's first ``count`` steps."""
    settings, machine, sizes = recipe.weights, prepared.machine, prepared.facts.sizes
    subset = None
    if settings.stage1_rows == "held_out":
        subset = split_rows(sizes, settings.held_out_share, recipe.seed)[1]
    available = [len(rows) for rows in subset] if subset else sizes
    plan = MixedPlan(available, settings.batch, count, recipe.seed, settings.sampling)
    return PlannedSteps(data, plan, settings.negatives, text_labels, machine.rank, machine.world, subset)


def _choice(rows: Sequence[list[Ints] | None], sizes: Sequence[int]) -> Callable[[StepRows], Ints]:
    """Which reference scores a row: with two, the one that was trained on the other half."""
    halves = [part for part in rows if part is not None]
    if len(halves) < 2:
        return one_reference
    half = part_of(halves, sizes)

    def other_half(step: StepRows) -> Ints:
        return np.asarray([1 - half[task][row] for task, row in zip(step.task, step.row, strict=True)], dtype=np.int64)

    return other_half


def _loader(prepared: Prepared, path: Path) -> Callable[[], SentenceTransformer]:
    return lambda: prepared.load(path)


def _untrained_losses(recipe: Recipe, prepared: Prepared, base: BaseModel, folder: Path) -> dict[str, float]:
    """The untrained base's loss per task, on the first rows of the plan."""
    settings = recipe.weights
    count = min(settings.steps, -(-_ROWS_FOR_UNTRAINED * len(prepared.facts.names) // settings.batch))
    steps = _steps(recipe, prepared, prepared.tokens(base), count)
    models = {base.fingerprint: _loader(prepared, base.path)}
    similarities = score_plan(models, steps, folder / "scores", prepared.machine, title="scoring the untrained base")
    wait_for_everyone(prepared.machine)
    return losses_by_task(steps, similarities, settings.temperature)


def _seen_and_unseen(
    recipe: Recipe,
    facts: DataFacts,
    steps: PlannedSteps,
    similarities: NDArray[np.float32],
    rows: Sequence[list[Ints] | None],
) -> tuple[dict[str, float], dict[str, float]]:
    """The reference's loss per task on planned rows that stage 0 read, and on those that it did not."""
    temperature = recipe.weights.temperature
    if len(rows) > 1:  # every row is scored by the reference that has not seen it
        return {}, losses_by_task(steps, similarities, temperature)
    plan = reference_job(recipe, facts, rows[0]).plan(steps.data)
    read = seen_rows(PlannedSteps(steps.data, plan, 0, text_labels, subset=rows[0]))
    return (
        losses_by_task(steps, similarities, temperature, read),
        losses_by_task(steps, similarities, temperature, lambda step: ~read(step)),
    )
