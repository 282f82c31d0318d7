"""Costs of stage 1 besides the model: sampling, weights and logging per step, large plans, peak memory, padding.

``python benchmarks/costs.py memory stage1|alone --model ...`` is what the memory measurement runs in a process each.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from material import Material, material
from transformers import TrainerControl, TrainerState, TrainingArguments

from tdro.data.plan.row_plans import MixedPlan
from tdro.dro.learner import WeightLearner
from tdro.dro.loss import TDROLoss
from tdro.dro.stage_one.learn import StepLog, learn, reference_labels
from tdro.dro.stage_one.scoring import score_plan
from tdro.machine import this_machine
from tdro.recipe.training_sections import LearnWeights
from tdro.training.in_batch_loss import InBatchLoss
from tdro.training.micro_batches import micro_batches
from tdro.training.stacking import stack_columns
from tdro.training.steps import PlannedSteps
from tdro.training.trainer import PlannedTrainer


def overhead(made: Material, batch: int, chunk_rows: int, repeats: int = 20) -> dict[str, float]:
    """Milliseconds a step of everything that is not the model: medians over ``repeats`` steps.

    Sampling: rows, texts, tokens, labels, padding, sorting. Weights: losses from embeddings, measures, α, health.
    Logging: the step's line.
    """
    steps = made.steps(repeats, batch)
    names = [task.name for task in steps.data.index.tasks]
    scores = np.random.default_rng(0).random((repeats, batch, 1 + steps.negatives), dtype=np.float32)
    steps.labels = reference_labels(scores, 0.02)
    model = made.load()
    width = model.get_embedding_dimension()
    loss = TDROLoss(model, WeightLearner(names), average_steps=4, mini_batch_size=chunk_rows)
    seconds: dict[str, list[float]] = {"sampling": [], "weights": [], "logging": []}
    with tempfile.TemporaryDirectory() as folder:
        log = StepLog(Path(folder) / "steps.jsonl", loss, None)
        state = TrainingArguments(output_dir=folder), TrainerState(), TrainerControl()
        for step in range(repeats):
            started = time.perf_counter()
            batch_of_step = steps[step]
            (stack,) = stack_columns(_columns(batch_of_step))
            micro_batches(stack.features["attention_mask"].sum(dim=1).numpy(), chunk_rows)
            sampled = time.perf_counter()
            embedded = [torch.randn(batch, width, requires_grad=True) for _ in range(2 + steps.negatives)]
            ready = time.perf_counter()
            loss._weights = None  # a new step
            loss.batch_loss(embedded, batch_of_step["label"])
            weighed = time.perf_counter()
            log.on_step_end(*state)
            logged = time.perf_counter() - weighed
            for name, value in zip(seconds, (sampled - started, weighed - ready, logged), strict=True):
                seconds[name].append(value)
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}


def _columns(batch: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    names = [key.removesuffix("_input_ids") for key in batch if key.endswith("_input_ids")]
    keys = ("input_ids", "attention_mask")
    return [{key: batch[f"{name}_{key}"] for key in keys} for name in names]


def large_plan(sampling: str, tasks: int = 1000, rows: int = 1_000_000, batch: int = 2048) -> dict[str, float]:
    """Milliseconds a step and peak MB of a plan over ``tasks`` tasks of ``rows`` rows each."""
    tracemalloc.start()
    plan = MixedPlan([rows] * tasks, batch, 100, seed=1, sampling=sampling)  # type: ignore[arg-type]
    for step in range(plan.steps):
        plan.step(step)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    plan = MixedPlan([rows] * tasks, batch, 100, seed=1, sampling=sampling)  # type: ignore[arg-type]
    started = time.perf_counter()
    for step in range(plan.steps):
        plan.step(step)
    return {"ms a step": 1000 * (time.perf_counter() - started) / plan.steps, "peak MB": peak / 1e6}


def padding(made: Material, batch: int, cut: Callable[[np.ndarray], list[int]], steps: int = 20) -> dict[str, float]:
    """Share of padding among the tokens that go through the model, tdro's and the released code's way.

    Args:
        made: model and data.
        batch: rows a step.
        cut: lengths of a step's texts, longest first, to the sizes of its micro-batches.
        steps: over how many.
    """
    planned = made.steps(steps, batch)
    real = sorted_way = padded_way = distinct = 0
    for step in range(steps):
        _, texts = planned.rows(step)
        query = made.data.queries.lengths[texts.query]
        passages = made.data.passages.lengths[texts.passages.reshape(-1)]
        lengths = np.sort(np.concatenate([query, passages]))[::-1]
        real += lengths.sum()
        distinct += len(np.unique(texts.query)) + len(np.unique(texts.passages))
        padded_way += len(query) * query.max() + len(passages) * passages.max()
        starts = np.cumsum([0, *cut(lengths)])[:-1]
        sorted_way += int((lengths[starts] * np.diff([*starts, len(lengths)])).sum())
    return {
        "tokens a step": real / steps,
        "texts a step": batch * (2 + planned.negatives),
        "distinct texts a step": distinct / steps,
        "tdro": 1 - real / sorted_way,
        "padded to the longest": 1 - real / padded_way,
    }


def memory(arguments: argparse.Namespace) -> dict[str, float]:
    """Peak resident MB of stage 1 and of training the proxy alone, each in a process of its own."""
    peaks = {}
    for what in ("stage1", "alone"):
        command = [sys.executable, __file__, "memory", what]
        for name in ("model", "batch", "chunk_rows", "query_tokens", "passage_tokens", "threads"):
            command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peaks[what] = json.loads(done.stdout.splitlines()[-1])["peak MB"]
    return peaks


def _train(what: str, arguments: argparse.Namespace, steps: int = 4) -> None:
    """A few steps of stage 1 (scoring included), or of the proxy alone on the same rows in the same micro-batches."""
    torch.set_num_threads(arguments.threads)
    made, machine = material(arguments.model, arguments.query_tokens, arguments.passage_tokens), this_machine("cpu")
    settings = LearnWeights(
        steps=steps, batch=arguments.batch, negatives=3, chunk_rows=arguments.chunk_rows, temperature=0.02, eta=0.02
    )
    planned: PlannedSteps = made.steps(steps, arguments.batch)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if what == "stage1":
            scores = score_plan({"base": made.load}, planned, folder / "scores", machine)
            learn(made.load, planned, scores, settings, folder, machine, 1)
        else:
            model = made.load()
            loss = InBatchLoss(model, mini_batch_size=arguments.chunk_rows)
            PlannedTrainer(model, loss, planned, settings, folder, 1, bf16=machine.bf16, device="cpu").run()


def peak_megabytes() -> float:
    """Largest resident size of this process so far.

    Linux keeps the parent's peak in ``ru_maxrss`` of a child, so there it is read from /proc.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("measure", choices=["memory"])
    parser.add_argument("what", choices=["stage1", "alone"])
    parser.add_argument("--model", required=True)
    for name in ("batch", "chunk-rows", "query-tokens", "passage-tokens", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parsed = parser.parse_args()
    _train(parsed.what, parsed)
    print(json.dumps({"peak MB": peak_megabytes()}))
