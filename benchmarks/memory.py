"""Peak memory of fine-tuning, measured, against what `tdro plan` says.

    python benchmarks/memory.py

Each setting trains a few steps in a process of its own, on the task with the longest texts, and reads its largest
resident size (Linux). Measured is what came on top of the process as it was before the model was loaded; the estimate
is that of :func:`tdro.planning.plan.make_plan` for the same settings and the whole sample mixture. See README.md beside
this file.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import peft  # noqa: F401  # this and torch._dynamo: what training imports late is not the model's memory
import torch._dynamo  # noqa: F401
from material import MODELS, material
from transformers import TrainerCallback

from tdro.console import quiet_libraries
from tdro.data.plan.row_plans import HomogeneousPlan
from tdro.files import write_json
from tdro.machine import this_machine
from tdro.models.load import load_model
from tdro.planning.plan import make_plan
from tdro.recipe.finetune_section import Finetune
from tdro.recipe.schema import Recipe
from tdro.run.training_data import mixture_on_disk
from tdro.training.in_batch_loss import InBatchLoss
from tdro.training.steps import PlannedSteps, text_labels
from tdro.training.trainer import PlannedTrainer

QUERY_TOKENS, PASSAGE_TOKENS = 64, 128
_ADAPTERS = {"lora": {"r": 8, "alpha": 32.0, "dropout": 0.1}, "gradient_checkpointing": True}
_CACHED = {"gradient_caching": True}
# name: key of material.MODELS, what differs in the base, what differs in the training
SETTINGS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "smollm2-6-layers": ("smollm2", {}, {}),
    "smollm2-6-layers-cached": ("smollm2", {}, _CACHED),
    "minilm": ("minilm", {}, {}),
    "minilm-cached": ("minilm", {}, _CACHED),
    "smollm2-lora-checkpointed": ("smollm2-all", _ADAPTERS, {}),
    "smollm2-lora-checkpointed-cached": ("smollm2-all", _ADAPTERS, _CACHED),
}


def main() -> None:
    """Measure the settings, print the table, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64, help="rows a step")
    parser.add_argument("--chunk-rows", type=int, default=32, help="texts in a micro-batch")
    parser.add_argument("--negatives", type=int, default=3)
    parser.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "memory.json")
    parser.add_argument("--measure", choices=list(SETTINGS), help=argparse.SUPPRESS)  # what a child does
    arguments = parser.parse_args()
    quiet_libraries()
    recipe = _recipe(arguments)
    if arguments.measure:
        print(json.dumps(_measure(arguments.measure, recipe)))
        return
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as `tdro run` has them
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    figures = {}
    estimates = {e.training.stage: e.memory for e in make_plan(recipe, mixture_on_disk(recipe)).estimates}
    for model in {SETTINGS[name][0] for name in arguments.only}:
        material(model, QUERY_TOKENS, PASSAGE_TOKENS)  # built here, so that the children only read it
    print(f"{'MB':34}{'estimate':>10}{'measured':>10}{'ratio':>7}{'process':>10}{'texts':>8}{'tokens/s':>10}")
    for name in arguments.only:
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--measure", name], stdout=subprocess.PIPE, text=True, check=True
        )
        m, found = estimates[name], json.loads(done.stdout.splitlines()[-1])
        parts = {part: getattr(m, part) / 1e6 for part in ("weights", "gradients", "optimizer", "activations")}
        estimate = sum(parts.values())
        figures[name] = {"estimate": estimate, "ratio": estimate / found["measured"], **found, "parts": parts}
        print(
            f"{name:34}{estimate:10.0f}{found['measured']:10.0f}{estimate / found['measured']:7.2f}"
            f"{found['process']:10.0f}{found['texts']:8.0f}{found['tokens_per_second']:10.0f}",
            flush=True,
        )
    write_json(arguments.json, figures)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    """A recipe with a group of fine-tunings for each setting."""
    shared = {
        **{name: getattr(arguments, name) for name in ("steps", "batch", "chunk_rows", "negatives")},
        **{"temperature": 0.05, "warmup_steps": 0.0, "mixtures": ["uniform"]},
    }
    groups = [
        {"name": name, **shared, **of_training, "base": {**MODELS[model].model_dump(exclude_none=True), **of_base}}
        for name, (model, of_base, of_training) in SETTINGS.items()
        if name in arguments.only
    ]
    return Recipe.model_validate(
        {
            **{"name": "memory", "device": "cpu", "precision": arguments.precision, "base": groups[0]["base"]},
            "data": {"mixture": "sample", "query_tokens": QUERY_TOKENS, "passage_tokens": PASSAGE_TOKENS},
            "finetune": groups,
        }
    )


def _measure(name: str, recipe: Recipe) -> dict[str, float | list[float]]:
    """What a training takes, in MB, and its speed in tokens a second.

    ``process`` is what the process takes with its imports, ``texts`` what the texts and tokens take that it then reads,
    ``measured`` what training takes on top of both, and ``after_each_step`` how that peak grew.
    """
    process = _status("VmRSS")
    made = material(SETTINGS[name][0], QUERY_TOKENS, PASSAGE_TOKENS)
    tokens = [made.data.passages.lengths[task.positives.values].mean() for task in made.data.index.tasks]
    group = next(group for group in recipe.finetune if group.name == name)
    tasks = np.full(group.steps, np.argmax(tokens))
    plan = HomogeneousPlan([len(task) for task in made.data.index.tasks], group.batch, tasks, seed=1)
    steps = PlannedSteps(made.data, plan, group.negatives, text_labels)

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free goes back, or training would use it unseen
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    with tempfile.TemporaryDirectory() as folder:
        seconds, peaks = _train(made.base, steps, group, Path(folder), this_machine("cpu", recipe.precision).bf16)
    return {
        "measured": _status("VmHWM") - before,
        "after_each_step": [peak - before for peak in peaks],
        "process": process,
        "texts": before - process,
        "tokens_per_second": _tokens(steps) / seconds,
    }


def _tokens(steps: PlannedSteps) -> int:
    """Tokens that all steps train on, without padding."""
    texts = [steps.rows(step)[1] for step in range(len(steps))]
    lengths = steps.data.queries.lengths, steps.data.passages.lengths
    return sum(int(lengths[0][each.query].sum() + lengths[1][each.passages].sum()) for each in texts)


class _Peaks(TrainerCallback):
    """Notes the process's peak after each step, in MB."""

    def __init__(self) -> None:
        self.peaks: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.peaks.append(_status("VmHWM"))


def _train(path: Path, steps: PlannedSteps, group: Finetune, folder: Path, bf16: bool) -> tuple[float, list[float]]:
    """How many seconds the steps took, and the process's peak after each of them."""
    base = group.base
    assert base is not None
    model = load_model(
        path, device="cpu", trained=True, lora=base.lora, gradient_checkpointing=base.gradient_checkpointing
    )
    loss = InBatchLoss(model, group.temperature, group.chunk_rows, group.gradient_caching)
    trainer = PlannedTrainer(model, loss, steps, group, folder, seed=1, bf16=bf16, device="cpu")
    noted = _Peaks()
    trainer.add_callback(noted)
    started = time.perf_counter()
    trainer.run()
    return time.perf_counter() - started, noted.peaks


def _status(key: str) -> float:
    """A line of this process's status, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024 / 1e6


if __name__ == "__main__":
    main()
