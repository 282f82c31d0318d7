"""Out of memory, said in two lines: which stage, and which key of the recipe to set to which value.

The value comes from the estimate that ``tdro plan`` makes. An estimate can be a quarter too low, and a training that
ran out has shown that its own was. So what is proposed needs, by the estimate, at most four fifths of what the device
has, and at most four fifths of what was just too much.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tdro.data.task import Mixture
from tdro.errors import UserError
from tdro.gain.learned_weights import LearnedWeights
from tdro.machine import Machine, ran_out_of_memory
from tdro.models.base_tokens import base_tokens
from tdro.planning.cuts import cutter_of
from tdro.planning.device import planned_device
from tdro.planning.fitting import peak_memory, regime, what_fits
from tdro.planning.lengths import sample_lengths
from tdro.planning.memory import CUDA_CONTEXT
from tdro.planning.shape import read_shape
from tdro.planning.trainings import PlannedTraining, planned_trainings
from tdro.recipe.schema import Recipe
from tdro.run.training_data import RunData

_MARGIN = 0.8


@contextmanager
def out_of_memory_named(stage: str, recipe: Recipe, data: RunData, machine: Machine) -> Iterator[None]:
    """Inside it, an error of torch that there is no memory left becomes a :class:`UserError` that says what to set.

    Args:
        stage: the stage's name, as ``models/main/uniform-1``.
        recipe: whose stage it is.
        data: the run's.
        machine: the device.
    """
    try:
        yield
    except RuntimeError as error:
        if not ran_out_of_memory(error):
            raise
        raise UserError(f"{stage}: {_taken(machine)}\n{_what_to_do(stage, recipe, data, machine)}") from error


def _taken(machine: Machine) -> str:
    """The line that says what ran out."""
    if not machine.device.startswith("cuda"):
        return f"{machine.device} ran out of memory."
    free, total = torch.cuda.mem_get_info(machine.device)
    others = total - free - torch.cuda.memory_reserved(machine.device) - CUDA_CONTEXT
    text = f"{machine.device} ran out of its {total / 1e9:.1f} GB of memory"
    return f"{text}, of which other processes hold about {others / 1e9:.1f} GB." if others > 1e9 else f"{text}."


def _what_to_do(stage: str, recipe: Recipe, data: RunData, machine: Machine) -> str:
    if stage.startswith("evaluation/"):  # it has no such key: texts are embedded in small batches
        return "End other processes that use the device, or set device: cpu in the recipe."
    return _settings_to_lower(_planned_name(stage), recipe, data.unmined, machine)


def _settings_to_lower(name: str, recipe: Recipe, data: Mixture, machine: Machine) -> str:
    sizes = dict(zip(data.names, data.sizes, strict=True))
    trainings = planned_trainings(recipe, sizes, LearnedWeights(None, None), data.tests)
    training = next(one for one in trainings if one.stage == name)
    base = training.base
    shape = read_shape(base, recipe.trust_remote_code)
    cutter = cutter_of(base_tokens(base, recipe.trust_remote_code), recipe.data)
    lengths = [sample_lengths(task, cutter) for task in data.tasks]
    how = regime(training, planned_device(recipe.device, recipe.precision), machine.world)
    room = _MARGIN * min(_room(recipe, machine), peak_memory(training, shape, lengths, how).total)
    remedy = what_fits(training, shape, lengths, how, room)
    if remedy.memory is None:
        return f"By the estimate of `tdro plan`, {remedy.text}: take a smaller base or a larger device."
    return f"In {_section(training)}, {remedy.text}; the same command then goes on from the last checkpoint."


def _room(recipe: Recipe, machine: Machine) -> float:
    """Bytes that this process can have of the device; infinite if unknown."""
    if machine.device.startswith("cuda"):
        return torch.cuda.mem_get_info(machine.device)[0] + torch.cuda.memory_reserved(machine.device) + CUDA_CONTEXT
    return (planned_device(recipe.device, recipe.precision).memory or float("inf")) / machine.world


def _planned_name(stage: str) -> str:
    """A stage's name among the planned trainings: ``models/main/uniform-1`` is the group ``main``."""
    if stage == "weights/gain":
        return "gain"
    return stage.split("/")[1] if stage.startswith("models/") else stage


def _section(training: PlannedTraining) -> str:
    """Where in the recipe the keys of a training are."""
    own = {"reference": "`reference`", "reference-2": "`reference`", "weights": "`weights`", "gain": "`reference`"}
    return own.get(training.stage, f"the fine-tuning group '{training.stage}'") + " of the recipe"
