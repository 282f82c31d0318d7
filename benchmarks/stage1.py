"""Rows per second of stage 1: tdro, the step as the released code does it, and the floor; interleaved in one process.

    python benchmarks/stage1.py --model smollm2
    python benchmarks/stage1.py --model minilm

(a) is `tdro learn` itself: :func:`tdro.dro.stage_one.learn.learn` runs once over all rounds and is paused between them,
when it
asks for the first row of the next round; in the pause the reference scores that round's rows ahead, and (b), (c) and
(d) do the same rows. So every contestant sees the same load of the machine, and the ratios are taken round by round.
The first round warms up and is thrown away. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import costs
import numpy as np
import torch
from baselines import Floor, PlainStep
from figures import about_machine, ratio
from material import MODELS, NEGATIVES, Material, material
from torch.utils.data import DataLoader

from tdro.console import quiet_libraries
from tdro.data.plan.row_plans import StepRows
from tdro.dro.stage_one.learn import learn
from tdro.dro.stage_one.scoring import score_plan
from tdro.files import write_json
from tdro.machine import Machine, this_machine
from tdro.recipe.training_sections import LearnWeights
from tdro.training.micro_batches import micro_batches
from tdro.training.steps import PlannedSteps

# name: (numerator, denominator, at least)
WANTED = {
    "a_first / b": ("a_first", "b", 4.0),
    "a_again / b": ("a_again", "b", 4.0),
    "a_first / c": ("a_first", "c", 2.0),
    "a_again / c": ("a_again", "c", 2.0),
    "a_first / d": ("a_first", "d", 0.85),
    "a_sweep / d": ("a_sweep", "d", 0.85),
    "a_again / d": ("a_again", "d", 0.85),
}
WHAT = {
    "a_first": "tdro, scoring pass included",
    "a_sweep": "tdro, a sweep of 3 runs, scoring counted once",
    "a_again": "tdro, a second run of a sweep",
    "b": "padded, reference in every step, fp32",
    "c": "the same in bf16",
    "d": "floor: the proxy alone, no padding, bf16",
}


class PausedSteps(PlannedSteps):
    """Steps that stop the clock: before the first row of each round is asked for, ``pause`` is called."""

    first, round_steps = 1, 1
    pause: Callable[[int], None]

    def loader(self, pinned: bool = False) -> DataLoader[dict[str, Any]]:
        """Without the thread that makes batches ahead: it would pause in the middle of a step."""
        return DataLoader(self, batch_size=1, shuffle=False, collate_fn=lambda batches: batches[0])

    def __getitem__(self, step: int) -> dict[str, Any]:
        """The batch of a step; the loader asks for it when the step before the last one has been done."""
        if step >= self.first and (step - self.first) % self.round_steps == 0:
            self.pause(step)
        return super().__getitem__(step)


class Window:
    """Some consecutive steps of a plan, as a plan."""

    def __init__(self, steps: PlannedSteps, first: int, count: int) -> None:
        self.plan, self.first = steps.plan, first
        self.seed, self.steps, self.batch, self.sizes = self.plan.seed, count, self.plan.batch, steps.plan.sizes  # type: ignore[attr-defined]

    def step(self, step: int) -> StepRows:
        """The rows of a step, counted within the window."""
        return self.plan.step(self.first + step)


class Contest:
    """All contestants, and their seconds by round."""

    def __init__(self, made: Material, arguments: argparse.Namespace, machine: Machine) -> None:
        self.made, self.arguments, self.machine = made, arguments, machine
        count = len(made.data.index.tasks)
        self.reference = made.load().eval()
        released = () if arguments.only_floor else (("b", False), ("c", True))
        self.plain = {name: PlainStep(made.load(), self.reference, count, bf16) for name, bf16 in released}
        self.floor = Floor(made.load(), arguments.chunk_rows, machine.bf16)
        total = (1 + arguments.rounds) * arguments.steps + 2
        self.steps = self._paused(total)
        self.similarities = np.zeros((total, arguments.batch, 1 + NEGATIVES), dtype=np.float32)
        self.seconds: dict[str, list[float]] = {name: [] for name in ("scoring", "a_again", *self.plain, "d")}
        self.load: list[float] = []
        self._resumed: float | None = None

    def run(self) -> None:
        """Every round of every contestant."""
        a = self.arguments
        settings = LearnWeights(
            steps=self.steps.plan.steps, batch=a.batch, negatives=NEGATIVES, temperature=0.02, chunk_rows=a.chunk_rows
        )
        with tempfile.TemporaryDirectory() as temporary:
            self.folder = Path(temporary)
            self.similarities[0] = self._score(0, 1)
            learn(self.made.load, self.steps, self.similarities, settings, self.folder / "weights", self.machine, 1)

    def rates(self) -> dict[str, list[float]]:
        """Rows per second by round, without the first one."""
        kept = {name: np.array(values[1:]) for name, values in self.seconds.items()}
        scoring = kept.pop("scoring")
        kept["a_first"], kept["a_sweep"] = kept["a_again"] + scoring, kept["a_again"] + scoring / 3
        rows = self.arguments.steps * self.arguments.batch
        return {name: (rows / kept[name]).tolist() for name in WHAT if name in kept}

    def _paused(self, total: int) -> PausedSteps:
        plain = self.made.steps(total, self.arguments.batch)
        steps = PausedSteps(plain.data, plain.plan, plain.negatives, plain.labels)
        steps.round_steps, steps.pause = self.arguments.steps, self._pause
        return steps

    def _pause(self, step: int) -> None:
        """Between two rounds: stop (a)'s clock, and let the others do the rows of the round that comes."""
        if self._resumed is not None:
            self.seconds["a_again"].append(time.perf_counter() - self._resumed)
        if len(self.seconds["a_again"]) <= self.arguments.rounds:
            self._others(step)
        self._resumed = time.perf_counter()

    def _others(self, step: int) -> None:
        count = self.arguments.steps
        self.load.append(os.getloadavg()[0])
        started = time.perf_counter()
        self.similarities[step : step + count] = self._score(step, count)
        self.seconds["scoring"].append(time.perf_counter() - started)
        for name, plain in self.plain.items():
            self._time(name, [lambda s=s, plain=plain: plain(self.steps, s) for s in range(step, step + count)])
        packed = [self.floor.chunks(self.steps, s) for s in range(step, step + count)]
        self._time("d", [lambda chunks=chunks: self.floor(chunks) for chunks in packed])

    def _time(self, name: str, each: list[Callable[[], float]]) -> None:
        started = time.perf_counter()
        for one in each:
            one()
        self.seconds[name].append(time.perf_counter() - started)
        print(f"{name}: {self.seconds[name][-1] / len(each):.2f} s a step", flush=True)

    def _score(self, first: int, count: int) -> np.ndarray:
        window = PlannedSteps(self.made.data, Window(self.steps, first, count), NEGATIVES, self.steps.labels)
        scored = score_plan(
            {"base": lambda: self.reference},
            window,
            self.folder / f"scores-{first}",
            self.machine,
            chunk_rows=self.arguments.chunk_rows if self.arguments.scoring == "chunks" else None,
        )
        return np.array(scored)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(MODELS), default="smollm2")
    parser.add_argument("--steps", type=int, default=6, help="per round")
    parser.add_argument("--rounds", type=int, default=3, help="that count; one more warms up")
    parser.add_argument("--batch", type=int, default=64, help="rows a step")
    parser.add_argument("--chunk-rows", type=int, default=32, help="texts in a micro-batch of (a) and (d)")
    parser.add_argument(
        "--scoring",
        choices=["chunks", "blocks"],
        default="chunks",
        help="the reference scores stage 1's micro-batches (one reference), or each distinct text once (cross_fit)",
    )
    parser.add_argument("--query-tokens", type=int, default=64)
    parser.add_argument("--passage-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only-floor", action="store_true", help="leave out b and c, which take most of the time")
    parser.add_argument("--only-rates", action="store_true", help="leave out overhead, plans, memory and padding")
    parser.add_argument("--json", type=Path, help="where to write the figures (default: results/ beside this file)")
    return parser.parse_args()


