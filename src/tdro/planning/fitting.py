"""Which settings make a training fit into a memory: the estimate of its peak, tried with cheaper and cheaper settings.

Only settings that leave the result as it is are proposed, and of these the ones that cost least time. They are tried in
this order: gradient caching; smaller micro-batches; gradient checkpointing besides. A static model has none of them, so
there it is the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tdro.planning.device import Device
from tdro.planning.lengths import TaskLengths, draw_batch
from tdro.planning.memory import Memory, Regime, largest, memory
from tdro.planning.shape import ModelShape
from tdro.planning.trainings import PlannedTraining

_FEW_ROWS = 8  # with fewer texts in a micro-batch, gradient checkpointing is cheaper than still smaller ones


@dataclass(frozen=True)
class Remedy:
    """What to do about a training that does not fit.

    Attributes:
        text: as ``set gradient_caching: true and chunk_rows: 8 (about 5.1 GB)``.
        memory: the estimate with it, in bytes; None where nothing fits.
    """

    text: str
    memory: float | None


def regime(training: PlannedTraining, device: Device, ranks: int) -> Regime:
    """How a training is done, as far as its memory depends on it."""
    base, settings = training.base, training.settings
    return Regime(
        cpu=device.cpu,
        bf16=device.bf16,
        lora=base.lora.r if base.lora else None,
        dropout=training.scored is None,  # the trainings that learn weights have none
        checkpointing=base.gradient_checkpointing,
        caching=settings.gradient_caching,
        chunk_rows=settings.chunk_rows,
        ranks=ranks,
    )


def peak_memory(
    training: PlannedTraining, shape: ModelShape, lengths: Sequence[TaskLengths], how: Regime, batch: int | None = None
) -> Memory:
    """The largest peak of any batch: stage 1's has rows of all tasks, another training's of any one task.

    Args:
        training: steps, negatives and so on.
        shape: its model's.
        lengths: of the texts of each task.
        how: how it is done.
        batch: another batch than the training's.
    """
    batch, negatives = batch or training.settings.batch, training.settings.negatives
    rows = max(1, batch // how.ranks)
    candidates = (1 + negatives) * (1 if training.mixed else batch)
    batches = [lengths] if training.mixed else [[task] for task in lengths]
    return largest([memory(shape, how, draw_batch(tasks, rows, negatives), rows, candidates) for tasks in batches])


def what_fits(
    training: PlannedTraining, shape: ModelShape, lengths: Sequence[TaskLengths], how: Regime, room: float
) -> Remedy:
    """The cheapest settings with which a training fits.

    Args:
        training: that does not fit as it is.
        shape: its model's.
        lengths: of the texts of each task.
        how: how it is done now.
        room: bytes that it may take.
    """
    if shape.static:
        batch = training.settings.batch
        while batch > 2 * how.ranks:
            batch = max(2, batch // 2) // how.ranks * how.ranks
            if (needed := peak_memory(training, shape, lengths, how, batch).total) <= room:
                return _remedy([f"batch: {batch}"], needed)
        return Remedy("no batch fits beside its weights, gradients and optimizer", None)
    for tried in _tried(how):
        if (needed := peak_memory(training, shape, lengths, tried).total) <= room:
            return _remedy(_changes(how, tried), needed)
    adapters = "" if how.lora is not None else " (base.lora trains adapters instead)"
    return Remedy(f"no batch fits beside its weights, gradients and optimizer{adapters}", None)


def _tried(how: Regime) -> list[Regime]:
    """The ways to do a training, the cheapest first, without the one that it is done in now."""
    rows = [how.chunk_rows]
    while rows[-1] > 1:
        rows.append(rows[-1] // 2)
    cached = replace(how, caching=True)
    ways = [replace(cached, chunk_rows=count) for count in rows if how.checkpointing or count >= _FEW_ROWS]
    ways += [replace(cached, chunk_rows=count, checkpointing=True) for count in rows if not how.checkpointing]
    return [way for way in ways if way != how]


def _changes(how: Regime, tried: Regime) -> list[str]:
    changes = ["gradient_caching: true"] if tried.caching != how.caching else []
    changes += [f"chunk_rows: {tried.chunk_rows}"] if tried.chunk_rows != how.chunk_rows else []
    return changes + (["base.gradient_checkpointing: true"] if tried.checkpointing != how.checkpointing else [])


def _remedy(changes: list[str], needed: float) -> Remedy:
    first, last = changes[:-1], changes[-1]
    text = f"{', '.join(first)} and {last}" if first else last
    return Remedy(f"set {text} (about {needed / 1e9:.1f} GB)", needed)
