"""What the gain is measured on if the recipe names a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tdro.gain.losses import HeldOutSet


@dataclass(frozen=True)
class TargetSet:
    """One part of a target.

    Attributes:
        name: unique in the target.
        share: how much it counts; the shares of a target sum to 1.
        rows: what its loss is measured on; None for a training task of that name, whose held-out rows it is.
    """

    name: str
    share: float
    rows: HeldOutSet | None = None


def target_names(target: Sequence[TargetSet]) -> list[str]:
    """The names of a target's parts, in the order of the matrix' columns."""
    return [each.name for each in target]
