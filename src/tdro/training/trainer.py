"""sentence-transformers' trainer, reading the steps of a plan; after a kill, training continues where it was.

:class:`PlannedTrainer` changes the stock trainer in six ways:

- its loader gives the steps of the plan, to each rank its part, and makes them ahead in a thread; nothing is shuffled
  or distributed after that;
- a checkpoint is written under another name and renamed, so a kill while it is written leaves the one before;
- the learning rate has a floor, and a static model gets sparse gradients and SparseAdam, which touch only the rows of
  the tokens that were seen;
- a loss that is NaN or infinite ends the training, before a checkpoint is written;
- where it evaluates while it trains, the checkpoint of the best step stays (:mod:`tdro.training.development`);
- with FSDP, checkpoints are the same as without (:mod:`tdro.training.sharded`).

Everything else (ranks, precision, optimizer, resuming) is the stock trainer's. See docs/decisions.md, stock-trainer.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from torch import nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, TrainerCallback

from tdro.disk import writing
from tdro.errors import UserError
from tdro.machine import wants_shards
from tdro.models.cuda import attention_of_any_shape
from tdro.recipe.training_sections import Training
from tdro.training import checkpoints, sharded
from tdro.training.arguments import training_arguments
from tdro.training.development import Development, KeepBest, best, best_checkpoint, curve
from tdro.training.finite_loss import FirstBadStep
from tdro.training.schedules import schedule
from tdro.training.steps import PlannedSteps
from tdro.training.tracking import NOT_TRACKED, TrackedRun

_KEPT_CHECKPOINTS = 2


class PlannedTrainer(SentenceTransformerTrainer):
    """Train a model on the steps of a plan.

    Args:
        model: the model that is trained.
        loss: a loss over the columns of the plan's batches.
        steps: this rank's batches.
        settings: the recipe's training settings.
        folder: where checkpoints are written, and where training continues from the newest one.
        seed: of dropout, and of whatever else is random in the model.
        bf16: autocast to bfloat16.
        device: the one device of this process: ``cpu``, ``mps``, ``cuda:1``, …
        callbacks: more callbacks.
        title: what errors call the training.
        development: evaluates the model while it trains; None: nothing does. Then the best step's checkpoint is kept
            for :meth:`load_best`.
        tracked: the trackers that are reported to.
        also_track: more values for trackers, at each line of the log; it is told whether the line is the last one.

    Raises:
        UserError: a loss that is NaN or infinite; it names the step and its tasks.

    Example::

        PlannedTrainer(model, InBatchLoss(model), PlannedSteps(...), settings, folder, seed=1).run()
    """

    def __init__(
        self,
        model: SentenceTransformer,
        loss: nn.Module,
        steps: PlannedSteps,
        settings: Training,
        folder: Path,
        seed: int,
        bf16: bool = False,
        device: str = "cpu",
        callbacks: list[TrainerCallback] | None = None,
        title: str = "training",
        development: Development | None = None,
        tracked: TrackedRun = NOT_TRACKED,
        also_track: Callable[[bool], Mapping[str, float | str]] | None = None,
    ) -> None:
        self._steps, self._settings, self._folder, self._title = steps, settings, folder, title
        self._bad, self._tracked, self._also_track = FirstBadStep(), tracked, also_track
        self._writing = False
        # SparseAdam takes sparse gradients only, so a static model with a dense layer is trained as any other model.
        embeddings = [module for module in model.modules() if isinstance(module, nn.EmbeddingBag)]
        nothing_else = len(list(model.parameters())) == len(embeddings)
        self._sparse = embeddings if nothing_else else []
        for module in self._sparse:
            module.sparse = True
        arguments = training_arguments(
            settings,
            folder,
            rows=max(1, settings.batch // steps.world),
            evaluate_every=development.every if development else 0,
            sparse=bool(self._sparse),
            **{"bf16": bf16, "only_device": device, "seed": seed},
            **tracked.arguments(),
        )
        sparse = (torch.optim.SparseAdam, {"lr": settings.learning_rate}) if self._sparse else None
        with tracked.environment():
            super().__init__(
                model=model,
                args=arguments,
                loss=loss,
                evaluator=development.evaluator if development else None,
                callbacks=[*(callbacks or ()), *([KeepBest(development.patience)] if development else [])],
                optimizer_cls_and_kwargs=sparse,
            )
        self.remove_callback(PrinterCallback)

    def run(self) -> None:
        """Train, from the newest checkpoint if there is one, to the last step."""
        checkpoint = checkpoints.newest_checkpoint(self._folder, best_checkpoint)
        shutil.rmtree(self._folder / "writing", ignore_errors=True)
        if checkpoint is not None and self.is_fsdp_enabled:
            self._load_from_checkpoint(str(checkpoint))  # now, while the model is not in shards yet
        try:
            # Around the backward pass too, where gradient checkpointing runs layers again.
            with attention_of_any_shape(), self._tracked.environment():
                self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            self._refuse_non_finite()
        finally:
            for module in self._sparse:
                module.sparse = False

    def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
        """Evaluate, and leave the random numbers of the training as they were."""
        device = self.args.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            return super().evaluate(*arguments, **named)

    def load_best(self) -> None:
        """Give the model the weights of the best step, if it was evaluated while it trained."""
        found = best(curve(self.state.log_history))
        if found is not None and found.step != self.state.global_step:
            self._load_from_checkpoint(str(self._folder / f"checkpoint-{found.step}"))

    def create_accelerator_and_postprocess(self) -> None:
        """Set up accelerate as the launcher says, and FSDP on CPUs too, where accelerate ignores it."""
        super().create_accelerator_and_postprocess()
        if self.is_fsdp_enabled or wants_shards():
            sharded.set_up(self.accelerator.state, self.model)
            self.is_fsdp_enabled = True

    def get_train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The plan's steps as they are: every rank reads its own part, so accelerate need not distribute them."""
        return self._steps.loader(pinned=self.args.device.type == "cuda")

    def _prepare_input(self, data: Any) -> Any:
        """Move a batch to the device. Labels of float64 stay on the CPU beside Apple's GPUs, which have no float64."""
        if isinstance(data, torch.Tensor):
            if data.dtype == torch.float64 and self.args.device.type == "mps":
                return data
            if self.args.device.type == "cuda" and data.is_pinned():  # the stock trainer would wait for the GPU here
                return data.to(self.args.device, non_blocking=True)
        return super()._prepare_input(data)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Train on a batch, and look whether its loss is finite."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._bad.note(loss, self.state.global_step)
        return loss

    def task_names(self, step: int) -> list[str]:
        """The tasks of a step's batch, for errors."""
        return self._steps.task_names(step)

    def log(self, logs: dict[str, float], *arguments: Any, **named: Any) -> None:
        """Log, and tell the trackers more; but raise if a loss was not finite."""
        self._refuse_non_finite()
        last = "train_runtime" in logs
        if self._also_track and self._tracked.trackers and (last or "loss" in logs):
            logs = {**logs, **self._also_track(last)}  # type: ignore[dict-item]
        super().log(logs, *arguments, **named)

    def _refuse_non_finite(self) -> None:
        """Raise :class:`UserError` if a step's loss was not finite."""
        if (step := self._bad.step()) is None:
            return
        names = self.task_names(step)
        of = ", ".join(f"'{name}'" for name in names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        raise UserError(
            f"{self._title}: the loss of step {step} is not finite (NaN or infinite); its batch is of {of}.\n"
            "Lower learning_rate, raise temperature or set precision: fp32 in the recipe, or look for broken rows with "
            "`tdro data check`; the last checkpoint is kept."
        )

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The recipe's schedule, with warm-up and floor."""
        if self.lr_scheduler is None:
            self.lr_scheduler = schedule(
                optimizer or self.optimizer,  # type: ignore[arg-type]
                self._settings.schedule,
                num_training_steps,
                self._settings.warmup,
                self._settings.floor,
            )
        return self.lr_scheduler

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """The gradient's norm for the log; None for sparse gradients, whose norm torch cannot compute."""
        return None if self._sparse else super()._get_grad_norm(model, grad_norm=grad_norm)

    def _get_output_dir(self, trial: Any) -> str:
        """The folder that the stock trainer writes checkpoints into: another one until a checkpoint is complete."""
        return str(self._folder / "writing") if self._writing else str(self._folder)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._refuse_non_finite()
        name = f"checkpoint-{self.state.global_step}"
        written = self._folder / "writing" / name
        self._writing = True
        try:
            with writing(self._folder / name):
                super()._save_checkpoint(model, trial)
        except OSError:  # a full disk: remove the part that was written
            shutil.rmtree(self._folder / "writing", ignore_errors=True)
            raise
        finally:
            self._writing = False
        # Every rank writes its random state into the checkpoint; rename it only after all have done so.
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            with writing(self._folder / name):
                found = best(curve(self.state.log_history))
                kept = self._folder / f"checkpoint-{found.step}" if found else None
                checkpoints.finish(written, self._folder / name, _KEPT_CHECKPOINTS, kept)
        self.accelerator.wait_for_everyone()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the model on rank 0. If it is in shards, every rank must call it."""
        with sharded.whole_parameters(self.model):
            if self.args.should_save:
                self._save(output_dir)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Write the model, without a model card (it has not been evaluated) and without pickled arguments."""
        self.model.save_pretrained(str(output_dir or self.args.output_dir), create_model_card=False)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        assert self.optimizer is not None and self.lr_scheduler is not None
        state = sharded.whole_state(self.optimizer)
        if self.args.should_save:
            torch.save(state, Path(output_dir, "optimizer.pt"))
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir, "scheduler.pt"))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or not self.is_fsdp_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        assert self.optimizer is not None and self.lr_scheduler is not None
        optimizer, scheduler = (
            torch.load(Path(checkpoint, name), map_location="cpu", weights_only=True)
            for name in ("optimizer.pt", "scheduler.pt")
        )
        sharded.load_whole_state(self.optimizer, optimizer)
        self.lr_scheduler.load_state_dict(scheduler)

    def _load_from_checkpoint(self, checkpoint_path: str, model: nn.Module | None = None) -> None:
        """Load the weights of a checkpoint.

        With FSDP the stock trainer calls it again for the model in shards (``model`` is given then), which has the
        weights by then; see :meth:`run`.
        """
        if model is None:
            super()._load_from_checkpoint(checkpoint_path)


def training_log(trainer: PlannedTrainer) -> list[dict[str, Any]]:
    """The trainer's log, one dict for each line: step, epoch, loss, learning_rate, grad_norm (where there is one)."""
    keys = ("step", "epoch", "loss", "learning_rate", "grad_norm")
    # A checkpoint sorts the keys of earlier lines; here all lines have the same order.
    return [{key: entry[key] for key in keys if key in entry} for entry in trainer.state.log_history if "loss" in entry]
