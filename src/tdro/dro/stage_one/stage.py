"""Stage 1 from its inputs to ``weights.json``: score the planned rows, judge the reference, learn the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tdro.console import say
from tdro.data.plan.row_plans import HomogeneousPlan
from tdro.dro.stage_one.choose_alpha import save_learned
from tdro.dro.stage_one.learn import learn
from tdro.dro.stage_one.plan import StageOnePlan
from tdro.dro.stage_one.reference_losses import ReferenceLosses, losses_by_task, rows_read
from tdro.dro.stage_one.scoring import score_plan
from tdro.files import write_json
from tdro.machine import Machine, wait_for_everyone
from tdro.recipe.training_sections import LearnWeights
from tdro.training.steps import PlannedSteps, TokenizedMixture, text_labels
from tdro.training.tracking import NOT_TRACKED, TrackedRun

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_UNTRAINED_ROWS = 32  # of each task, about: what the untrained base is judged by

LoadModel = Callable[[], "SentenceTransformer"]


@dataclass(frozen=True)
class StageOne:
    """What stage 1 is made from.

    Attributes:
        settings: the recipe's ``weights`` section.
        seed: the recipe's.
        plan: who reads which rows.
        data: the rows of the tasks, as tokens of the base.
        reference_batches: the rows that the one reference was trained on, by step; None where there are two, each of
            which scores only what it has not seen.
        references: loads each reference, by the fingerprint of what it was made from.
        untrained: the same of the base as it is.
        load_proxy: gives the base that is trained, fresh, with dropout off.
        machine: device, precision and ranks.
        tracked: the trackers that stage 1 reports to.
    """

    settings: LearnWeights
    seed: int
    plan: StageOnePlan
    data: TokenizedMixture
    reference_batches: HomogeneousPlan | None
    references: Mapping[str, LoadModel]
    untrained: Mapping[str, LoadModel]
    load_proxy: LoadModel
    machine: Machine
    tracked: TrackedRun = NOT_TRACKED

    def steps(self, count: int | None = None) -> PlannedSteps:
        """The batches of stage 1: all of them, or so many from the first."""
        batches = self.plan.batches if count is None else self.plan.first(count)
        machine, negatives = self.machine, self.settings.negatives
        return PlannedSteps(
            self.data, batches, negatives, text_labels, machine.rank, machine.world, self.plan.proxy_rows
        )


def learn_weights(stage: StageOne, folder: Path, provenance: Mapping[str, Any]) -> None:
    """Do stage 1. Leaves ``weights/`` (``weights.json`` last) and ``scores/`` in the run's folder.

    Args:
        stage: what it is made from.
        folder: the run's folder.
        provenance: what ``weights.json`` says of where the weights come from.
    """
    settings, machine = stage.settings, stage.machine
    steps = stage.steps()
    # Scoring in stage 1's own micro-batches gives a proxy that equals the reference M = 1, in bf16 too. Two references
    # cannot both equal the proxy, so there each distinct text is embedded once, which is faster.
    chunk = None if stage.plan.cross_fits else settings.chunk_rows
    similarities = score_plan(
        stage.references, steps, folder / "scores", machine, stage.plan.reference_of, chunk_rows=chunk
    )
    wait_for_everyone(machine)

    losses = _reference_losses(stage, steps, similarities, folder)
    for warning in losses.warnings(settings.solved_below):
        say(f"warning: {warning}", machine.main)

    learner, health = learn(
        *(stage.load_proxy, steps, similarities, settings, folder / "weights", machine, stage.seed),
        tracked=stage.tracked,
        losses=losses,
    )
    if machine.main:
        summary = health.summary(losses.untrained, losses.seen, losses.unseen)
        write_json(folder / "weights" / "health.json", summary)
        save_learned(learner, settings.alpha, folder / "weights", provenance)
    wait_for_everyone(machine)


def _reference_losses(
    stage: StageOne, steps: PlannedSteps, similarities: NDArray[np.float32], folder: Path
) -> ReferenceLosses:
    temperature = stage.settings.temperature
    untrained = _untrained_losses(stage, folder)
    reference = losses_by_task(steps, similarities, temperature)
    if stage.reference_batches is None:  # every row was scored by a reference that has not seen it
        return ReferenceLosses(untrained, reference, {}, reference)
    subset = stage.plan.reference_rows[0]
    read = rows_read(PlannedSteps(stage.data, stage.reference_batches, 0, text_labels, subset=subset))
    seen = losses_by_task(steps, similarities, temperature, read)
    unseen = losses_by_task(steps, similarities, temperature, lambda rows: ~read(rows))
    return ReferenceLosses(untrained, reference, seen, unseen)


def _untrained_losses(stage: StageOne, folder: Path) -> dict[str, float]:
    """The untrained base's loss of each task, over the first rows of the plan."""
    settings = stage.settings
    count = min(settings.steps, -(-_UNTRAINED_ROWS * len(stage.plan.sizes) // settings.batch))
    steps = stage.steps(count)
    similarities = score_plan(
        stage.untrained, steps, folder / "scores", stage.machine, title="scoring the untrained base"
    )
    wait_for_everyone(stage.machine)
    return losses_by_task(steps, similarities, settings.temperature)
