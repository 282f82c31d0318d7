"""Stages 0 and 2: fine-tune an embedder on batches of one task each, whose tasks are drawn by weight.

The reference of stage 0 (uniform weights) and the models of stage 2 (any weights) differ in their weights only, so
:func:`finetune` trains both. While it trains, checkpoints lie in ``<folder>.training``; the finished model is renamed
into ``<folder>``. The pipeline removes the checkpoints once it has noted that the model is there.
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from transformers import set_seed

from tdro.console import say
from tdro.data.plan.row_plans import HomogeneousPlan
from tdro.data.plan.task_order import draw_tasks, most_steps
from tdro.disk import writing
from tdro.errors import UserError
from tdro.files import remove_whole, write_json, write_jsonl
from tdro.machine import Machine
from tdro.models.adapters import adapter_findings
from tdro.models.saving import PLAIN, Saving, save_model, set_prompts_and_similarity
from tdro.recipe.finetune_section import Finetune
from tdro.recipe.training_sections import Training
from tdro.training.development import MEASURE, Development, best, curve
from tdro.training.finite_loss import check_finite
from tdro.training.gradient_factors import GradientFactors
from tdro.training.in_batch_loss import InBatchLoss
from tdro.training.progress_bar import ProgressBar
from tdro.training.sharded import whole_parameters
from tdro.training.steps import PlannedSteps, TokenizedMixture, text_labels
from tdro.training.tracking import NOT_TRACKED, TrackedRun
from tdro.training.trainer import PlannedTrainer, training_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.evaluation import BaseEvaluator

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinetuneJob:
    """One fine-tuning: what :func:`finetune` is asked to do.

    Attributes:
        title: what the progress bar and errors call it.
        mixture: the name of the weights, for ``training.json``.
        weights: the share of the batches that each of the k tasks gets, shape (k,), but for the last, uniform steps
            that the settings may ask for.
        settings: steps, batch, learning rate and so on, from the recipe.
        seed: of the order of the rows and of dropout.
        draw: how the tasks of the batches are drawn: ``systematic`` (evenly spread, each task within one batch of its
            share) or ``random``.
        subset: for each task the rows that may be read; None: all rows.
        hard_negatives_only: tasks, as numbers, whose rows use their own hard negatives and no other row's passages.
        factors: what each task's gradients are multiplied by, shape (k,); None: nothing is multiplied.
    """

    title: str
    mixture: str
    weights: NDArray[np.float64]
    settings: Training
    seed: int
    draw: Literal["systematic", "random"] = "systematic"
    subset: list[NDArray[np.int64]] | None = None
    hard_negatives_only: tuple[int, ...] = ()
    factors: NDArray[np.float64] | None = None

    def plan(self, data: TokenizedMixture) -> HomogeneousPlan:
        """Which rows each step of this fine-tuning reads."""
        sizes = [len(rows) for rows in self.subset] if self.subset else [len(task) for task in data.index.tasks]
        limit = self.settings.max_epochs if isinstance(self.settings, Finetune) else None
        most = most_steps(sizes, self.settings.batch, limit)
        tasks = draw_tasks(self.weights, self.settings.steps, self.seed, self.draw, most, self.uniform_steps)
        return HomogeneousPlan(sizes, self.settings.batch, tasks, self.seed)

    @property
    def uniform_steps(self) -> int:
        """How many of the last steps sample all tasks equally, whatever the weights are."""
        return self.settings.uniform_steps if isinstance(self.settings, Finetune) else 0

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of embeddings that the loss is summed over; empty for all embeddings as they are."""
        return self.settings.matryoshka if isinstance(self.settings, Finetune) else ()

    def development(self, evaluator: BaseEvaluator | None) -> Development | None:
        """How often the evaluator scores the model, and when the training ends early; None without one."""
        if evaluator is None or not isinstance(self.settings, Finetune):
            return None
        return Development(evaluator, self.settings.evaluate_every, self.settings.patience)

    def step_factors(self, plan: HomogeneousPlan) -> NDArray[np.float64] | None:
        """What each step's gradient is multiplied by, shape (steps,); 1 in the last, uniform steps."""
        if self.factors is None:
            return None
        factors = self.factors[plan.tasks]
        factors[plan.steps - self.uniform_steps :] = 1.0
        return factors


