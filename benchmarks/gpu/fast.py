"""How fast is it on a GPU? Stage 1 and fine-tuning against the model alone and against the stock trainer; a profile."""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from baselines import Floor
from datasets import Dataset
from packed import fused, packed, without_mask
from part import Part, synchronize
from rows import Rows
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from stock_trainer import train_stock
from transformers import TrainerCallback

from tdro.data.tokens.stored_texts import StoredTexts
from tdro.dro.learner import WeightLearner
from tdro.dro.loss import TDROLoss
from tdro.dro.stage_one.learn import reference_labels
from tdro.dro.stage_one.scoring import score_plan
from tdro.machine import Machine, ran_out_of_memory
from tdro.planning.flops import training_flops
from tdro.planning.shape import shape_of
from tdro.recipe.training_sections import Base, Training
from tdro.training.in_batch_loss import InBatchLoss
from tdro.training.steps import PlannedSteps
from tdro.training.trainer import PlannedTrainer

TEMPERATURE = 0.05
# Dense bf16 TFLOP/s that the makers state, by a word of the card's name.
PEAKS = {"H200": 989.0, "H100": 989.0, "A100": 312.0}
Way = Callable[[SentenceTransformer], AbstractContextManager[None]]
WANTED = {"stage_1 / floor": 0.8, "finetune / stock": 1.5}


