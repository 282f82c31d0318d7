"""The stock trainer's arguments for a recipe's training settings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tdro.recipe.training_sections import Training
from tdro.training.one_device import OneDeviceArguments


def training_arguments(
    settings: Training, folder: Path, rows: int, evaluate_every: int, sparse: bool, **others: Any
) -> OneDeviceArguments:
    """The arguments of :class:`tdro.training.trainer.PlannedTrainer`.

    Args:
        settings: the recipe's.
        folder: where checkpoints are written.
        rows: how many rows of a batch this rank has.
        evaluate_every: evaluate the model after every so many steps; 0: never.
        sparse: whether the gradients are sparse. Their norm cannot be computed, so they are not clipped.
        others: more arguments: device, precision, seed, trackers.
    """
    return OneDeviceArguments(
        output_dir=str(folder),
        max_steps=settings.steps,
        per_device_train_batch_size=rows,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=0.0 if sparse else 1.0,
        use_cpu=others["only_device"] == "cpu",
        save_strategy="steps" if settings.checkpoint_steps else "no",
        save_steps=settings.checkpoint_steps or settings.steps,
        eval_strategy="steps" if evaluate_every else "no",
        eval_steps=evaluate_every or None,
        # The log has the mean loss of so many steps. A checkpoint must not fall between two lines, because a run that
        # is continued there would average over fewer steps. An evaluation may write one too.
        logging_steps=math.gcd(settings.checkpoint_steps, evaluate_every, max(1, min(10, settings.steps // 10))),
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        # The planned steps have no last part to drop; without it, sentence-transformers warns of it under DDP.
        dataloader_drop_last=True,
        dataloader_pin_memory=others["only_device"].startswith("cuda"),
        # BERT has a pooler that mean pooling does not use; without this, DDP would wait for its gradient.
        ddp_find_unused_parameters=True,
        ddp_broadcast_buffers=False,
        **others,
    )
