"""sentence-transformers' trainer, reading a plan and writing checkpoints that are whole or not there.

What is changed, and why:

- the loader gives the plan's steps, each rank its slice; nothing is sharded or shuffled behind the plan's back;
- a checkpoint is written beside its place and renamed, so a kill in the middle of writing leaves the one before;
- the learning rate has a floor; a static embedding gets sparse gradients and SparseAdam, which touch only the rows
  seen;
- with FSDP (:mod:`tdro.training.sharded`) a checkpoint is the same as without.

Everything else (ranks, precision, optimizer, resuming) is the stock trainer's. Rejected: a training loop of our own.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from torch import nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tdro.disk import writing
from tdro.errors import UserError
from tdro.machine import wants_shards
from tdro.recipe.schema import Training
from tdro.training import checkpoints, sharded
from tdro.training.one_device import OneDeviceArguments
from tdro.training.schedules import schedule
from tdro.training.steps import PlannedSteps

_KEPT_CHECKPOINTS = 2


class PlannedTrainer(SentenceTransformerTrainer):
    """Train a model on a plan.

    Args:
        model: what is trained.
        loss: a loss over the columns of the plan's batches.
        steps: the plan's batches of this rank.
        settings: the recipe's training settings.
        folder: where checkpoints go; continued from the newest one.
        seed: of dropout, and whatever else the model draws.
        bf16: autocast to bfloat16.
        device: the one device of this process: ``cpu``, ``mps``, ``cuda:1``, …
        callbacks: more callbacks.
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
    ) -> None:
        self._steps, self._settings, self._folder = steps, settings, folder
        self._writing = False
        # SparseAdam takes no other gradients: what has a dense layer too is trained as any model is.
        bags = [module for module in model.modules() if isinstance(module, nn.EmbeddingBag)]
        alone = len(list(model.parameters())) == len(bags)
        self._sparse = bags if alone else []
        for module in self._sparse:
            module.sparse = True
        super().__init__(
            model=model,
            args=OneDeviceArguments(
                output_dir=str(folder),
                max_steps=settings.steps,
                per_device_train_batch_size=max(1, settings.batch // steps.world),
                learning_rate=settings.learning_rate,
                weight_decay=settings.weight_decay,
                max_grad_norm=0.0 if self._sparse else 1.0,
                bf16=bf16,
                use_cpu=device == "cpu",
                only_device=device,
                seed=seed,
                save_strategy="steps" if settings.checkpoint_steps else "no",
                save_steps=settings.checkpoint_steps or settings.steps,
                # A window of the log must not straddle a checkpoint: a run continued there would average over less.
                logging_steps=math.gcd(settings.checkpoint_steps, max(1, min(10, settings.steps // 10))),
                logging_nan_inf_filter=False,
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=device.startswith("cuda"),
                # BERT has a pooler that mean pooling never reads; without this, ranks wait for its gradient.
                ddp_find_unused_parameters=True,
                ddp_broadcast_buffers=False,
            ),
            loss=loss,
            callbacks=callbacks,
            optimizer_cls_and_kwargs=(torch.optim.SparseAdam, {"lr": settings.learning_rate}) if self._sparse else None,
        )
        self.remove_callback(PrinterCallback)

    def run(self) -> None:
        """Train, from the newest checkpoint if there is one, to the last step."""
        checkpoint = checkpoints.newest_checkpoint(self._folder)
        shutil.rmtree(self._folder / "writing", ignore_errors=True)
        if checkpoint is not None and self.is_fsdp_enabled:
            self._load_from_checkpoint(str(checkpoint))  # while it is whole
        try:
            self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        finally:
            for module in self._sparse:
                module.sparse = False

    def create_accelerator_and_postprocess(self) -> None:
        """Accelerate as the launcher has set it up; with FSDP on CPUs too."""
        super().create_accelerator_and_postprocess()
        if self.is_fsdp_enabled or wants_shards():
            sharded.set_up(self.accelerator.state, self.model)
            self.is_fsdp_enabled = True

    def get_train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The plan's steps as they are: every rank reads its own slice, so nothing is left to shard."""
        return self._steps.loader()

    def _prepare_input(self, data: Any) -> Any:
        """Move a batch to the device; labels of float64 stay where they are for Apple's GPUs, which have no float64."""
        if isinstance(data, torch.Tensor) and data.dtype == torch.float64 and self.args.device.type == "mps":
            return data
        return super()._prepare_input(data)

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
        """The gradient's norm for the log; torch has none for sparse gradients."""
        return None if self._sparse else super()._get_grad_norm(model, grad_norm=grad_norm)

    def _get_output_dir(self, trial: Any) -> str:
        """Where the stock trainer puts a checkpoint: out of sight while it is being written."""
        return str(self._folder / "writing") if self._writing else str(self._folder)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        name = f"checkpoint-{self.state.global_step}"
        written = self._folder / "writing" / name
        self._writing = True
        try:
            with writing(self._folder / name):
                super()._save_checkpoint(model, trial)
        except OSError:  # what there is of it only takes room
            shutil.rmtree(self._folder / "writing", ignore_errors=True)
            raise
        finally:
            self._writing = False
        # All ranks have written their random states before the folder gets its name.
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            with writing(self._folder / name):
                checkpoints.finish(written, self._folder / name, _KEPT_CHECKPOINTS)
        self.accelerator.wait_for_everyone()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the model, from rank 0; if it is sharded, all ranks must come here."""
        with sharded.whole_parameters(self.model):
            if self.args.should_save:
                self._save(output_dir)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """The model without a model card (it has not been evaluated) and without pickled arguments."""
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
        """Read the weights. The stock trainer asks once more for those of a model of shards, which has them."""
        if model is None:
            super()._load_from_checkpoint(checkpoint_path)


class ProgressBar(TrainerCallback):
    """One bar with rate and ETA, and the last loss at its end."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: tqdm | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar, at the step that training continues from."""
        if state.is_world_process_zero:
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.title, unit="step")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """One step further."""
        if self.bar is not None:
            self.bar.update(1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the mean loss since the last time."""
        if self.bar is not None and logs and "loss" in logs:
            self.bar.set_postfix_str(f"loss {logs['loss']:.3f}")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()


def training_log(trainer: PlannedTrainer) -> list[dict[str, Any]]:
    """What was logged, one dict per logged step: step, epoch, loss, learning_rate, grad_norm (where there is one)."""
    keys = ("step", "epoch", "loss", "learning_rate", "grad_norm")
    # A checkpoint sorts the keys of what was logged before it; here they are always in the same order.
    return [{key: entry[key] for key in keys if key in entry} for entry in trainer.state.log_history if "loss" in entry]


def check_finite(model: nn.Module, title: str) -> None:
    """Raise :class:`UserError` if a trained model holds NaN or inf."""
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise UserError(
                f"{title}: parameter {name} is not finite after training.\n"
                "Lower learning_rate or raise temperature in the recipe."
            )
