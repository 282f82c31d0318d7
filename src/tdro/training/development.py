"""Evaluation in a training: the curve of the scores on development sets, its best step, and when to stop early.

Everything is read from the trainer's log, which every checkpoint holds. So nothing else has to be kept, and a training
that is continued sees the same curve. See docs/decisions.md, best-step-from-the-log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tdro.files import read_json

if TYPE_CHECKING:
    from sentence_transformers.base.evaluation import BaseEvaluator

MEASURE = "ndcg@10"
_PREFIX = "eval_"  # the trainer puts it before the names of an evaluator's scores


@dataclass(frozen=True)
class Development:
    """How a model is evaluated while it trains.

    Attributes:
        evaluator: scores it; among the scores, ``ndcg@10`` says which step is best, and each ``<name>_ndcg@10`` is
            that of a development set.
        every: how many steps there are between two evaluations. There is one after the last step besides.
        patience: the training ends when the score has not risen in so many evaluations in a row; None: never.
    """

    evaluator: BaseEvaluator
    every: int
    patience: int | None = None


@dataclass(frozen=True)
class Evaluated:
    """The scores after a step: their mean, and that of each development set, in [0, 1]."""

    step: int
    score: float
    sets: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """As ``training.json`` has it."""
        return {"step": self.step, "score": self.score, "sets": self.sets}


def curve(log: Sequence[Mapping[str, Any]]) -> list[Evaluated]:
    """The evaluations in a trainer's log (``state.log_history``), in order."""
    ending = f"_{MEASURE}"
    return [
        Evaluated(
            int(entry["step"]),
            float(entry[_PREFIX + MEASURE]),
            {
                key.removeprefix(_PREFIX).removesuffix(ending): float(value)
                for key, value in entry.items()
                if key.startswith(_PREFIX) and key.endswith(ending) and key != _PREFIX + MEASURE
            },
        )
        for entry in log
        if _PREFIX + MEASURE in entry
    ]


def best(evaluations: Sequence[Evaluated]) -> Evaluated | None:
    """The evaluation with the highest score, the first of equal ones; None if there are none."""
    return max(evaluations, key=lambda each: each.score, default=None)


def best_checkpoint(checkpoint: Path) -> Path:
    """The checkpoint of the best step so far, as the log in a complete checkpoint says; itself if none is known."""
    found = best(curve(read_json(checkpoint / "trainer_state.json").get("log_history", ())))
    return checkpoint if found is None else checkpoint.with_name(f"checkpoint-{found.step}")


class KeepBest(TrainerCallback):
    """Has a checkpoint written wherever the score is the highest so far, and ends a training whose score rises no more.

    Args:
        patience: see :class:`Development`.
    """

    def __init__(self, patience: int | None) -> None:
        self.patience = patience

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Look at the score that was just logged."""
        evaluations = curve(state.log_history)
        highest = best(evaluations)
        assert highest is not None
        since = len(evaluations) - 1 - evaluations.index(highest)
        if since == 0:
            control.should_save = True
        elif self.patience is not None and since >= self.patience:
            control.should_training_stop = True
            # A training that is continued from a checkpoint of this step would train on. From the one before, it comes
            # here again.
            control.should_save = False
