"""The stage of a recipe that learns weights by transfer gain: from its inputs to ``weights/gain/weights.json``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from transformers import set_seed

from tdro.console import say
from tdro.errors import UserError
from tdro.files import write_json, write_jsonl
from tdro.gain.held_out import hold_out
from tdro.gain.learner import GainLearner
from tdro.gain.losses import HeldOutLosses, HeldOutSet
from tdro.gain.rounds import Rounds
from tdro.gain.target import TargetSet, target_names
from tdro.gain.trainer import GainTrainer
from tdro.gain.words import gains_sentence
from tdro.machine import Machine, wait_for_everyone, wants_shards
from tdro.recipe.training_sections import Gain, Training
from tdro.training.finite_loss import check_finite
from tdro.training.in_batch_loss import InBatchLoss
from tdro.training.steps import TokenizedMixture
from tdro.training.tracking import NOT_TRACKED, TrackedRun
from tdro.training.trainer import training_log
from tdro.weights import TaskWeights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True)
class GainStage:
    """What the stage is made from.

    Attributes:
        settings: the recipe's ``gain`` section.
        training: the settings of the proxy's training.
        seed: the recipe's.
        data: the rows of the tasks, as tokens of the base.
        hard_negatives_only: tasks, as numbers, whose rows use no other row's passages.
        load_proxy: gives the base that is trained, fresh, with dropout off.
        machine: device, precision and ranks.
        target: what the gain is measured on; None for the held-out rows of every task.
        tracked: the trackers that the proxy's training reports to.
    """

    settings: Gain
    training: Training
    seed: int
    data: TokenizedMixture
    hard_negatives_only: tuple[int, ...]
    load_proxy: Callable[[], SentenceTransformer]
    machine: Machine
    target: Sequence[TargetSet] | None = None
    tracked: TrackedRun = NOT_TRACKED


def learn_gain(stage: GainStage, folder: Path, provenance: Mapping[str, Any]) -> GainLearner:
    """Do the stage; an interrupted one is continued.

    Leaves ``gain.json`` (matrices, α and held-out losses of the rounds), ``log.jsonl``, ``training.json`` and, last,
    ``weights.json`` in ``folder``. Checkpoints lie in ``folder/training``; whoever keeps the results removes them.

    Args:
        stage: what it is made from.
        folder: where the results go.
        provenance: what ``weights.json`` says of where the weights come from.

    Raises:
        UserError: FSDP is asked for (see docs/decisions.md, gain-without-fsdp), or a loss is not finite.
    """
    if wants_shards():
        raise UserError(
            "gain: the proxy cannot be trained with FSDP; learn the weights without it, or on a smaller base"
        )
    started, machine, settings, training = time.monotonic(), stage.machine, stage.settings, stage.training
    tasks = stage.data.index.tasks
    names, sizes = [task.name for task in tasks], [len(task) for task in tasks]
    trained, held = hold_out(sizes, settings.held_out_rows, stage.seed)
    rounds = Rounds(
        training.steps,
        settings.rounds,
        settings.trial_steps,
        training.batch,
        tuple(len(rows) for rows in trained),
        stage.seed,
    )
    target = target_of(stage, names, held)
    learner = GainLearner(
        *(names, settings.rounds, settings.move, settings.floor),
        counts=[each.share for each in target],
        helped=target_names(target),
    )
    set_seed(stage.seed)  # for fresh adapters; the trainer sets it too, but only after they are made
    model = stage.load_proxy()
    hard_only = stage.hard_negatives_only
    loss = InBatchLoss(model, training.temperature, training.chunk_rows, training.gradient_caching, hard_only)
    held_out = HeldOutLosses(
        [each.rows for each in target if each.rows], training.temperature, training.chunk_rows, stage.seed, machine
    )
    trainer = GainTrainer(
        *(model, loss, stage.data, trained, held_out, rounds, learner, training, folder / "training", machine),
        tracked=stage.tracked,
    )
    trainer.run()
    check_finite(model, "gain")
    if machine.main:
        result = gain_record(learner, trainer.losses, sizes, [len(rows) for rows in held], settings)
        if stage.target is not None:
            result["target"] = target_record(target)
        write_json(folder / "gain.json", result)
        write_jsonl(folder / "log.jsonl", training_log(trainer))
        write_json(folder / "training.json", {"seconds": round(time.monotonic() - started, 2)})
        shares = None if stage.target is None else learner.shares
        say(f"gain: {gains_sentence(names, np.mean(learner.matrices, axis=0), shares)}")
        TaskWeights(learner.names, learner.mean.values, dict(provenance)).save(folder / "weights.json")
    wait_for_everyone(machine)
    return learner


def target_of(stage: GainStage, names: Sequence[str], held: Sequence[NDArray[np.int64]]) -> list[TargetSet]:
    """What the gain is measured on, with its rows: the target's sets, or the held-out rows of every task, equally."""

    def task(number: int, share: float) -> TargetSet:
        hard_only = number in stage.hard_negatives_only
        rows = HeldOutSet(names[number], stage.data, number, held[number], stage.training.negatives, hard_only)
        return TargetSet(names[number], share, rows)

    if stage.target is None:
        return [task(number, 1 / len(names)) for number in range(len(names))]
    return [each if each.rows else task(names.index(each.name), each.share) for each in stage.target]


def target_record(target: Sequence[TargetSet]) -> dict[str, Any]:
    """What ``gain.json`` says of a target: the columns of the matrix, how much each counts, and on how many rows it was
    measured."""
    return {
        "names": target_names(target),
        "shares": [each.share for each in target],
        "rows": [len(each.rows.rows) if each.rows else 0 for each in target],
    }


def gain_record(
    learner: GainLearner, losses: list[list[float]], sizes: list[int], held: list[int], settings: Gain
) -> dict[str, Any]:
    """The content of ``gain.json`` without a target; rows of a matrix are trained on, columns are helped."""
    state = learner.state_dict()
    return {
        "format": "tdro-gain/1",
        "names": state["names"],
        "rows": sizes,
        "held_out_rows": held,
        "settings": settings.model_dump(mode="json", exclude={"target"}),
        "alphas": state["alphas"],
        "losses": losses,
        "matrices": state["matrices"],
    }
