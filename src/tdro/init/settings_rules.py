"""Chooses steps, batch, lengths and the other settings for somebody's files, by rules that fit into a comment.

They are a start that runs on this machine, not the best settings there are. ``tdro plan`` says what they cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tdro.data.quality.data_card import TaskCard
from tdro.init.mixture_rules import ChosenMixtures, mixtures_for
from tdro.planning.device import Device

REPEATS = 4  # how often the smallest task is read if all tasks are drawn equally often
MOST_STEPS = 1000
LEAST_STEPS = 10
LONGEST = 512  # most tokens of a query or passage
NEGATIVES = 4  # hard negatives of a row in stage 1, as in the quickstart
OFFSET = 1.0  # `weights.offset`, in nats
# `weights.eta_times_steps` is this times the root of the number of tasks, which is the paper's 20 for its 25 tasks. The
# measures of a step are scaled to norm 1, so with few tasks each gets a larger part of it, and 20 would give all weight
# to one or two of five tasks.
MOVE = 4.0
_CHUNK_ROWS = 32
_BYTES = 16  # memory for a trained parameter: its float32 weight, gradient, and two moments of Adam
_LEARNING_RATES = {"static": 0.01, "decoder": 1e-4, "encoder": 5e-5}


@dataclass(frozen=True)
class ProposedSettings:
    """The settings of the recipe, named like its keys.

    Attributes:
        repeats: how often the smallest task is read if all tasks are drawn equally often.
        lora: whether to train adapters only.
        mined: how many rows have no negatives, so that some are mined for them.
        longest: the limit of query_tokens and passage_tokens.
    """

    query_tokens: int
    passage_tokens: int
    batch: int
    steps: int
    repeats: float
    learning_rate: float
    chunk_rows: int
    gradient_caching: bool
    lora: bool
    negatives: int
    mined: int
    eta_times_steps: float
    mixtures: ChosenMixtures
    longest: int = LONGEST


def settings_for(
    tasks: Sequence[TaskCard],
    rows: Sequence[int],
    kind: str,
    device: Device,
    parameters: int | None,
    longest: int | None = None,
) -> ProposedSettings:
    """Choose the settings.

    Args:
        tasks: the numbers of each task, with lengths in tokens of the base.
        rows: how many rows of each task are trained on.
        kind: of the base: static, decoder or encoder.
        device: the one that trains.
        parameters: how many the base has; None if that is not known.
        longest: the most tokens that the base reads of a text; None if it reads all.
    """
    longest = min(longest or LONGEST, LONGEST)
    smallest = min(rows)
    batch = power_of_two(min(largest_batch(kind, device), smallest))
    steps = min(max(REPEATS * smallest * len(tasks) // batch, LEAST_STEPS), MOST_STEPS)
    mined = sum(task.without_negatives for task in tasks)
    large = parameters is not None and device.memory is not None and _BYTES * parameters > 0.8 * device.memory
    return ProposedSettings(
        query_tokens=_tokens([task.query_lengths.most for task in tasks], longest),
        passage_tokens=_tokens([task.passage_lengths.most for task in tasks], longest),
        batch=batch,
        steps=steps,
        repeats=steps * batch / len(tasks) / smallest,
        learning_rate=_LEARNING_RATES[kind],
        chunk_rows=batch if kind == "static" else min(batch, _CHUNK_ROWS),
        gradient_caching=kind != "static" and batch > _CHUNK_ROWS,
        lora=large and kind != "static",
        negatives=NEGATIVES if mined else min(NEGATIVES, *(task.negatives.least for task in tasks)),
        mined=mined,
        eta_times_steps=round(MOVE * math.sqrt(len(tasks)), 1),
        mixtures=mixtures_for(kind, len(tasks)),
        longest=longest,
    )


def largest_batch(kind: str, device: Device) -> int:
    """The rows of a step that the device does in seconds."""
    if not device.cpu:
        return 256
    return 128 if kind == "static" else 32


def power_of_two(limit: int) -> int:
    """The largest power of two that is not above a limit, but at least 2."""
    return max(2, 1 << (max(limit, 1).bit_length() - 1))


def _tokens(lengths: Sequence[float], longest: int) -> int:
    """A length into which 95 % of the texts of each task fit: a multiple of 8 from 16 on, but at most ``longest``."""
    return min(max(-(-int(max(lengths)) // 8) * 8, 16), longest)
