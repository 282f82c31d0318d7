"""TDROCallback: keeps α in the checkpoints of any ``SentenceTransformerTrainer``, and restores it from them.

The trainer writes ``trainer_state.json`` into every checkpoint and reads it, on each rank, before it goes on from one.
α is put into that file: it holds the step too, so α and step always belong together, and JSON keeps a float to the bit.
See docs/decisions.md, alpha-in-the-trainer-state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from datasets import ClassLabel, Value
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tdro.dro.loss import TDROLoss
from tdro.dro.step_guard import refuse_accumulation
from tdro.errors import UserError

_KEY = "tdro"  # under this key in the trainer's state


class TDROCallback(TrainerCallback):
    """Keeps the task weights of a :class:`tdro.TDROLoss` in a trainer's checkpoints, and restores them from there.

    Without it a training that goes on from a checkpoint would start again from uniform weights; ``TDROLoss`` refuses
    that.

    Args:
        loss: a ``TDROLoss``, or a loss around one such as ``MatryoshkaLoss``.

    Requirements:
        Give it to the trainer in both runs: the one that writes the checkpoints, and the one that goes on from them.

    Raises:
        ValueError: ``loss`` neither is nor contains exactly one ``TDROLoss``.
        UserError: when training starts: gradients are accumulated, the labels are texts or number the tasks in another
            order than the learner, or the checkpoint has no task weights or those of other tasks.

    Example::

        loss = TDROLoss(model, learner, reference)
        trainer = SentenceTransformerTrainer(model=model, ..., loss=loss, callbacks=[TDROCallback(loss)])
        trainer.train(resume_from_checkpoint="out/checkpoint-500")
    """

    def __init__(self, loss: nn.Module) -> None:
        found = [module for module in loss.modules() if isinstance(module, TDROLoss)]
        if len(found) != 1:
            raise ValueError(f"TDROCallback is for one TDROLoss; {type(loss).__name__} has {len(found)}")
        self.loss = found[0]

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Restore α if training goes on from a checkpoint."""
        refuse_accumulation(args.gradient_accumulation_steps > 1)
        _check_labels(getattr(kwargs.get("train_dataloader"), "dataset", None), self.loss.learner.names)
        self.loss.guard.kept_in(state)
        if not state.global_step:
            return
        if _KEY not in _states(state):
            raise UserError(
                f"the checkpoint of step {state.global_step} has no task weights: it was written without "
                "TDROCallback.\nTrain anew with it; to keep the model, load it from the checkpoint and do not resume."
            )
        self.loss.load_dro_state(_states(state)[_KEY])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Put α into the trainer's state, which the next checkpoint holds."""
        _states(state)[_KEY] = self.loss.dro_state()


def _check_labels(rows: Any, tasks: Sequence[str]) -> None:
    """Refuse labels that are texts, or class labels whose numbers are not the tasks' places in the learner."""
    features = getattr(rows, "features", None) or {}
    for column in {"label", "labels"} & set(features):
        label, order = features[column], f"WeightLearner({list(tasks)})"
        if isinstance(label, Value) and label.dtype in ("string", "large_string"):
            raise UserError(
                f"column '{column}': holds texts; TDROLoss needs numbers, each task's place in {order}.\n"
                f"Cast it: train_dataset.cast_column('{column}', ClassLabel(names={list(tasks)}))"
            )
        if isinstance(label, ClassLabel) and label.names not in ([*tasks], [str(place) for place in range(len(tasks))]):
            raise UserError(
                f"column '{column}': numbers the tasks as {label.names}, but the learner is {order}.\n"
                f"Give the learner the same names: WeightLearner(train_dataset.features['{column}'].names, ...)"
            )


def _states(state: TrainerState) -> dict[str, Any]:
    return cast(dict[str, Any], state.stateful_callbacks)  # typed as a list too, which it is only in its constructor