def finetune(
    load: Callable[[], SentenceTransformer],
    data: TokenizedMixture,
    job: FinetuneJob,
    folder: Path,
    machine: Machine,
    saving: Saving = PLAIN,
    evaluator: BaseEvaluator | None = None,
    tracked: TrackedRun = NOT_TRACKED,
) -> None:
    """Fine-tune a model and write it to ``folder``, with ``training.json`` and ``log.jsonl``; continue if interrupted.

    Args:
        load: loads the base model.
        data: the tasks' rows, tokenized for this model.
        job: weights, settings and seed.
        folder: where the finished model goes; the checkpoints go to ``<folder>.training``, which stays.
        machine: device, precision and ranks.
        saving: the prompts that the model is saved with, and whether its adapters are merged.
        evaluator: scores the model while it trains, as often as the settings say; the best step's model is written.
            None: it is not scored, and the last step's is.
        tracked: the trackers that the training reports to.

    Raises:
        UserError: a task uses only hard negatives and the settings have none, or a loss or a trained parameter is not
            finite.
    """
    if job.hard_negatives_only and not job.settings.negatives:
        name = data.index.tasks[job.hard_negatives_only[0]].name
        raise UserError(f"{job.title}: task {name!r} takes no in-batch negatives; set negatives to at least 1")
    working = folder.with_name(folder.name + ".training")
    started = time.monotonic()
    plan = job.plan(data)
    set_seed(job.seed)  # for the random start of adapters; the trainer sets it too, but after they are made
    model = load()
    loss = InBatchLoss(
        model,
        job.settings.temperature,
        job.settings.chunk_rows,
        job.settings.gradient_caching,
        job.hard_negatives_only,
        job.sizes,
    )
    steps = PlannedSteps(data, plan, job.settings.negatives, text_labels, machine.rank, machine.world, job.subset)
    trainer = PlannedTrainer(
        model,
        loss,
        steps,
        job.settings,
        working,
        job.seed,
        bf16=machine.bf16,
        device=machine.device,
        callbacks=[
            ProgressBar(job.title),
            *([] if (factors := job.step_factors(plan)) is None else [GradientFactors(factors)]),
        ],
        title=job.title,
        development=job.development(evaluator),
        tracked=tracked,
    )
    if evaluator is not None:  # the model is scored as it will be saved
        set_prompts_and_similarity(model, saving)
    trainer.run()
    with whole_parameters(model):
        if machine.main:
            trainer.load_best()
            check_finite(model, job.title)
            for finding in adapter_findings(model):
                logger.warning("%s: %s", job.title, finding)
            log = training_log(trainer)
            record = _record(job, data, plan, trainer, log, time.monotonic() - started)
            _write(model, saving, record, log, working / "model", folder)
            if kept := best(curve(trainer.state.log_history)):
                score = f"{MEASURE} {100 * kept.score:.1f} on the development sets"
                say(f"{job.title}: kept as it was after step {kept.step} of {trainer.state.global_step}, with {score}")
    trainer.accelerator.wait_for_everyone()


def _write(
    model: SentenceTransformer, saving: Saving, record: dict[str, object], log: list[dict], written: Path, folder: Path
) -> None:
    """Write the finished model into ``written``, and rename that to ``folder`` once all of it is there."""
    shutil.rmtree(written, ignore_errors=True)  # a full disk or a kill may have left a part of it
    with writing(folder):
        write_jsonl(written / "log.jsonl", log)
        write_json(written / "training.json", record)
        save_model(model, written, saving)
        remove_whole(folder)
        written.rename(folder)


def _record(
    job: FinetuneJob,
    data: TokenizedMixture,
    plan: HomogeneousPlan,
    trainer: PlannedTrainer,
    log: list[dict],
    seconds: float,
) -> dict[str, object]:
    """The content of ``training.json``: weights, rows drawn and epochs of each task, first and last loss, seconds.

    The rows are those that the kept model was trained on. If it was scored in its training, ``development`` has the
    curve, its best step (which is kept) and the last one.
    """
    names, evaluations = [task.name for task in data.index.tasks], curve(trainer.state.log_history)
    kept = best(evaluations)
    drawn = np.bincount(plan.tasks[: kept.step if kept else None], minlength=len(names)) * plan.batch
    scored: dict[str, object] = {}
    if kept is not None:
        scored = {"best_step": kept.step, "last_step": trainer.state.global_step}
        scored["curve"] = [each.as_dict() for each in evaluations]
    return {
        "mixture": job.mixture,
        "seed": job.seed,
        "weights": dict(zip(names, job.weights.tolist(), strict=True)),
        "steps": plan.steps,
        "batch": plan.batch,
        "rows_drawn": dict(zip(names, drawn.tolist(), strict=True)),
        "epochs": dict(zip(names, (drawn / plan.sizes).tolist(), strict=True)),
        "seconds": round(seconds, 2),
        "first_loss": log[0]["loss"] if log else None,
        "last_loss": log[-1]["loss"] if log else None,
        "settings": job.settings.model_dump(mode="json"),
        **({"development": scored} if scored else {}),
    }
