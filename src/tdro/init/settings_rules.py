"""Settings for somebody's files on this machine, by rules that fit in a comment of the recipe.

They are a start that runs, not the best there is: ``tdro plan`` says what they cost. Rejected: a search for settings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tdro.data.quality.data_card import TaskCard
from tdro.planning.device import Device

REPEATS = 4  # times that the smallest task is read under uniform
MOST_STEPS = 1000
LEAST_STEPS = 10
LONGEST = 512  # tokens
NEGATIVES = 4  # hard negatives of a row in stage 1, as the quickstart has them
OFFSET = 1.0  # nats
# How far the weights may move in all, times the root of the number of tasks: the paper's 20 for its 25. The measures of
# a step are scaled to norm 1, so each of a few tasks has more of it, and 20 would leave one or two of five.
MOVE = 4.0
_CHUNK_ROWS = 32
_BYTES = 16  # of a trained parameter: float32 weights, gradients, and Adam's two moments
_LEARNING_RATES = {"static": 0.01, "decoder": 1e-4, "encoder": 5e-5}


@dataclass(frozen=True)
class ProposedSettings:
    """What the recipe sets; named as its keys are.

    Attributes:
        repeats: how often the smallest task is read under uniform.
        eta_times_steps: of stage 1.
        mixtures: to compare.
        mined: rows that lack negatives.
        longest: what query_tokens and passage_tokens are at most.
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
    mixtures: tuple[str, ...]
    longest: int = LONGEST


def settings_for(
    tasks: Sequence[TaskCard],
    rows: Sequence[int],
    kind: str,
    device: Device,
    parameters: int | None,
    longest: int | None = None,
) -> ProposedSettings:
    """The rules.

    Args:
        tasks: numbers of every task, lengths in tokens of the base.
        rows: of every task that are trained on.
        kind: of the base.
        device: that trains.
        parameters: of the base; None where they are not known.
        longest: the most tokens that the base reads of a text; None: all.
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
        mixtures=_mixtures(len(tasks)),
        longest=longest,
    )


def largest_batch(kind: str, device: Device) -> int:
    """Rows of a step that a device does in seconds."""
    if not device.cpu:
        return 256
    return 128 if kind == "static" else 32


def power_of_two(limit: int) -> int:
    """The largest that is not above it, and at least 2."""
    return max(2, 1 << (max(limit, 1).bit_length() - 1))


def _mixtures(tasks: int) -> tuple[str, ...]:
    """The paper's top-70; of fewer than ten tasks the share that keeps the number nearest to it: 4 of 5, not 3."""
    if tasks < 3:
        return ("uniform", "proportional", "reweight") if tasks == 2 else ("uniform",)
    kept = (7 * tasks + 5) // 10
    percent = -(-100 * kept // tasks) if tasks < 10 and kept > 7 * tasks // 10 else 70
    return ("uniform", "proportional", f"top-{percent}", "reweight")


def _tokens(lengths: Sequence[float], longest: int) -> int:
    """What 95 % of the texts of every task fit in: a multiple of 8, at least 16, but no more than ``longest``."""
    return min(max(-(-int(max(lengths)) // 8) * 8, 16), longest)
