"""The plan of a recipe: every training with its tokens, FLOPs and memory, and warnings of what will not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tdro.data.task import Mixture, TestSet
from tdro.data.tokens.cut_warnings import cut_lines
from tdro.errors import UserError
from tdro.gain.learned_weights import ALPHA, GAIN, LearnedWeights
from tdro.models.base_tokens import BaseTokens, base_tokens
from tdro.planning.cuts import cutter_of
from tdro.planning.device import Device, planned_device
from tdro.planning.evaluations import Evaluations, how_many, one_evaluation
from tdro.planning.fitting import peak_memory, regime, what_fits
from tdro.planning.flops import forward_flops, training_flops
from tdro.planning.lengths import TaskLengths, sample_lengths, text_bytes
from tdro.planning.memory import TEXTS, Memory, trained_parameters
from tdro.planning.shape import ModelShape, read_shape
from tdro.planning.trainings import PlannedTraining, planned_trainings
from tdro.recipe.schema import Recipe
from tdro.recipe.training_sections import Base
from tdro.weights import TaskWeights
from tdro.weights_on_tasks import weights_on_tasks

REPEATS = 4  # epochs of a task; more teach little, and are warned of


@dataclass(frozen=True)
class Estimate:
    """What a training costs. Where it is done several times, with other seeds, the numbers are of once.

    Attributes:
        training: which it is.
        tokens: how many it reads, without padding; None where the weights are not known yet.
        flops: FLOPs; None where the weights are not known yet.
        scored: tokens that go through a model without being trained on: stage 1's rows through the reference, the
            held-out rows of transfer gain through the proxy, the development sets through the model that is fine-tuned;
            else 0.
        scoring: FLOPs of that.
        parameters: of the model, adapters included.
        trained: how many of the parameters are trained.
        memory: of one device at the peak.
        evaluated: the texts of the development sets, as often as the model is scored on them while it trains; else 0.
    """

    training: PlannedTraining
    tokens: float | None
    flops: float | None
    scored: float
    scoring: float
    parameters: int
    trained: int
    memory: Memory
    evaluated: int = 0


@dataclass(frozen=True)
class RecipePlan:
    """What a recipe will do and cost.

    Attributes:
        name: the recipe's.
        device: that is planned for.
        ranks: how many processes, one a device.
        sizes: how many rows each task has.
        texts: bytes that the texts and their tokens take of the machine's memory, in each process.
        lengths: for each base, the lengths of the texts of each task, in the order of ``sizes``.
        estimates: one for each training, in the order in which they run.
        warnings: one line each.
    """

    name: str
    device: Device
    ranks: int
    sizes: dict[str, int]
    texts: float
    lengths: dict[Base, list[TaskLengths]]
    estimates: list[Estimate]
    warnings: list[str]


def make_plan(recipe: Recipe, data: Mixture, ranks: int = 1, development: Sequence[TestSet] = ()) -> RecipePlan:
    """Work out what a recipe will do, from its data, its tokenizers and the configurations of its models.

    Args:
        recipe: the recipe. Nothing is written to its folder; learned weights are read from there.
        data: its tasks as they are on disk, before negatives are mined.
        ranks: processes that share each batch, one a device.
        development: the sets that models are scored on while they train.

    Raises:
        UserError: what would keep the recipe from running, as far as data and configurations show it.
    """
    device = planned_device(recipe.device, recipe.precision)
    sizes = dict(zip(data.names, data.sizes, strict=True))
    weights, warnings = _weights(recipe, data.names)
    shapes: dict[Base, ModelShape] = {}
    lengths: dict[Base, list[TaskLengths]] = {}
    tokens: dict[Base, BaseTokens] = {}
    once: dict[Base, Evaluations] = {}
    estimates = []
    for training in planned_trainings(recipe, sizes, weights, data.tests):
        if training.settings.batch % ranks:
            raise UserError(
                f"{training.stage}: a batch of {training.settings.batch} cannot be shared equally by {ranks} ranks"
            )
        if training.base not in shapes:
            shapes[training.base] = read_shape(training.base, recipe.trust_remote_code)
            tokens[training.base] = base_tokens(training.base, recipe.trust_remote_code)
            cutter = cutter_of(tokens[training.base], recipe.data)
            lengths[training.base] = [sample_lengths(task, cutter) for task in data.tasks]
            cuts = {task.name: own.cut for task, own in zip(data.tasks, lengths[training.base], strict=True) if own.cut}
            warnings += [line for line in cut_lines(training.base.source, cutter, cuts) if line not in warnings]
        times = how_many(training.settings)
        if times and training.base not in once:
            once[training.base] = one_evaluation(development, cutter_of(tokens[training.base]))
        evaluations = once[training.base] * times if times else Evaluations()
        shape, of_tasks = shapes[training.base], lengths[training.base]
        estimates.append(_estimate(training, shape, of_tasks, evaluations, device, ranks))
    negatives = recipe.negatives.per_row if recipe.negatives.mine != "none" else 0
    texts = TEXTS * sum(text_bytes(task, negatives) for task in data.tasks)
    warnings += _repeats(estimates, list(sizes)) + _too_large(estimates, shapes, lengths, device, texts, ranks)
    return RecipePlan(recipe.name, device, ranks, sizes, texts, lengths, estimates, warnings)


def _weights(recipe: Recipe, names: Sequence[str]) -> tuple[LearnedWeights, list[str]]:
    """The weights that the recipe loads or that its run has learned; and warnings about them."""
    there = LearnedWeights.load(recipe.folder, recipe)
    warnings = []
    for file, weights in ((ALPHA, there.alpha), (GAIN, there.gain)):
        if weights is not None and set(weights.names) != set(names) and not (file == ALPHA and recipe.weights.load):
            warnings.append(f"{recipe.folder / file} has weights of other tasks, and is not used")
    alpha, gain = (own if own and set(own.names) == set(names) else None for own in (there.alpha, there.gain))
    if source := recipe.weights.load:
        alpha = TaskWeights.paper() if source == "paper" else TaskWeights.load(source)
        alpha = weights_on_tasks(alpha, names)
    return LearnedWeights(alpha, gain), warnings


def _estimate(
    training: PlannedTraining,
    shape: ModelShape,
    lengths: Sequence[TaskLengths],
    evaluations: Evaluations,
    device: Device,
    ranks: int,
) -> Estimate:
    settings, base = training.settings, training.base
    how = regime(training, device, ranks)
    tokens = flops = None
    scored, scoring = evaluations.tokens, forward_flops(shape, evaluations.tokens, evaluations.squares)
    if training.reading is not None:
        rows = training.reading.rows
        tokens = float(rows @ np.array([task.tokens_a_row(settings.negatives) for task in lengths]))
        squares = float(rows @ np.array([task.squares_a_row(settings.negatives) for task in lengths]))
        flops = training_flops(shape, base, settings, tokens, squares)
    if (scored_rows := training.scored) is not None:
        scored = float(scored_rows @ np.array([task.tokens_a_row(settings.negatives) for task in lengths]))
        squares = float(scored_rows @ np.array([task.squares_a_row(settings.negatives) for task in lengths]))
        scoring = forward_flops(shape, scored, squares)
    adapters = 0 if base.lora is None else shape.adapters(base.lora.r)
    return Estimate(
        *(training, tokens, flops, scored, scoring, shape.parameters + adapters, trained_parameters(shape, how)),
        memory=peak_memory(training, shape, lengths, how),
        evaluated=evaluations.texts,
    )


def _repeats(estimates: Sequence[Estimate], names: Sequence[str]) -> list[str]:
    found = []
    for estimate in estimates:
        if (reading := estimate.training.reading) is None:
            continue
        often = [number for number in np.argsort(-reading.epochs) if reading.epochs[number] > REPEATS]
        tasks = [f"{names[number]} {reading.epochs[number]:.1f}" for number in often]
        if tasks:
            more = f" and {len(tasks) - 2} more" if len(tasks) > 2 else ""
            found.append(f"{estimate.training.title}: more than {REPEATS} epochs of {', '.join(tasks[:2])}{more}")
    return found


def _too_large(
    estimates: Sequence[Estimate],
    shapes: Mapping[Base, ModelShape],
    lengths: Mapping[Base, list[TaskLengths]],
    device: Device,
    texts: float,
    ranks: int,
) -> list[str]:
    """A line for each stage that does not fit into the device, with what would help."""
    if device.memory is None:
        return []
    room = device.memory / ranks - texts if device.cpu else device.memory
    found: dict[str, str] = {}
    for estimate in estimates:
        training, needed = estimate.training, estimate.memory.total
        if needed > room:
            how = regime(training, device, ranks)
            remedy = what_fits(training, shapes[training.base], lengths[training.base], how, room).text
            found[training.stage] = (
                f"{training.stage}: needs {needed / 1e9:.1f} GB where {room / 1e9:.1f} GB are left; {remedy}"
            )
    return list(found.values())
