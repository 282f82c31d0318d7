"""Which name and which weight each data set of :class:`tdro.sampler.WeightedTaskSampler` has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tdro.errors import UserError
from tdro.mixture_name import MixtureName, parse_mixture
from tdro.weights import TaskWeights
from tdro.weights_on_tasks import weights_on_tasks

Weights = TaskWeights | Mapping[str, float] | MixtureName | str | Path | None


def read_weights(weights: Weights) -> TaskWeights | MixtureName | None:
    """The weights as a value, whatever form they come in; a mixture that needs only the rows of the tasks as its name.

    Raises:
        UserError: a file that is missing or broken, or the name of a mixture that needs learned weights.
    """
    if weights is None or isinstance(weights, (TaskWeights, MixtureName)):
        return weights
    if isinstance(weights, Mapping):
        return TaskWeights.from_dict(weights)
    if isinstance(weights, Path) or weights.endswith(".json") or Path(weights).is_file():
        return TaskWeights.load(weights)
    mixture = parse_mixture(weights)
    if mixture.kind not in ("uniform", "proportional"):
        raise UserError(
            f"WeightedTaskSampler: {weights!r} needs learned weights; pass "
            f"TaskWeights.load('weights.json').transfer({weights!r})"
        )
    return mixture


def task_names(datasets: Sequence[Any], names: Iterable[str] | None, needed: bool) -> tuple[str, ...]:
    """The names of the data sets, in order.

    The trainer's ``ConcatDataset`` has lost the keys of the ``DatasetDict``. Sometimes the trainer has put them into
    each row (``dataset_name``). If not, and the caller does not give them, the positions 0, 1, ... are the names, which
    is enough where they are not ``needed`` (without weights).
    """
    in_rows = [_name_in_rows(part) for part in datasets]
    if names is None:
        if all(name is not None for name in in_rows):
            names = [str(name) for name in in_rows]
        elif needed:
            raise UserError(
                "WeightedTaskSampler: the trainer does not say what its data sets are called.\n"
                "Pass names=train_dataset, the DatasetDict that the trainer is given."
            )
        else:
            names = [str(position) for position in range(len(datasets))]
    names = tuple(names)
    if len(names) != len(datasets) or len(set(names)) != len(names):
        raise UserError(f"names: {list(names)} must be {len(datasets)} different ones, one for each data set, in order")
    for given, own in zip(names, in_rows, strict=True):
        if own not in (None, given):
            raise UserError(
                f"names: {given!r} stands where the trainer's data set is {own!r}; keep the trainer's order"
            )
    return names


def _name_in_rows(dataset: Any) -> str | None:
    """The name that the trainer has put into a data set's rows; None if it has not."""
    row = dataset[0] if len(dataset) else None
    return row.get("dataset_name") if isinstance(row, Mapping) else None


def weights_of_tasks(
    weights: TaskWeights | MixtureName | None, names: tuple[str, ...], rows: Sequence[int]
) -> TaskWeights:
    """The weights in the order of ``names``; each must have one, unless the weights are a selection of tasks.

    Args:
        weights: as :func:`read_weights` returns them.
        names: of the data sets.
        rows: how many each has.
    """
    if weights is None:
        return TaskWeights.uniform(names)
    if isinstance(weights, MixtureName):
        return TaskWeights.uniform(names).transfer(str(weights), dict(zip(names, rows, strict=True)))
    return weights_on_tasks(weights, names, "data set")