def main() -> None:
    """Measure, print the tables, write the figures."""
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    quiet_libraries()
    machine = this_machine("cpu")
    made = material(arguments.model, arguments.query_tokens, arguments.passage_tokens)
    contest = Contest(made, arguments, machine)
    contest.run()
    rates = contest.rates()
    figures: dict[str, Any] = {
        "model": arguments.model,
        "machine": about_machine(
            threads=arguments.threads,
            bf16=machine.bf16,
            load_average={"least": min(contest.load), "most": max(contest.load)},
        ),
        "settings": {k: v for k, v in vars(arguments).items() if k not in ("json", "model") and "only" not in k},
        "rows_per_second": {name: {"median": statistics.median(v), "rounds": v} for name, v in rates.items()},
        "ratios": {name: ratio(rates, *parts) for name, parts in WANTED.items() if parts[1] in rates},
    }
    if not arguments.only_rates:
        figures |= _costs(made, arguments, statistics.median(rates["a_again"]))
    print(as_markdown(figures))
    name = f"stage1-{arguments.model}{'-floor' if arguments.only_floor else ''}.json"
    path = arguments.json or Path(__file__).parent / "results" / name
    write_json(path, figures)


def _costs(made: Material, arguments: argparse.Namespace, rows_per_second: float) -> dict[str, Any]:
    """Everything that is measured besides the rates."""
    many = material(arguments.model, arguments.query_tokens, arguments.passage_tokens, tasks=25)
    spent = costs.overhead(many, arguments.batch, arguments.chunk_rows)
    cut = lambda lengths: micro_batches(lengths, arguments.chunk_rows)  # noqa: E731
    peaks = costs.memory(arguments)
    return {
        "overhead_ms": {
            **spent,
            "share": sum(spent.values()) / (1000 * arguments.batch / rows_per_second),
            "wanted": 0.01,
        },
        "plan": {sampling: costs.large_plan(sampling) for sampling in ("stratified", "random")},
        "memory_mb": {**peaks, "ratio": peaks["stage1"] / peaks["alone"], "wanted": 1.1},
        "padding": costs.padding(made, arguments.batch, cut),
    }


