"""Train the proxy on mixed batches and learn α from the reference's scores.

The stock trainer trains the proxy with :class:`tdro.TDROLoss`. The reference is not in memory: its losses are computed
from the similarities that were scored before. Dropout is off, because with it α would depend on how a batch is cut into
micro-batches.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed

from tdro.data.plan.row_plans import StepRows
from tdro.disk import writing
from tdro.dro.callback import TDROCallback
from tdro.dro.health import HealthMonitor, health_values
from tdro.dro.infonce import infonce_from_similarities
from tdro.dro.learner import WeightLearner
from tdro.dro.loss import TDROLoss
from tdro.dro.stage_one.reference_losses import ReferenceLosses
from tdro.files import write_json, write_jsonl
from tdro.machine import Machine
from tdro.recipe.training_sections import LearnWeights
from tdro.training.checkpoints import newest_checkpoint
from tdro.training.progress_bar import ProgressBar
from tdro.training.steps import PlannedSteps
from tdro.training.tracking import NOT_TRACKED, TrackedRun
from tdro.training.trainer import PlannedTrainer, training_log
from tdro.weights import TaskWeights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from tdro.data.tokens.mixture_index import StepTexts

logger = logging.getLogger(__name__)


def learn(
    load: Callable[[], SentenceTransformer],
    steps: PlannedSteps,
    similarities: NDArray[np.float32] | None,
    settings: LearnWeights,
    folder: Path,
    machine: Machine,
    seed: int,
    tracked: TrackedRun = NOT_TRACKED,
    losses: ReferenceLosses | None = None,
) -> tuple[WeightLearner, HealthMonitor]:
    """Learn the weights; an interrupted run is continued.

    Leaves ``steps.jsonl`` (α and measures of each step), ``log.jsonl`` and ``training.json`` in ``folder``.

    Args:
        load: gives the proxy's base model, fresh, with dropout off.
        steps: the mixed plan and its data; its ``labels`` are replaced.
        similarities: the reference's, (T, B, 1 + N), from :func:`tdro.dro.stage_one.scoring.score_plan`; None for the
            measure ``raw``, which needs no reference.
        settings: the recipe's ``weights`` section.
        folder: where the results go. Checkpoints lie in ``folder/training``; whoever keeps the results removes them.
        machine: device, precision and ranks.
        seed: of fresh adapters and of the trainer.
        tracked: the trackers that are told α, the measures and the losses of each task, and the health at the end.
        losses: what the reference can do, for that health.

    Returns:
        The learner after the last step, and the health of the run.

    Raises:
        UserError: a loss that is not finite.
    """
    started = time.monotonic()
    names = [task.name for task in steps.data.index.tasks]
    sizes = {task.name: len(task) for task in steps.data.index.tasks}
    initial = TaskWeights.proportional(sizes) if settings.initial == "rows" else None
    learner = WeightLearner(names, settings.eta_value, settings.max_norm, initial, settings.absent)
    average = settings.averaged_steps(len(names)) if settings.measure == "relative" else 1
    logger.info(
        "eta %.4g x %d steps = %.3g: about how far log alpha can move; measures averaged over %d step(s)",
        settings.eta_value,
        settings.steps,
        settings.eta_value * settings.steps,
        average,
    )
    steps.labels = reference_labels(similarities, settings.temperature)
    set_seed(seed)  # for fresh adapters; the trainer sets it too, but only after they are made
    model = load()
    loss = TDROLoss(
        model,
        learner,
        temperature=settings.temperature,
        measure=settings.measure,
        offset=settings.offset,
        floor=settings.solved_below,
        average_steps=average,
        mini_batch_size=settings.chunk_rows,
        gradient_caching=settings.gradient_caching,
    )
    working = folder / "training"
    working.mkdir(parents=True, exist_ok=True)
    # On the main rank only: it rewrites the log here, which another rank could be reading.
    log = [StepLog(folder / "steps.jsonl", loss, newest_checkpoint(working))] if machine.main else []
    trainer = PlannedTrainer(
        model,
        loss,
        steps,
        settings,
        working,
        seed,
        bf16=machine.bf16,
        device=machine.device,
        callbacks=[ProgressBar("learning the weights"), TDROCallback(loss), *log],
        title="learning the weights",
        tracked=tracked,
        also_track=lambda last: _tracked_values(loss, names, losses, last),
    )
    trainer.run()
    if machine.main:
        write_jsonl(folder / "log.jsonl", training_log(trainer))
        write_json(
            folder / "training.json",
            {"seconds": round(time.monotonic() - started, 2), "averaged_steps": average, "eta": settings.eta_value},
        )
    trainer.accelerator.wait_for_everyone()
    return learner, loss.health


def _tracked_values(
    loss: TDROLoss, names: Sequence[str], losses: ReferenceLosses | None, last: bool
) -> dict[str, float | str]:
    """What trackers are told besides the loss: the values of each task in the newest step, and the health if it is the
    last one."""
    values: dict[str, float | str] = {} if loss.last is None else {**loss.last.by_task(names)}
    if last:
        known = (losses.untrained, losses.seen, losses.unseen) if losses else ()
        values |= health_values(loss.health.summary(*known))
    return values


def reference_labels(
    similarities: NDArray[np.float32] | None, temperature: float
) -> Callable[[int, StepRows, StepTexts], NDArray]:
    """A function that gives the labels of a step for :class:`tdro.TDROLoss`.

    They are (B, 3) float64: the task of each row, the reference's loss (NaN without similarities), and the row's number
    in its task.
    """

    def labels(step: int, rows: StepRows, texts: StepTexts) -> NDArray:
        losses = np.full(len(rows), np.nan)
        if similarities is not None:
            scores = torch.from_numpy(np.array(similarities[step]))
            losses = infonce_from_similarities(scores, temperature).double().numpy()
        return np.stack([rows.task, losses, rows.row], axis=1).astype(np.float64)

    return labels


class StepLog(TrainerCallback):
    """Writes a line to ``steps.jsonl`` after each step.

    Args:
        path: of the log.
        loss: whose steps are logged.
        checkpoint: from which a run goes on; lines of later steps are removed, for those steps come again. None starts
            an empty log.
    """

    def __init__(self, path: Path, loss: TDROLoss, checkpoint: Path | None) -> None:
        self.path, self.loss = path, loss
        done = int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0
        kept = [line for line in _whole_lines(path) if line["step"] < done] if done else []
        write_jsonl(path, kept)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write the line of the step that was just done."""
        if self.loss.last is not None:
            with writing(self.path), self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.loss.last.as_line()) + "\n")


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, without a last one that its writer was killed in the middle of."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
