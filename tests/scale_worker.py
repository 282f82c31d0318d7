"""What a rank of ``test_scale.py`` does, and of ``test_ranks.py`` before.

Every scenario trains a few steps on the same global batches, whose first half (rank 0's) has short texts and whose
other half long ones. Kept are, per rank, the gradient that each optimizer step saw and in which order micro-batches
were embedded and gradients exchanged, and from rank 0 the finished model.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers.base.losses.gradcache import CachedLossMixin
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim.optimizer import register_optimizer_step_pre_hook

import rank_worker
import tdro.training.finetune
import tiny
import tiny_mixture
from tdro.data.plan.row_plans import HomogeneousPlan, StepRows
from tdro.evaluation.evaluate_models import evaluate_models
from tdro.files import read_jsonl, write_jsonl
from tdro.machine import Machine
from tdro.models.load import load_model
from tdro.recipe.training_sections import Training
from tdro.training.finetune import FinetuneJob, finetune

SETTINGS = Training(steps=3, batch=8, negatives=1, temperature=0.05, learning_rate=1e-3, chunk_rows=5, weight_decay=0.1)
# name: model, sharded, gradient caching
SCENARIOS = {
    "ddp lora, gradient caching": ("lora", False, True),
    "fsdp encoder, gradient caching": ("encoder-0", True, True),
    "fsdp lora": ("lora", True, False),
    "fsdp lora, gradient caching": ("lora", True, True),
}
EVENTS: list[str] = []


class ShortThenLong(HomogeneousPlan):
    """Rows of even numbers, which are short, before the others."""

    def step(self, step: int) -> StepRows:
        rows = super().step(step)
        order = np.argsort(rows.row % 2, kind="stable")
        return StepRows(rows.task[order], rows.row[order], rows.visit[order])


class UnevenJob(FinetuneJob):
    def plan(self, data):
        plan = super().plan(data)
        return ShortThenLong(plan.sizes, plan.batch, plan.tasks, plan.seed)


def tasks():
    """Two tasks whose rows of odd numbers have texts of 20 words and more."""
    more = " ".join(tiny.WORDS[:20])
    made = []
    for name in ("a", "b"):
        task = tiny.task(name, rows=24)
        rows = [
            {
                **row,
                "query": f"{row['query']} {more}",
                "positives": [f"{text} {more}" for text in row["positives"]],
                "negatives": [f"{text} {more}" for text in row["negatives"]],
            }
            if number % 2
            else row
            for number, row in enumerate(task.rows)
        ]
        made.append(replace(task, rows=Dataset.from_list(rows)))
    return made


def make_models(out: Path) -> None:
    """What all ranks load; once, before there are ranks (transformers saves on the first of them only)."""
    rank_worker.make_models(out)
    tiny.decoder(out / "parts" / "lora").save_pretrained(str(out / "lora"), create_model_card=False)
    tiny_mixture.mixture(out / "mixture", tasks=2)
    queries = read_jsonl(out / "mixture" / "tests" / "unseen" / "queries.jsonl")
    write_jsonl(out / "trained.jsonl", [{"query": queries[3]["text"], "positive": "w1 w2"}])
    (out / "static-0" / "README.md").write_text(f"---\ndatasets:\n- {out}/trained.jsonl\n---\n")


def load(kind: str, out: Path, dropout: float = 0.0):
    if kind == "lora":
        lora = SimpleNamespace(r=4, alpha=8.0, dropout=dropout)
        return load_model(out / "lora", device="cpu", lora=lora, gradient_checkpointing=True)
    return load_model(out / kind, device="cpu")


def train(kind: str, settings: Training, out: Path, folder: Path, machine: Machine) -> np.ndarray:
    """Fine-tune; returns the gradients, (steps, parameters)."""
    gradients: list[np.ndarray] = []
    hook = register_optimizer_step_pre_hook(lambda optimizer, *rest: gradients.append(flat_gradient(optimizer)))
    try:
        data = tiny.tokenized(load(kind, out), tasks())
        job = UnevenJob("test", "uniform", np.full(2, 0.5), settings, 1)
        finetune(lambda: load(kind, out), data, job, folder, machine)
    finally:
        hook.remove()
    return np.stack(gradients)


def flat_gradient(optimizer) -> np.ndarray:
    """The gradients of an optimizer's parameters, whole, one after the other (0 for BERT's pooler that none reads)."""
    parts = []
    for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
        grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parts.append((grad.full_tensor() if isinstance(grad, DTensor) else grad).detach().flatten())
    return torch.cat(parts).numpy().copy()


def run_all(out: Path, machine: Machine) -> None:
    """What this rank and the other one do for ``test_ranks.py`` and ``test_scale.py``."""
    os.environ["ACCELERATE_USE_FSDP"] = "false"
    rank_worker.run(out, machine)
    run(out, machine)
    evaluated(out, "two")


def run(out: Path, machine: Machine) -> None:
    """All scenarios on this rank, with the models in ``out``."""
    watch()
    for name, (kind, sharded, caching) in SCENARIOS.items():
        os.environ["ACCELERATE_USE_FSDP"] = str(sharded).lower()
        EVENTS.clear()
        settings = SETTINGS.model_copy(update={"gradient_caching": caching})
        gradients = train(kind, settings, out, out / name / "model", machine)
        np.save(out / name / f"gradients-{machine.rank}.npy", gradients)
        (out / name / f"events-{machine.rank}.json").write_text(json.dumps(EVENTS))
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    stopped(out, machine)
    alpha = rank_worker.learned(lambda seed=0: load(f"encoder-{seed}", out), out / "learn", machine, {})
    np.save(out / f"alpha-{machine.rank}.npy", alpha)


def evaluated(out: Path, ranks: str) -> None:
    """Two models on a mixture's test sets; one of them says that it was trained on a test query."""
    os.environ["TDRO_CACHE"] = str(out / "cache")
    models = [str(out / name) for name in ("static-0", "encoder-0")]
    evaluate_models(models, [str(out / "mixture")], out / "evaluated" / ranks, bf16=False)


def stopped(out: Path, machine: Machine) -> None:
    """A sharded training that leaves its checkpoints only."""
    finish = tdro.training.finetune.whole_parameters
    tdro.training.finetune.whole_parameters = lambda model: sys.exit()
    try:
        settings = SETTINGS.model_copy(update={"checkpoint_steps": 2})
        train("lora", settings, out, out / "stopped" / "model", machine)
    except SystemExit:
        tdro.training.finetune.whole_parameters = finish


def watch() -> None:
    """Have EVENTS tell of each micro-batch that is looked at (no gradients) or embedded, and of each exchange."""
    embed, wrap = CachedLossMixin.embed_minibatch, DistributedDataParallel.__init__

    def embedding(self, *args, with_grad, **more):
        EVENTS.append("embed" if with_grad else "look")
        return embed(self, *args, with_grad=with_grad, **more)

    def exchanging(state, bucket):
        EVENTS.append("exchange")
        return allreduce_hook(None, bucket)

    def wrapping(self, *args, **more):
        wrap(self, *args, **more)
        self.register_comm_hook(None, exchanging)

    def counted(function):
        def call(*args, **more):
            EVENTS.append("exchange")
            return function(*args, **more)

        return call

    CachedLossMixin.embed_minibatch, DistributedDataParallel.__init__ = embedding, wrapping
    for name in ("reduce_scatter_single", "reduce_scatter_tensor"):  # torch has renamed it
        if hasattr(torch.distributed, name):
            setattr(torch.distributed, name, counted(getattr(torch.distributed, name)))