class Clock(TrainerCallback):
    """When each step ended, the GPU's work included."""

    def __init__(self, device: str) -> None:
        self.device, self.ends = device, list[float]()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Wait for the device, and note the time."""
        synchronize(self.device)
        self.ends.append(time.perf_counter())


class Contest:
    """All contestants with one model.

    Args:
        rows: what they train on.
        path: the model.
        machine: device and precision.
        tflops: the device's peak; None if it is not known.
    """

    def __init__(self, rows: Rows, path: Path, machine: Machine, tflops: float | None) -> None:
        self.rows, self.path, self.machine, self.tflops = rows, path, machine, tflops
        self.count = 1 + rows.sizes.steps  # the first step warms up
        self.chunk_rows = rows.sizes.chunk_rows[0]

    def contestants(self) -> dict[str, Callable[[], dict[str, Any]]]:
        """By name, what measures each."""
        return {
            "floor": self.floor,
            "stage_1": lambda: self.stage_one(caching=False),
            "stage_1_cached": lambda: self.stage_one(caching=True),
            "stage_1_without_mask": lambda: self.stage_one(caching=False, way=without_mask),
            "stage_1_packed": lambda: self.stage_one(caching=False, way=packed),
            **({"stage_1_cached_fused": lambda: self.stage_one(caching=True, way=fused)} if _has_liger() else {}),
            "scoring": self.scoring,
            "finetune": lambda: self.finetune(caching=False),
            "stock": lambda: self.stock(MultipleNegativesRankingLoss),
            "finetune_cached": lambda: self.finetune(caching=True),
            "stock_cached": lambda: self.stock(CachedMultipleNegativesRankingLoss),
            **{
                f"stage_1_cached_chunk_rows_{chunk_rows}": partial(self.stage_one, True, chunk_rows)
                for chunk_rows in self.rows.sizes.chunk_rows[1:]
            },
            "profile_of_stage_1": self.profile,
        }

    def floor(self) -> dict[str, Any]:
        """Forward and backward pass of the model alone, over the same tokens packed into rows without padding."""

        def measure(batch: int) -> dict[str, Any]:
            steps, model = self._mixed(batch), self._load()
            floor, ends = Floor(model, self.chunk_rows, self.machine.bf16), []
            for step in range(self.count):
                floor(floor.chunks(steps, step), one_graph=False)  # all graphs together would fit on no card
                synchronize(self.machine.device)
                ends.append(time.perf_counter())
            return self._rates(ends, steps, model)

        return _largest(measure, self.rows.sizes.batch)

    def stage_one(self, caching: bool, chunk_rows: int | None = None, way: Way = nullcontext) -> dict[str, Any]:
        """What `tdro learn` does in a step, with scores that are there already."""

        def measure(batch: int) -> dict[str, Any]:
            steps, model, clock = self._mixed(batch), self._load(), Clock(self.machine.device)
            loss, counted = self._tdro_loss(steps, model, caching, chunk_rows), Padding(model)
            with way(model):
                self._train(model, loss, steps, clock)
            padding = {} if way is packed else {"padding": counted.share}
            return {**self._rates(clock.ends, steps, model, caching), **padding}

        return _largest(measure, self.rows.sizes.batch)

    def scoring(self) -> dict[str, Any]:
        """The reference's pass over the same rows, which comes before stage 1."""
        steps = self._mixed(self.rows.sizes.batch)
        model = self._load().eval()
        seconds = []
        for turn in range(2):  # the first one warms up
            started = time.perf_counter()
            folder = self._folder(f"scores-{turn}")
            score_plan({"model": lambda: model}, steps, folder, self.machine, chunk_rows=self.chunk_rows)
            seconds.append(time.perf_counter() - started)
        rows = steps.plan.steps * steps.plan.batch
        return {"rows_a_second": rows / seconds[1], "tokens_a_second": _tokens(steps)[0] / seconds[1]}

    def finetune(self, caching: bool) -> dict[str, Any]:
        """What `tdro finetune` does in a step."""

        def measure(batch: int) -> dict[str, Any]:
            steps, model = self.rows.of_one_task(self.count, batch), self._load()
            clock, counted = Clock(self.machine.device), Padding(model)
            self._train(model, InBatchLoss(model, TEMPERATURE, self.chunk_rows, caching), steps, clock)
            return {**self._rates(clock.ends, steps, model, caching), "padding": counted.share}

        return _largest(measure, self.rows.sizes.batch)

    def stock(self, kind: type[torch.nn.Module]) -> dict[str, Any]:
        """sentence-transformers' trainer with its own loss on the same rows in the same order."""
        cached = kind is CachedMultipleNegativesRankingLoss

        def measure(batch: int) -> dict[str, Any]:
            steps, model = self.rows.of_one_task(self.count, batch), self._load()
            model.max_seq_length = max(self.rows.sizes.tokens)
            clock, counted, folder = Clock(self.machine.device), Padding(model), self._folder("stock")
            loss = kind(model, scale=1 / TEMPERATURE, **({"mini_batch_size": self.chunk_rows} if cached else {}))
            texts = Dataset.from_list(list(_texts(steps)))
            train_stock(model, loss, texts, self.count, batch, self.machine, folder, clock)
            return {**self._rates(clock.ends, steps, model, cached), "padding": counted.share}

        return _largest(measure, self.rows.sizes.batch)

    def profile(self) -> dict[str, Any]:
        """What steps of stage 1 spend their time on: the operators with most time, on the device and on the CPU."""
        steps, model = self._mixed(self.rows.sizes.batch, count=2), self._load()
        on_gpu = self.machine.device.startswith("cuda")
        kinds = [torch.profiler.ProfilerActivity.CPU]
        kinds += [torch.profiler.ProfilerActivity.CUDA] if on_gpu else []
        clock = Clock(self.machine.device)
        with torch.profiler.profile(activities=kinds) as profiler:
            self._train(model, self._tdro_loss(steps, model, True, None), steps, clock)
        events = profiler.key_averages()
        wall = clock.ends[-1] - clock.ends[0]
        found: dict[str, Any] = {"seconds_of_the_last_step": wall}
        for where in ("device", "cpu") if on_gpu else ("cpu",):
            key = f"self_{where}_time_total"
            ranked = sorted(events, key=lambda event: -getattr(event, key))
            found[f"{where}_seconds_of_both_steps"] = sum(getattr(event, key) for event in events) / 1e6
            found[f"{where}_seconds_by_operator"] = {
                event.key[:80]: {"seconds": getattr(event, key) / 1e6, "calls": event.count} for event in ranked[:20]
            }
        return found

    def _tdro_loss(self, steps: PlannedSteps, model: SentenceTransformer, caching: bool, chunk: int | None) -> TDROLoss:
        shape = (steps.plan.steps, steps.plan.batch, 1 + steps.negatives)
        steps.labels = reference_labels(np.random.default_rng(0).random(shape, dtype=np.float32), TEMPERATURE)
        names = [task.name for task in steps.data.index.tasks]
        return TDROLoss(
            model,
            WeightLearner(names),
            temperature=TEMPERATURE,
            mini_batch_size=chunk or self.chunk_rows,
            gradient_caching=caching,
        )

    def _train(self, model: SentenceTransformer, loss: torch.nn.Module, steps: PlannedSteps, clock: Clock) -> None:
        settings = Training(
            steps=steps.plan.steps,
            batch=steps.plan.batch,
            learning_rate=1e-4,
            schedule="constant",
            warmup_steps=0.0,
        )
        PlannedTrainer(
            *(model, loss, steps, settings, self._folder("training"), 1),
            bf16=self.machine.bf16,
            device=self.machine.device,
            callbacks=[clock],
        ).run()

    def _rates(
        self, ends: list[float], steps: PlannedSteps, model: SentenceTransformer, caching: bool = False
    ) -> dict[str, Any]:
        seconds = statistics.median(np.diff(ends))
        tokens, squares = (each / steps.plan.steps for each in _tokens(steps))
        settings = Training(steps=1, batch=2, warmup_steps=0.0, gradient_caching=caching)
        base = Base(kind="decoder", source="smollm2")  # without adapters and checkpointing
        flops = training_flops(shape_of(model[0].auto_model), base, settings, tokens, squares)
        return {
            "rows_a_second": steps.plan.batch / seconds,
            "tokens_a_second": tokens / seconds,
            "tflops": flops / seconds / 1e12,
            "share_of_peak": flops / seconds / 1e12 / self.tflops if self.tflops else None,
        }

    def _mixed(self, batch: int, count: int | None = None) -> PlannedSteps:
        steps = self.rows.mixed(count or self.count)
        steps.plan.batch = batch
        return steps

    def _load(self) -> SentenceTransformer:
        return self.rows.load(self.path, self.machine.device, self.machine.bf16)

    def _folder(self, name: str) -> Path:
        folder = self.rows.folder / "fast" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


