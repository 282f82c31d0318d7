"""The numbers of a plan as plain data: what ``tdro plan --json`` prints."""

from __future__ import annotations

from typing import Any

from tdro.planning.flops import hours
from tdro.planning.plan import Estimate, RecipePlan


def plan_numbers(plan: RecipePlan, tflops: float | None = None) -> dict[str, Any]:
    """The numbers of a plan.

    Args:
        plan: what is planned.
        tflops: the peak of one device in TFLOP/s, from which the hours follow; None leaves them null.

    Returns:
        ``name``; ``device`` (``kind``, ``bf16``, and ``memory`` in bytes, null if unknown); ``ranks``; ``rows`` of each
        task; ``warnings``; and ``trainings``. Each of these has ``stage``, ``mixture``, ``times`` (how many trainings
        that differ in their seed only), ``steps``, ``batch``, and, of one training, ``tokens``, ``flops`` and ``hours``
        (null if unknown); ``scored_tokens``, ``scoring_flops`` and ``scoring_hours``, of rows that are scored only, and
        of the development sets, as often as a model is scored on them while it trains; ``parameters`` and ``trained``
        ones; ``memory``, in bytes on a device, by part and in ``total``; and ``tasks``, null if the weights are not
        known yet, else for each task the ``steps`` and ``rows`` that are read, and ``epochs``.
    """
    device = {"kind": plan.device.kind, "bf16": plan.device.bf16, "memory": plan.device.memory}
    return {
        **{"name": plan.name, "device": device, "ranks": plan.ranks, "rows": plan.sizes, "warnings": plan.warnings},
        "trainings": [_training(plan, estimate, tflops) for estimate in plan.estimates],
    }


def _training(plan: RecipePlan, estimate: Estimate, tflops: float | None) -> dict[str, Any]:
    training, memory = estimate.training, estimate.memory
    ranks = 1 if estimate.evaluated else plan.ranks  # one rank alone scores a model that is being trained
    known = tflops is not None and estimate.flops is not None
    return {
        **{"stage": training.stage, "mixture": training.mixture, "times": training.times},
        **{"steps": training.settings.steps, "batch": training.settings.batch},
        **{"tokens": estimate.tokens, "flops": estimate.flops},
        "hours": hours(estimate.flops or 0.0, tflops or 1.0, plan.ranks) if known else None,
        **{"scored_tokens": estimate.scored, "scoring_flops": estimate.scoring},
        "scoring_hours": None if tflops is None else hours(estimate.scoring, tflops, ranks),
        **{"parameters": estimate.parameters, "trained": estimate.trained},
        "memory": {**vars(memory), "total": memory.total},
        "tasks": _tasks(plan, estimate),
    }


def _tasks(plan: RecipePlan, estimate: Estimate) -> dict[str, dict[str, float]] | None:
    reading = estimate.training.reading
    if reading is None:
        return None
    read = zip(plan.sizes, reading.steps.tolist(), reading.rows.tolist(), reading.epochs.tolist(), strict=True)
    return {name: {"steps": steps, "rows": rows, "epochs": epochs} for name, steps, rows, epochs in read}
