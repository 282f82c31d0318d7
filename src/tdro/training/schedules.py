"""Learning rates with warm-up, decay and a floor.

The paper decays by a cosine to 10 % after 100 steps of warm-up. transformers has such schedules, but its linear one has
no floor, and its cosine ones call the floor by different names; here one pure function gives every learning rate. The
warm-up starts from 0, not from the floor, as in the paper's released code.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal, get_args

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

ScheduleKind = Literal["linear", "cosine", "constant"]


def learning_rate_multiplier(kind: ScheduleKind, step: float, steps: int, warmup: int = 0, floor: float = 0.0) -> float:
    """The factor on the peak learning rate at ``step`` (the first step is 0).

    Args:
        kind: ``linear`` or ``cosine`` decay from 1 after the warm-up to ``floor`` at ``steps``, or ``constant``.
        step: number of steps done so far; beyond ``steps`` the factor stays at the floor.
        steps: number of steps of the whole training, at least 1.
        warmup: number of steps in which the factor rises linearly from 0 to 1.
        floor: the smallest factor after the warm-up, in [0, 1]; ``constant`` ignores it.

    Raises:
        ValueError: an unknown kind or a value out of range.
    """
    if kind not in get_args(ScheduleKind):
        raise ValueError(f"schedule {kind!r}: must be one of {', '.join(get_args(ScheduleKind))}")
    if steps < 1 or warmup < 0 or not 0 <= floor <= 1:
        raise ValueError(f"steps {steps} must be >= 1, warmup {warmup} >= 0, and floor {floor} in [0, 1]")
    if step < warmup:
        return step / warmup
    if kind == "constant":
        return 1.0
    decay = max(1, steps - warmup)
    if kind == "linear":
        return floor + (1 - floor) * max(0, steps - step) / decay
    return floor + (1 - floor) * (1 + math.cos(math.pi * min(1.0, (step - warmup) / decay))) / 2


def schedule(optimizer: Optimizer, kind: ScheduleKind, steps: int, warmup: int = 0, floor: float = 0.0) -> LambdaLR:
    """:func:`learning_rate_multiplier` as a torch scheduler, which is stepped after each step of the optimizer."""
    return LambdaLR(optimizer, partial(learning_rate_multiplier, kind, steps=steps, warmup=warmup, floor=floor))
