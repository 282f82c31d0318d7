"""Whether a reference is fit to learn weights against: it has learned something of each task, and nothing by heart."""

from __future__ import annotations

from collections.abc import Mapping

from tdro.dro.measures import FLOOR

WEAK = 0.95  # a reference has learned nothing if its loss is above this part of the untrained model's
# A task is memorised if the reference's loss on unseen rows is more than so many times that on seen rows, and larger by
# at least so many nats.
MEMORISED = 2.0
MEMORISED_BY = 0.1


def weak_reference(reference: float | None, untrained: float | None, solved_below: float = FLOOR) -> bool:
    """Whether the reference has learned nothing of a task, so that the task's measure means nothing.

    That is the case if its loss is not below 95 % of the untrained base's. It is not said where the base solves the
    task already, or where one of the losses is not known.

    Args:
        reference: the reference's mean loss over the task's rows, in nats.
        untrained: the base model's, before any training. None for either: not known.
        solved_below: nats; see :class:`tdro.dro.health.HealthMonitor`.
    """
    if reference is None or untrained is None:
        return False
    return untrained >= solved_below and not reference < WEAK * untrained


def reference_warnings(
    reference: Mapping[str, float], untrained: Mapping[str, float], solved_below: float = FLOOR
) -> list[str]:
    """A line for each task on which the reference is weak. Arguments as in :func:`weak_reference`, by task."""
    return [
        f"weak reference on task '{name}': loss {reference[name]:.3g}, untrained {base:.3g}: its measure "
        "means little; train the reference longer or at a larger learning rate, or look at the task's labels"
        for name, base in untrained.items()
        if weak_reference(reference.get(name), base, solved_below)
    ]


def memorisation_warnings(seen: Mapping[str, float], unseen: Mapping[str, float]) -> list[str]:
    """A line for each task whose rows the reference has learned by heart, so that its measure explodes.

    Args:
        seen: the reference's mean loss on rows that it was trained on, by task, in nats.
        unseen: the same on rows that it was not trained on. A task that is missing in either is passed over.
    """
    return [
        f"the reference has memorised task '{name}': loss {seen[name]:.3g} on rows it was trained "
        f"on, {loss:.3g} on others, so its weight is too high: set stage1_rows to held_out or cross_fit, "
        "or train the reference for fewer steps"
        for name, loss in unseen.items()
        if name in seen and loss > MEMORISED * seen[name] and loss - seen[name] > MEMORISED_BY
    ]
