"""A tiny stage of transfer gain. The kind is a model's; ``target`` is a static model with a target of three parts."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np

import tiny
from tdro.gain.losses import HeldOutSet
from tdro.gain.stage import GainStage
from tdro.gain.target import TargetSet
from tdro.machine import this_machine
from tdro.recipe.training_sections import Gain, Training

TASKS = [tiny.task(f"t{number}", rows=12 + 6 * number) for number in range(3)]


def job(kind: str, folder: Path, tasks: list[Any] = TASKS, **changes: Any) -> GainStage:
    """Three rounds of three steps; a change is of a key of the recipe's ``gain`` or ``reference``."""
    gain: dict[str, Any] = {"rounds": 3, "trial_steps": 2}
    training: dict[str, Any] = {"steps": 9, "batch": 4, "temperature": 0.05, "learning_rate": 1e-2, "chunk_rows": 5}
    training |= {"negatives": 1, "checkpoint_steps": 2}
    for key, value in changes.items():
        (gain if key in Gain.model_fields and key != "steps" else training)[key] = value
    folder.mkdir(parents=True, exist_ok=True)
    model = tiny.model("static" if kind == "target" else kind, folder, layers=1)
    return GainStage(
        settings=Gain(**gain),
        training=Training(**training),
        seed=3,
        data=tiny.tokenized(model, tasks),
        hard_negatives_only=(1,) if training["negatives"] else (),
        load_proxy=lambda: copy.deepcopy(model),
        machine=this_machine("cpu", "fp32"),
        target=target(model) if kind == "target" else None,
    )


def target(model: Any) -> list[TargetSet]:
    """Two development sets, and the held-out rows of the task t2."""
    data = tiny.tokenized(model, [tiny.task("shop", rows=11, seed=5), tiny.task("help", rows=14, seed=6)])
    sets = [
        HeldOutSet(task.name, data, number, np.arange(len(task)), 3, all_answers=True)
        for number, task in enumerate(data.index.tasks)
    ]
    return [TargetSet("shop", 0.5, sets[0]), TargetSet("t2", 0.2), TargetSet("help", 0.3, sets[1])]
