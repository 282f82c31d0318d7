"""TDROCallback: α in the checkpoints of anybody's trainer, and back from them.

The trainer writes ``trainer_state.json`` into every checkpoint, and reads it on each rank before it goes on from one.
α is put there, in the file that has the step, so the two are always of the same step. As JSON it is the same to the
bit. Rejected: a file of our own, which is missing where a run was killed between the two; and the trainer's own way of
restoring callbacks, which is off by default and makes new ones.
"""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tdro.dro.loss import TDROLoss
from tdro.dro.step_guard import refuse_accumulation
from tdro.errors import UserError

_KEY = "tdro"  # in the trainer's state


class TDROCallback(TrainerCallback):
    """Keeps α in a trainer's checkpoints, and restores it where training goes on from one.

    In the run that writes checkpoints and in the one that goes on from them::

        loss = TDROLoss(model, learner, reference)
        trainer = SentenceTransformerTrainer(..., loss=loss, callbacks=[TDROCallback(loss)])
        trainer.train(resume_from_checkpoint=...)

    Args:
        loss: the loss whose α it is, or a loss around it, such as ``MatryoshkaLoss``.

    Raises:
        ValueError: it is not, and has not inside, one ``TDROLoss``.
        UserError: when training starts, if gradients are accumulated, or the checkpoint has no α or that of other
            tasks.
    """

    def __init__(self, loss: nn.Module) -> None:
        found = [module for module in loss.modules() if isinstance(module, TDROLoss)]
        if len(found) != 1:
            raise ValueError(f"TDROCallback is for one TDROLoss; {type(loss).__name__} has {len(found)}")
        self.loss = found[0]

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Restore α, where training goes on from a checkpoint."""
        refuse_accumulation(args.gradient_accumulation_steps > 1)
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
        """Put α where the next checkpoint will have it."""
        _states(state)[_KEY] = self.loss.dro_state()


def _states(state: TrainerState) -> dict[str, Any]:
    return cast(dict[str, Any], state.stateful_callbacks)  # a list is what it is made from