def as_markdown(figures: dict[str, Any]) -> str:
    """The figures as tables."""
    machine, settings = figures["machine"], figures["settings"]
    lines = [
        f"\n{figures['model']}: {settings['batch']} rows of 1 + {1 + NEGATIVES} texts, micro-batches of "
        f"{settings['chunk_rows']}, {settings['rounds']} rounds of {settings['steps']} steps. {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['threads']} threads, torch {machine['torch']}, load average "
        f"{machine['load_average']['least']:.1f} to {machine['load_average']['most']:.1f}.",
        "",
        "| | | rows/s | s a step |",
        "|---|---|---|---|",
    ]
    for name, found in figures["rows_per_second"].items():
        rate = found["median"]
        lines.append(f"| {name} | {WHAT[name]} | {rate:.1f} | {settings['batch'] / rate:.2f} |")
    lines += ["", "| ratio | median | rounds | wanted | |", "|---|---|---|---|---|"]
    for name, found in figures["ratios"].items():
        rounds = ", ".join(f"{value:.2f}" for value in found["rounds"])
        verdict = "met" if found["met"] else "missed"
        lines.append(f"| {name} | {found['median']:.2f} | {rounds} | ≥ {found['wanted']} | {verdict} |")
    return "\n".join(lines + (_more_markdown(figures) if "padding" in figures else []))


def _more_markdown(figures: dict[str, Any]) -> list[str]:
    spent, memory, padding = figures["overhead_ms"], figures["memory_mb"], figures["padding"]
    parts = ", ".join(f"{name} {spent[name]:.1f} ms" for name in ("sampling", "weights", "logging"))
    lines = ["", "| also | measured | wanted |", "|---|---|---|"]
    lines.append(
        f"| sampling + weights + logging, 25 tasks | {100 * spent['share']:.2f} % of a step ({parts}) | ≤ 1 % |"
    )
    for name, plan in figures["plan"].items():
        found = f"{plan['ms a step']:.2f} ms a step, {plan['peak MB']:.1f} MB"
        lines.append(f"| plan, 1,000 tasks of 1 M rows, batch 2,048, {name} | {found} | < 5 ms, < 200 MB |")
    found = f"{memory['stage1']:.0f} MB / {memory['alone']:.0f} MB = {memory['ratio']:.2f}"
    lines.append(f"| peak memory, stage 1 / proxy alone | {found} | ≤ 1.1 |")
    found = f"tdro {100 * padding['tdro']:.1f} %, (b) and (c) {100 * padding['padded to the longest']:.1f} %"
    lines.append(f"| padding, share of the tokens | {found} | |")
    return lines


if __name__ == "__main__":
    main()
