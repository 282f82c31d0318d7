"""A plan as a page for the terminal: tables of at most 110 columns with their units in the head, then the warnings."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from tdro.planning.evaluations import how_many
from tdro.planning.flops import UTILISATION, hours
from tdro.planning.lengths import TaskLengths
from tdro.planning.measured_budget import budget_in_words
from tdro.planning.plan import Estimate, RecipePlan
from tdro.planning.trainings import PlannedTraining
from tdro.terminal_table import terminal_table

WIDTH = 110
UNKNOWN = "after stage 1"
CUT = "% cut: queries / passages that are longer than what is read of them; see `tdro data describe`."
_NAME = 24  # columns of a task's or training's name


def page(plan: RecipePlan, tflops: float | None = None) -> str:
    """The whole page.

    Args:
        plan: what is printed.
        tflops: the peak of one device in TFLOP/s, from which the hours follow; None leaves them out.
    """
    parts = [_head(plan), _stages(plan, tflops), *_budgets(plan), _memory(plan), *_tasks(plan), CUT]
    parts += ["\n".join(f"warning: {warning}" for warning in plan.warnings)] if plan.warnings else []
    return "\n\n".join(parts)


def _head(plan: RecipePlan) -> str:
    device, rows = plan.device, sum(plan.sizes.values())
    memory = "memory unknown" if device.memory is None else f"{device.memory / 1e9:.1f} GB of memory"
    ranks = f", {plan.ranks} ranks" if plan.ranks > 1 else ""
    return (
        f"{plan.name}: {len(plan.sizes)} tasks, {rows:,} rows; "
        f"{device.kind}, {'bf16' if device.bf16 else 'fp32'}{ranks}, {memory}"
    )


def _stages(plan: RecipePlan, tflops: float | None) -> str:
    head = ["training", "times", "steps", "rows", "M tokens", "PFLOP"] + (["hours"] if tflops else [])
    lines, total = [], 0.0
    for estimate in plan.estimates:
        training = estimate.training
        rows = training.settings.steps * training.settings.batch
        cells = [_short(training.title), f"{training.times}", f"{training.settings.steps:,}", f"{rows:,}"]
        ranks = 1 if estimate.evaluated else plan.ranks  # one rank alone scores a model that is being trained
        total += estimate.scoring * training.times * plan.ranks / ranks
        cost = _cost(estimate.scored, estimate.scoring, tflops, ranks)
        if estimate.tokens is None or estimate.flops is None:
            lines += [[*cells, UNKNOWN], *_evaluations(estimate, cost)]
            continue
        if training.scored is not None:
            name = "scoring" if training.mixed else "held-out rows"
            lines.append([name, "1", "", f"{training.scored.sum():,}", *cost])
        lines += [[*cells, *_cost(estimate.tokens, estimate.flops, tflops, plan.ranks)], *_evaluations(estimate, cost)]
        total += estimate.flops * training.times
    note = "Tokens, FLOPs and hours are of one training, without padding"
    if any(estimate.training.scored is not None and not estimate.training.mixed for estimate in plan.estimates):
        note += ".\ngain: with the steps of all trials, as if its weights stayed uniform"
    if any(estimate.evaluated for estimate in plan.estimates):
        note += ".\nevaluations: of all texts of the development sets, at most; patience may end a training sooner"
    if any(estimate.tokens is None for estimate in plan.estimates):
        note += f"; {UNKNOWN}: the weights are not known yet"
    if tflops:
        note += f".\nAll that is known takes {hours(total, tflops, plan.ranks):,.2f} hours at {UTILISATION:.0%} of "
        note += f"{tflops:g} TFLOP/s a device, an assumption"
    else:
        note += ".\n--tflops X (a device's peak) adds the hours"
    return f"{terminal_table(head, lines)}\n{note}."


def _evaluations(estimate: Estimate, cost: list[str]) -> list[list[str]]:
    """The line of what a model is scored on while it trains; none where it is not."""
    training = estimate.training
    if not estimate.evaluated:
        return []
    return [[f"  {how_many(training.settings)} evaluations", f"{training.times}", "", f"{estimate.evaluated:,}", *cost]]


def _cost(tokens: float, flops: float, tflops: float | None, ranks: int) -> list[str]:
    time = [f"{hours(flops, tflops, ranks):,.2f}"] if tflops else []
    if not flops:  # a static model: no product to count
        return [f"{tokens / 1e6:,.1f}", "-", *(["-"] if tflops else [])]
    return [f"{tokens / 1e6:,.1f}", f"{flops / 1e15:,.3g}" if flops < 1e18 else f"{flops / 1e15:,.0f}", *time]


def _budgets(plan: RecipePlan) -> list[str]:
    """A line for each group of fine-tunings: on which side of the measured budgets it lies."""
    groups: dict[str, PlannedTraining] = {}
    for estimate in plan.estimates:
        training = estimate.training
        if training.mixture:
            groups.setdefault(training.stage, training)  # the first is no longer uniform
    lines = [
        f"{name}: {budget_in_words(one.settings.steps, one.settings.batch, [*plan.sizes.values()], one.base.kind)}"
        for name, one in groups.items()
    ]
    return ["\n".join(textwrap.wrap(line, WIDTH)) for line in lines]


def _memory(plan: RecipePlan) -> str:
    head = ["GB on a device", "M param.", "trained", "weights", "gradients", "optimizer", "activations", "process"]
    head += ["sum"] + (["FSDP"] if plan.ranks > 1 else [])
    shown: dict[str, Estimate] = {}
    for estimate in plan.estimates:
        shown.setdefault(estimate.training.stage, estimate)
    lines = []
    for stage, estimate in shown.items():
        m = estimate.memory
        parts = [m.weights, m.gradients, m.optimizer, m.activations, m.process, m.total]
        parts += [m.sharded(plan.ranks)] if plan.ranks > 1 else []
        counts = [f"{count / 1e6:,.1f}" for count in (estimate.parameters, estimate.trained)]
        lines.append([_short(stage), *counts, *(f"{part / 1e9:.2f}" for part in parts)])
    note = "Activations: all else that a step needs at its peak.\n"
    note += f"The texts and their tokens take {plan.texts / 1e9:.2f} GB of the machine besides."
    if plan.ranks > 1:
        note += "\nFSDP: where the ranks share weights, gradients and optimizer state."
    return f"{terminal_table(head, lines)}\n{note}"


def _tasks(plan: RecipePlan) -> list[str]:
    """Tables of what each stage reads of each task. The mixtures of a group stand side by side, as many as fit."""
    tables = []
    for stage in dict.fromkeys(estimate.training.stage for estimate in plan.estimates):
        known = [
            estimate for estimate in plan.estimates if estimate.training.stage == stage and estimate.training.reading
        ]
        while known:
            several = next(n for n in (3, 2, 1) if n == 1 or _width(_of_tasks(plan, known[:n])) <= WIDTH)
            tables.append(_of_tasks(plan, known[:several]))
            known = known[several:]
    return tables


def _of_tasks(plan: RecipePlan, estimates: Sequence[Estimate]) -> str:
    first = estimates[0].training
    head = [_short(f"{first.stage}, by task"), "has rows", "tokens/row", "% cut"]
    assert first.reading is not None
    lines = [
        [_short(name), f"{rows:,}", f"{task.tokens_a_row(first.settings.negatives):.0f}", _cut(task)]
        for name, rows, task in zip(plan.sizes, first.reading.available, plan.lengths[first.base], strict=True)
    ]
    mixtures = [""] * len(head)  # a line over the head, which names the mixture of each three columns
    for estimate in estimates:
        reading = estimate.training.reading
        assert reading is not None
        head += ["steps", "rows", "epochs"]
        mixtures += ["", "", estimate.training.mixture]
        for line, steps, rows, epochs in zip(lines, reading.steps, reading.rows, reading.epochs, strict=True):
            line += [f"{steps:,}", f"{rows:,}", f"{epochs:.2f}"] if rows else ["-"] * 3
    return terminal_table(mixtures, [head, *lines]) if any(mixtures) else terminal_table(head, lines)


def _cut(task: TaskLengths) -> str:
    """The percentages of queries and of passages that are longer than what is read of them."""
    return f"{100 * task.cut.query.cut:.0f} / {100 * task.cut.passage.cut:.0f}" if task.cut else "-"


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _width(text: str) -> int:
    return max(len(line) for line in text.splitlines())
