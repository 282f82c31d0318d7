"""Weights from elsewhere for the tasks at hand: each task must have one, unless the weights are a selection."""

from __future__ import annotations

from collections.abc import Sequence

from tdro.errors import UserError
from tdro.mixture_name import known_mixture
from tdro.weights import TaskWeights


def weights_on_tasks(weights: TaskWeights, names: Sequence[str], kind: str = "task") -> TaskWeights:
    """The weights over all of ``names``, in this order.

    A selection, such as ``weights.top(70)``, is silent on the tasks that it leaves out: they get the weight 0.

    Args:
        weights: those of a file, or of the user's script.
        names: all tasks that are trained on.
        kind: what an error calls one of them, as in "data set".

    Raises:
        UserError: the weights have a task that is not among ``names``; or lack one, and are no selection.

    Example::

        weights_on_tasks(TaskWeights.load("weights.json"), ["news", "code", "faq"])
    """
    values = weights.on(names)
    missing = [name for name in names if name not in weights.names]
    made_by = known_mixture(str(weights.provenance.get("transfer", "")))
    if missing and not (made_by and made_by.selects):
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise UserError(
            f"weights: no weight for {kind} {missing[0]!r}{more}, only for "
            f"{', '.join(map(repr, weights.names[:8]))}.\nGive it one; 0 leaves it out."
        )
    return TaskWeights(tuple(names), values, weights.provenance)
