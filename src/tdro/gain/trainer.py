"""The trainer of the proxy: at the beginning of each round it measures the gains, and in between it trains by α.

Which task a step reads depends on α, which is known only when the step's round has begun. The loader is a batch ahead
of the training, so its item is the number of the step alone, and the batch is put together when it is trained on. See
docs/decisions.md, gain-steps-as-items.

A trial goes through the trainer's own pieces (loss, autocast, gradients of all ranks, clipping, optimizer), so whatever
a training can do a trial can. See docs/decisions.md, gain-trials-in-the-trainer and gain-trains-by-alpha.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tdro.gain.learner import GainLearner
from tdro.gain.losses import HeldOutLosses
from tdro.gain.rounds import Rounds
from tdro.gain.trials import TrainingState, gains
from tdro.machine import Machine
from tdro.recipe.training_sections import Training
from tdro.training.in_batch_loss import InBatchLoss
from tdro.training.progress_bar import ProgressBar
from tdro.training.schedules import learning_rate_multiplier
from tdro.training.steps import PlannedSteps, TokenizedMixture, text_labels
from tdro.training.tracking import NOT_TRACKED, TrackedRun
from tdro.training.trainer import PlannedTrainer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_KEY = "tdro_gain"  # under this key in the trainer's state


class StepNumbers(Dataset[dict[str, Any]]):
    """What the loader gives: the number of each step, and nothing else.

    Args:
        steps: how many.
        world: how many ranks share a batch.
    """

    def __init__(self, steps: int, world: int) -> None:
        self.steps, self.world = steps, world

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, Any]:
        return {"step": torch.tensor(step)}

    def loader(self) -> DataLoader[dict[str, Any]]:
        """A loader of the numbers in order."""
        return DataLoader(self, batch_size=1, shuffle=False, collate_fn=lambda items: items[0])


class GainTrainer(PlannedTrainer):
    """Train the proxy in rounds, and learn α.

    Args:
        model: the proxy, with dropout off.
        loss: the fine-tuning loss around it.
        data: the tasks' rows.
        trained: for each task the rows to train on.
        held_out: measures the losses on other rows, or on the target.
        rounds: which steps a round has.
        learner: moves α.
        settings: of the training; its steps are those of ``rounds``.
        folder: where checkpoints are written, and where training continues from the newest one.
        machine: device, precision and ranks.
        tracked: the trackers that are told the loss and α.

    Raises:
        UserError: the batch cannot be cut into equal parts, one a rank.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        loss: InBatchLoss,
        data: TokenizedMixture,
        trained: list[NDArray[np.int64]],
        held_out: HeldOutLosses,
        rounds: Rounds,
        learner: GainLearner,
        settings: Training,
        folder: Path,
        machine: Machine,
        tracked: TrackedRun = NOT_TRACKED,
    ) -> None:
        self.rounds, self.learner, self.held_out = rounds, learner, held_out
        self.losses: list[list[float]] = []  # on the held-out rows, at the beginning of each round
        self._data, self._trained, self._machine, self._negatives = data, trained, machine, settings.negatives
        self._trials = [self._batches(rounds.trial(task)) for task in range(len(trained))]
        self._training: PlannedSteps | None = None
        self._bar = TrialBar("measuring the gains", rounds, len(trained))
        super().__init__(
            model,
            loss,
            cast(PlannedSteps, StepNumbers(rounds.steps, machine.world)),
            settings,
            folder,
            rounds.seed,
            bf16=machine.bf16,
            device=machine.device,
            callbacks=[GainState(self), self._bar],
            title="learning the weights by transfer gain",
            tracked=tracked,
            also_track=lambda last: {f"alpha/{name}": weight for name, weight in learner.weights.items()},
        )

    def get_train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The numbers of the steps; their batches cannot be made ahead."""
        return StepNumbers(self.rounds.steps, self._machine.world).loader()

    def task_names(self, step: int) -> list[str]:
        """The tasks of a step's batch, for errors."""
        assert self._training is not None
        return self._training.task_names(step)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Train on the batch of a step; if a round begins with it, measure and move α first."""
        step = int(inputs["step"])
        if (number := self.rounds.begins_at(step)) is not None:
            self._begin_round(model, number)
        if self._training is None:
            self._training = self._batches(self.rounds.training(self.learner.alphas))
        return super().training_step(model, self._training[step], num_items_in_batch)

    def _begin_round(self, model: nn.Module, number: int) -> None:
        """Measure the gains, and have α and the steps of the round follow from them."""
        before = self._measure()
        state = TrainingState(self.model, _inner(self.optimizer))
        self._set_learning_rate(self.rounds.middle(number))
        matrix = gains(
            state, len(self._trials), before, lambda task: self._try_task(model, task, number), self._measure
        )
        self.learner.update(matrix)
        self.losses.append(before.tolist())
        self._training = None

    def _measure(self) -> NDArray[np.float64]:
        return self.held_out.measure(self.model)

    def _try_task(self, model: nn.Module, task: int, number: int) -> None:
        """Train the steps of a trial on a task, at the learning rate of the middle of the round.

        See docs/decisions.md, gain-trial-rate.
        """
        self._set_learning_rate(self.rounds.middle(number))
        assert self.optimizer is not None
        for turn in range(self.rounds.trial_steps):
            super().training_step(model, self._trials[task][number * self.rounds.trial_steps + turn])
            if self.args.max_grad_norm > 0:
                self.accelerator.clip_grad_norm_(model.parameters(), self.args.max_grad_norm)
            self.optimizer.step()
            model.zero_grad()
        self._bar.count(self.rounds.trial_steps)

    def _set_learning_rate(self, step: float) -> None:
        settings = self._settings
        factor = learning_rate_multiplier(settings.schedule, step, self.rounds.steps, settings.warmup, settings.floor)
        for group in _inner(self.optimizer).param_groups:
            group["lr"] = settings.learning_rate * factor

    def _batches(self, plan: Any) -> PlannedSteps:
        machine = self._machine
        return PlannedSteps(self._data, plan, self._negatives, text_labels, machine.rank, machine.world, self._trained)


class GainState(TrainerCallback):
    """Keeps α and the matrices in a training's checkpoints, and restores them from there.

    Args:
        trainer: whose learner it is.
    """

    def __init__(self, trainer: GainTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Have the held-out rows ready, and restore the state if training goes on from a checkpoint."""
        self.trainer.held_out.prepare(self.trainer._prepare_inputs, self.trainer.collect_features)
        if state.global_step:
            kept = cast(dict[str, Any], state.stateful_callbacks)[_KEY]
            self.trainer.learner.load_state_dict(kept["learner"])
            self.trainer.losses = kept["losses"]

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Put the state into the trainer's, which the next checkpoint holds."""
        kept = {"learner": self.trainer.learner.state_dict(), "losses": self.trainer.losses}
        cast(dict[str, Any], state.stateful_callbacks)[_KEY] = kept


class TrialBar(ProgressBar):
    """A bar over the steps of the training and of all trials.

    Args:
        title: stands before the bar.
        rounds: of the training.
        tasks: how many.
    """

    def __init__(self, title: str, rounds: Rounds, tasks: int) -> None:
        super().__init__(title)
        self.rounds, self.a_round = rounds, tasks * rounds.trial_steps

    def extent(self, state: TrainerState) -> tuple[int, int]:
        """Steps and trials, all of them and those that are done."""
        begun = sum(self.rounds.first(number) < state.global_step for number in range(self.rounds.rounds))
        return state.max_steps + self.rounds.rounds * self.a_round, state.global_step + begun * self.a_round

    def count(self, steps: int) -> None:
        """Count the steps of a trial."""
        if self.bar is not None:
            self.bar.update(steps)


def _inner(optimizer: Any) -> torch.optim.Optimizer:
    """torch's optimizer inside accelerate's."""
    return cast(torch.optim.Optimizer, getattr(optimizer, "optimizer", optimizer))