class Padding:
    """The share of padding among the tokens that went through a model."""

    def __init__(self, model: SentenceTransformer) -> None:
        self.counts: list[tuple[int, torch.Tensor]] = []
        model[0].register_forward_pre_hook(self._count)

    def _count(self, module: torch.nn.Module, inputs: tuple[dict[str, torch.Tensor]]) -> None:
        if "attention_mask" not in inputs[0]:
            return
        mask = inputs[0]["attention_mask"]
        self.counts.append((mask.numel(), mask.sum()))  # not read here: that would wait for the device

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return 1 - sum(int(real) for _, real in self.counts) / sum(size for size, _ in self.counts)


def find_fast(part: Part, rows: Rows, machine: Machine, arguments: argparse.Namespace) -> None:
    """Every contestant with each model, and the ratios."""
    name = torch.cuda.get_device_name(machine.device) if machine.device.startswith("cuda") else ""
    tflops = arguments.tflops or next((peak for word, peak in PEAKS.items() if word in name), None)
    part.keep("settings", {"tflops_of_the_peak": tflops, "bf16": machine.bf16, "batch": rows.sizes.batch})
    models = {"base": lambda: rows.base} | {name: partial(rows.large, name) for name in rows.sizes.large}
    for model, path in models.items():
        contest, found = Contest(rows, path(), machine, tflops), {}
        for contestant, measure in contest.contestants().items():
            found[contestant] = part.find(f"{model}: {contestant}", measure, needs=3)
        part.keep(f"{model}: ratios", ratios(found))


def ratios(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Of rows a second, where both sides were measured; with the goals of two of them."""
    rate = {name: each["rows_a_second"] for name, each in found.items() if "rows_a_second" in each}
    if "stage_1_cached" in rate and "scoring" in rate:
        rate["stage_1_cached_and_scoring"] = 1 / (1 / rate["stage_1_cached"] + 1 / rate["scoring"])
    pairs = [("stage_1", "floor"), ("stage_1_cached", "floor"), ("stage_1_cached_and_scoring", "floor")]
    pairs += [
        ("stage_1_without_mask", "stage_1"),
        ("stage_1_packed", "stage_1"),
        ("stage_1_cached_fused", "stage_1_cached"),
        ("finetune", "stock"),
        ("finetune_cached", "stock_cached"),
        ("finetune", "floor"),
    ]
    of = {f"{a} / {b}": rate[a] / rate[b] for a, b in pairs if a in rate and b in rate}
    return {"rows_a_second": rate, "ratios": of, "wanted": WANTED}


def _has_liger() -> bool:
    return torch.cuda.is_available() and find_spec("liger_kernel") is not None


def _largest(measure: Callable[[int], dict[str, Any]], batch: int) -> dict[str, Any]:
    """Measure with the batch, or with a quarter of it as often as memory runs out; says which batch it was."""
    tried = []
    while True:
        try:
            return {"batch": batch, "out_of_memory_at_batch": tried, **measure(batch)}
        except RuntimeError as error:
            if not ran_out_of_memory(error) or batch < 8:
                raise
            tried.append(batch)
            batch //= 4
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _tokens(steps: PlannedSteps) -> tuple[float, float]:
    """Tokens of all steps without padding, and the sum of the texts' squared lengths."""
    total = squares = 0.0
    for step in range(steps.plan.steps):
        _, texts = steps.rows(step)
        for tokens, numbers in ((steps.data.queries, texts.query), (steps.data.passages, texts.passages.reshape(-1))):
            lengths = tokens.lengths_of(numbers).astype(np.float64)
            total, squares = total + lengths.sum(), squares + (lengths**2).sum()
    return total, squares


def _texts(steps: PlannedSteps) -> Iterator[dict[str, str]]:
    """The rows of all steps as the stock trainer reads them."""
    queries, passages = (_all(texts) for texts in (steps.data.index.queries, steps.data.index.passages))
    for step in range(steps.plan.steps):
        _, texts = steps.rows(step)
        for query, (positive, *negatives) in zip(texts.query, texts.passages, strict=True):
            row = {"query": queries[query], "positive": passages[positive]}
            yield row | {f"negative_{n}": passages[number] for n, number in enumerate(negatives, start=1)}


def _all(texts: StoredTexts) -> list[str]:
    return [text for _, part in texts.by_prompt(slice(None)) for text in part]
