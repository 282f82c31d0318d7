"""Rows per second of fine-tuning: tdro against the stock sentence-transformers trainer, interleaved in one process.

    python benchmarks/finetune.py --model smollm2
    python benchmarks/finetune.py --model minilm

The same rows in the same homogeneous batches, the same InfoNCE, bf16 autocast and AdamW for all. The first step of
each training warms up and does not count; neither does loading, nor tdro's tokenizing, which is done once for all
epochs and seeds and is given beside. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from figures import about_machine, ratio
from material import MODELS, Material, material
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from stock_trainer import train_stock
from transformers import TrainerCallback

from tdro.console import quiet_libraries
from tdro.data.plan.row_plans import HomogeneousPlan
from tdro.data.plan.task_order import draw_tasks
from tdro.data.tokens.stored_texts import StoredTexts
from tdro.data.tokens.tokenize import tokenize
from tdro.files import write_json
from tdro.machine import Machine, this_machine
from tdro.recipe.training_sections import Training
from tdro.training.in_batch_loss import InBatchLoss
from tdro.training.steps import PlannedSteps, text_labels
from tdro.training.trainer import PlannedTrainer

TEMPERATURE = 0.05
WHAT = {
    "tdro": "tdro, length-sorted micro-batches, one graph",
    "tdro_cached": "tdro with gradient caching",
    "stock": "stock trainer, MultipleNegativesRankingLoss",
    "stock_cached": "stock trainer, CachedMultipleNegativesRankingLoss",
}
# name: (numerator, denominator, at least)
WANTED = {"tdro / stock": ("tdro", "stock", 1.5), "tdro_cached / stock_cached": ("tdro_cached", "stock_cached", 1.5)}


class StepClock(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


class TokenCount:
    """Tokens and padding that went through a model."""

    def __init__(self, model: SentenceTransformer) -> None:
        self.tokens = self.padding = 0
        model[0].register_forward_pre_hook(self._count)

    def _count(self, module: torch.nn.Module, inputs: tuple[dict[str, torch.Tensor]]) -> None:
        mask = inputs[0]["attention_mask"]
        self.tokens += mask.numel()
        self.padding += int((mask == 0).sum())


class Contest:
    """The contestants, the rows that they read, and their seconds by round."""

    def __init__(self, made: Material, arguments: argparse.Namespace, machine: Machine, folder: Path) -> None:
        self.made, self.arguments, self.machine, self.folder = made, arguments, machine, folder
        self.rows_per_second: dict[str, list[float]] = {name: [] for name in WHAT}
        self.padding: dict[str, float] = {}

    def run(self) -> None:
        """Every round: other rows, and each contestant on them."""
        contestants: dict[str, Callable[[PlannedSteps], tuple[StepClock, TokenCount]]] = {
            "tdro": lambda steps: self._ours(steps, gradient_caching=False),
            "stock": lambda steps: self._stock(steps, MultipleNegativesRankingLoss),
            "tdro_cached": lambda steps: self._ours(steps, gradient_caching=True),
            "stock_cached": lambda steps: self._stock(steps, CachedMultipleNegativesRankingLoss),
        }
        for number in range(self.arguments.rounds):
            steps = self._steps(seed=number)
            for name, train in contestants.items():
                clock, count = train(steps)
                seconds = clock.ends[-1] - clock.ends[0]
                self.rows_per_second[name].append(self.arguments.batch * (len(clock.ends) - 1) / seconds)
                self.padding[name] = count.padding / count.tokens
                print(f"round {number + 1}, {name}: {self.rows_per_second[name][-1]:.1f} rows/s", flush=True)

    def _steps(self, seed: int) -> PlannedSteps:
        sizes = [len(task) for task in self.made.data.index.tasks]
        count = self.arguments.steps + 1
        tasks = draw_tasks(np.full(len(sizes), 1 / len(sizes)), count, seed)
        plan = HomogeneousPlan(sizes, self.arguments.batch, tasks, seed)
        return PlannedSteps(self.made.data, plan, 1, text_labels)

    def _ours(self, steps: PlannedSteps, gradient_caching: bool) -> tuple[StepClock, TokenCount]:
        a, model, clock = self.arguments, self.made.load(), StepClock()
        count = TokenCount(model)
        settings = Training(steps=steps.plan.steps, batch=a.batch, learning_rate=1e-4, schedule="constant")
        loss = InBatchLoss(model, TEMPERATURE, a.chunk_rows, gradient_caching)
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            PlannedTrainer(
                *(model, loss, steps, settings, Path(place), 1),
                bf16=self.machine.bf16,
                device=self.machine.device,
                callbacks=[clock],
            ).run()
        return clock, count

    def _stock(self, steps: PlannedSteps, kind: type[torch.nn.Module]) -> tuple[StepClock, TokenCount]:
        a, model, clock = self.arguments, self.made.load(), StepClock()
        model.max_seq_length = a.tokens
        count = TokenCount(model)
        cached = {"mini_batch_size": a.chunk_rows} if kind is CachedMultipleNegativesRankingLoss else {}
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            loss = kind(model, scale=1 / TEMPERATURE, **cached)
            texts = Dataset.from_generator(lambda: texts_of(steps), cache_dir=place)
            train_stock(model, loss, texts, steps.plan.steps, a.batch, self.machine, place, clock)
        return clock, count


def texts_in(stored: StoredTexts, most: int | None = None) -> list[str]:
    """The first texts, or all."""
    return [text for _, texts in stored.by_prompt(slice(most)) for text in texts]


def texts_of(steps: PlannedSteps) -> Iterator[dict[str, str]]:
    """The rows of all steps as the stock trainer reads them."""
    index = steps.data.index
    queries, passages = texts_in(index.queries), texts_in(index.passages)
    for step in range(steps.plan.steps):
        _, texts = steps.rows(step)
        for query, (positive, negative) in zip(texts.query, texts.passages, strict=True):
            yield {
                "query": queries[query],
                "positive": passages[positive],
                "negative": passages[negative],
            }


def main() -> None:
    """Measure, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(MODELS), default="smollm2")
    parser.add_argument("--steps", type=int, default=8, help="per round, one more warms up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64, help="rows a step")
    parser.add_argument("--chunk-rows", type=int, default=32, help="texts in a micro-batch (tdro, and stock_cached)")
    parser.add_argument("--tokens", type=int, default=128, help="longest text")
    parser.add_argument("--json", type=Path, help="where to write the figures (default: results/ beside this file)")
    arguments = parser.parse_args()
    quiet_libraries()
    machine = this_machine("cpu")
    made = material(arguments.model, arguments.tokens, arguments.tokens)
    with tempfile.TemporaryDirectory() as folder:
        contest = Contest(made, arguments, machine, Path(folder))
        contest.run()
    rates = contest.rows_per_second
    figures = {
        "model": arguments.model,
        "machine": about_machine(threads=torch.get_num_threads(), bf16=machine.bf16),
        "settings": {k: v for k, v in vars(arguments).items() if k not in ("json", "model")},
        "rows_per_second": {name: {"median": statistics.median(v), "rounds": v} for name, v in rates.items()},
        "padding": contest.padding,
        "ratios": {name: ratio(rates, *parts) for name, parts in WANTED.items()},
        "tokenized_texts_per_second": tokenizing_rate(made, arguments.tokens),
    }
    print(as_markdown(figures))
    write_json(arguments.json or Path(__file__).parent / "results" / f"finetune-{arguments.model}.json", figures)


def tokenizing_rate(made: Material, tokens: int) -> float:
    """Texts per second of what tdro does once, ahead."""
    model, texts = made.load(), texts_in(made.data.index.passages, 20_000)
    started = time.perf_counter()
    tokenize(model, texts, tokens)
    return len(texts) / (time.perf_counter() - started)


def as_markdown(figures: dict[str, Any]) -> str:
    """The tables."""
    lines = ["| | rows/s | padding |", "|---|---|---|"]
    for name, what in WHAT.items():
        rate, padding = figures["rows_per_second"][name]["median"], figures["padding"][name]
        lines.append(f"| {what} | {rate:.1f} | {100 * padding:.1f} % |")
    lines += ["", "| ratio | median | rounds | wanted |", "|---|---|---|---|"]
    for name, value in figures["ratios"].items():
        rounds = ", ".join(f"{r:.2f}" for r in value["rounds"])
        lines.append(f"| {name} | {value['median']:.2f} | {rounds} | ≥ {value['wanted']:g} |")
    lines += ["", f"tdro tokenizes {figures['tokenized_texts_per_second']:.0f} texts/s, once"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
