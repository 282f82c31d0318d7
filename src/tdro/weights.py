"""TaskWeights: the weights of named tasks, as a value. Stage 1 learns them, and fine-tuning reads them.

A mixture such as ``top-70`` is made here too, by :meth:`TaskWeights.transfer`: what fine-tuning samples by. See
docs/decisions.md, weights-are-a-value.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from tdro.epoch_cap import capped_values
from tdro.errors import UserError
from tdro.files import write_json
from tdro.mixture_name import MixtureName, parse_mixture
from tdro.weights_file import FORMAT, read_weights_file

_EXACT = 1e-12  # weights whose sum is this near to 1 are not divided by it: what is read back is the same to the bit
_ROUNDING = 1e-5  # a sum this near to 1 is float32 or few digits, and is normalised without a warning


@dataclass(frozen=True, eq=False, repr=False)
class TaskWeights(Mapping[str, float]):
    """The weights of named tasks: not negative, and their sum is 1. A value that never changes.

    It is a mapping from each task to its weight: ``weights["news"]``, ``"news" in weights``, ``weights.items()`` and
    ``dict(weights)`` work. Only ``values`` differs: it is the array, not a method. Two are equal if every task has the
    same weight to the bit, whatever the order and the provenance. No plain dict is equal to weights.

    Args:
        names: the tasks, each once.
        values: (k,) numbers, a weight for each task; normalised if their sum is not 1, with a warning.
        provenance: where the weights come from (recipe, seed, step, models, ...): any dict that JSON can hold. It is
            saved and handed on.

    Raises:
        UserError: no tasks, a name twice, a weight that is negative or not finite, or all weights zero.

    Example::

        weights = TaskWeights.load("weights.json")  # or .uniform(names), .from_dict({"news": 0.7, "code": 0.3})
        selected = weights.top(70)  # 70 % of the tasks, those with the largest weights, equally
        selected.capped(sizes, rows_drawn=64_000, max_epochs=4).save("selected.json")
    """

    names: tuple[str, ...]
    values: np.ndarray  # type: ignore[assignment]  # a mapping's method of this name is less use
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = tuple(str(name) for name in self.names)
        values = np.array(self.values, dtype=np.float64)
        if not names:
            raise UserError("weights: no task given; at least one is needed")
        if values.shape != (len(names),):
            raise UserError(f"weights: {len(names)} tasks but values of shape {values.shape}")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"weights: task {twice!r} is there twice")
        for name, value in zip(names, values, strict=True):
            if not math.isfinite(value) or value < 0:
                raise UserError(f"weights: task {name!r} has weight {value}; it must be finite and not negative")
        if not values.any():
            raise UserError("weights: all of them are zero; at least one task needs a positive weight")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "values", _normalised(values))
        self.values.setflags(write=False)

    # ---- where weights come from

    @classmethod
    def uniform(cls, names: Iterable[str]) -> TaskWeights:
        """The same weight for each of ``names``."""
        names = tuple(names)
        return cls(names, np.full(len(names), 1 / max(len(names), 1)), {"transfer": "uniform"})

    @classmethod
    def proportional(cls, sizes: Mapping[str, int], exponent: float = 1.0) -> TaskWeights:
        """Weights in proportion to ``sizes``, the rows of each task; or to ``rows^exponent``, see :meth:`tempered`."""
        rows = np.array(list(sizes.values()), dtype=np.float64)
        # Sizes that make no sense go to the constructor as they are, which names the task.
        values = rows / rows.sum() if (rows >= 0).all() and 0 < rows.sum() < np.inf else rows
        weights = cls(tuple(sizes), values, {"transfer": "proportional"})
        return weights if exponent == 1 else weights.tempered(exponent)._made_by("proportional", exponent=exponent)

    @classmethod
    def from_dict(cls, weights: Mapping[str, float], provenance: dict[str, Any] | None = None) -> TaskWeights:
        """Weights from ``{task: weight}``.

        Raises:
            UserError: a weight is not a number, or as the class says.
        """
        found = dict(weights.items())
        for name, value in found.items():
            if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
                raise UserError(f"weights: task {name!r} has weight {value!r}, which is not a number")
        return cls(tuple(found), np.array(list(found.values()), dtype=np.float64), dict(provenance or {}))

    @classmethod
    def load(cls, path: Path | str) -> TaskWeights:
        """Read a JSON file: of :meth:`save`, of the paper's authors (``domain_weights``), or plain ``{task: weight}``.

        Raises:
            UserError: the file is missing, broken, of an unknown format, or holds no valid weights; names the file.
        """
        weights, provenance = read_weights_file(path)
        try:
            return cls.from_dict(weights, provenance)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    @classmethod
    def paper(cls) -> TaskWeights:
        """The weights of the paper's 25 data sets (arXiv 2408.10613); ``provenance["size"]`` has their rows."""
        with resources.as_file(resources.files("tdro") / "recipe" / "builtin" / "paper_weights.json") as path:
            return cls.load(path)

    def save(self, path: Path | str) -> None:
        """Write JSON (format ``tdro-weights/1``), atomically. :meth:`load` gives it back to the bit."""
        write_json(path, {"format": FORMAT, "weights": self.as_dict(), "provenance": self.provenance})

    # ---- what they say

    def as_dict(self) -> dict[str, float]:
        """``{task: weight}`` in the order of ``names``."""
        return dict(zip(self.names, self.values.tolist(), strict=True))

    def __getitem__(self, name: str) -> float:
        return self.as_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskWeights) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash(frozenset(self.as_dict().items()))

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        shown = sorted(self.as_dict().items(), key=lambda item: -item[1])
        text = ", ".join(f"{name}: {value:.4f}" for name, value in shown[:8])
        more = f", {len(shown) - 8} more" if len(shown) > 8 else ""
        return f"TaskWeights({text}{more}; {self.effective_tasks:.1f} effective of {len(self)})"

    @property
    def entropy(self) -> float:
        """The entropy in nats, which is 0 for all weight on one task, log k for uniform."""
        positive = self.values[self.values > 0]
        return max(0.0, float(-(positive * np.log(positive)).sum()))

    @property
    def effective_tasks(self) -> float:
        """The exponential of the entropy, which is k for uniform weights, 1 where one task has everything."""
        return math.exp(self.entropy)

    def on(self, names: Iterable[str]) -> np.ndarray:
        """The weights as an array in the order of ``names``: (len(names),) float64, 0 for a task that has none here.

        Raises:
            UserError: a task of these weights is not among ``names``.
        """
        names = list(names)
        if unknown := [name for name in self.names if name not in set(names)]:
            raise UserError(f"weights: {_listed(unknown)} not among the tasks; there are {_listed(names)}")
        weights = self.as_dict()
        return np.array([weights.get(name, 0.0) for name in names], dtype=np.float64)

    # ---- what fine-tuning makes of them

    def tempered(self, exponent: float) -> TaskWeights:
        """Every weight to the power of ``exponent``, normalised; a weight of 0 stays 0.

        An exponent below 1 evens the weights out, and one above 1 sharpens them.

        Raises:
            UserError: ``exponent`` is not above 0 and finite.
        """
        return TaskWeights(self.names, _powers(self.values, exponent), self.provenance)

    def top(self, percent: float, exponent: float | None = None) -> TaskWeights:
        """The ``floor(k * percent / 100)`` tasks with the largest weights, largest first.

        They all have the same weight; with an ``exponent``, each has its own weight to this power, normalised. The
        other tasks are gone from ``names``. Of equal weights the earlier task comes first. At least one task is kept;
        where the floor is 0, there is a warning.

        Raises:
            UserError: ``percent`` is not above 0 and at most 100, ``exponent`` is not above 0, or it is given and all
                of the selected tasks have the weight 0.
        """
        return self._select("top", percent, exponent, np.argsort(-self.values, kind="stable"))

    def bottom(self, percent: float, exponent: float | None = None) -> TaskWeights:
        """Like :meth:`top`, but the tasks with the smallest weights, smallest first (an ablation of the paper)."""
        return self._select("bottom", percent, exponent, np.argsort(self.values, kind="stable"))

    def _select(self, side: str, percent: float, exponent: float | None, order: np.ndarray) -> TaskWeights:
        if not 0 < percent <= 100:
            raise UserError(f"{side}-{percent:g}: the percentage must be above 0 and at most 100")
        # 1e-9 undoes rounding, as in 1000 * 0.7 / 100 = 6.999...
        count = math.floor(len(self) * percent / 100 + 1e-9)
        if count == 0:
            warnings.warn(
                f"{side}-{percent:g} of {len(self)} tasks is less than one; keeping {self.names[order[0]]!r}",
                stacklevel=3,
            )
            count = 1
        names, kept = tuple(self.names[i] for i in order[:count]), self.values[order[:count]]
        if exponent is None:
            values = np.full(count, 1 / count)
        elif kept.any():
            values = _powers(kept, exponent)
        else:
            raise UserError(f"{side}-{percent:g}: the selected tasks all have the weight 0; leave the exponent out")
        return TaskWeights(names, values, self.provenance)._made_by(side, percent, exponent)

    def _made_by(self, kind: str, percent: float | None = None, exponent: float | None = None) -> TaskWeights:
        """The same weights, whose provenance says by which transfer they were made."""
        name = str(MixtureName(kind, percent, exponent))
        return TaskWeights(self.names, self.values, {**self.provenance, "transfer": name})

    def transfer(self, spec: str, sizes: Mapping[str, int] | None = None) -> TaskWeights:
        """What fine-tuning samples by, for a mixture by its name in a recipe.

        Args:
            spec: ``top-P`` or ``bottom-P`` with a percentage P, ``reweight`` (the weights themselves), ``uniform`` or
                ``proportional`` (over the same tasks, to compare with), or ``loss-reweight`` (uniform too; training
                then multiplies by :meth:`loss_factors`). All that do not sample equally may have an exponent, as in
                ``top-70^0.5``, see :meth:`tempered` and docs/algorithm.md.
            sizes: how many rows each task has; needed only for ``proportional``.

        Raises:
            UserError: another name, a number out of range, or a task without a size.
        """
        mixture = parse_mixture(spec)
        if mixture.kind == "proportional":
            rows = dict(zip(self.names, self._rows(sizes or {}).tolist(), strict=True))
            return TaskWeights.proportional(rows, mixture.exponent or 1.0)
        if mixture.kind == "reweight":
            tempered = self if mixture.exponent is None else self.tempered(mixture.exponent)
            return tempered._made_by("reweight", exponent=mixture.exponent)
        if mixture.kind == "gain":
            by_itself = spec.replace("gain", "reweight")
            raise UserError(f"transfer {spec!r}: is for recipes; with weights of transfer gain, take {by_itself!r}")
        if mixture.percent is not None:
            select = self.top if mixture.kind == "top" else self.bottom
            return select(mixture.percent, mixture.exponent)
        return TaskWeights.uniform(self.names)  # of loss-reweight too

    def loss_factors(self) -> dict[str, float]:
        """The factor k·α of each task's loss under uniform sampling (the paper's loss reweighting).

        If a batch has rows of one task and gradients are clipped to a norm, multiply the clipped gradient and not the
        loss: clipping would take the factor out again.
        """
        return {name: len(self) * weight for name, weight in self.as_dict().items()}

    def _rows(self, sizes: Mapping[str, int]) -> np.ndarray:
        """How many rows each task has, (k,). Raises :class:`UserError` unless all are known and at least 1."""
        for name in self.names:
            if not sizes.get(name, 0) > 0:
                raise UserError(f"task {name!r}: its size must be known and at least 1 row, not {sizes.get(name)}")
        return np.array([sizes[name] for name in self.names], dtype=np.float64)

    def epochs(self, sizes: Mapping[str, int], rows_drawn: int) -> dict[str, float]:
        """How often training sees each row of a task, if it draws ``rows_drawn`` rows by these weights.

        Raises:
            UserError: a task's size is missing or below 1.
        """
        seen = self.values * rows_drawn / self._rows(sizes)
        return dict(zip(self.names, seen.tolist(), strict=True))

    def capped(
        self, sizes: Mapping[str, int], rows_drawn: int, max_epochs: float, batch: int | None = None
    ) -> TaskWeights:
        """The nearest weights under which no task is seen more than ``max_epochs`` times in ``rows_drawn`` rows.

        What a capped task loses goes to the others in proportion to their weights, until all fit.

        Args:
            sizes: how many rows each task has.
            rows_drawn: how many rows of all tasks together training draws.
            max_epochs: the cap.
            batch: rows of a batch, if a batch has rows of one task: whole batches must then keep the cap. Of 40 rows
                that may be seen 1.2 times, one batch of 32 can be drawn and not two. A task of which not one batch can
                be drawn is warned of.

        Raises:
            UserError: the tasks of positive weight have too few rows, a size is missing, or ``rows_drawn`` or
                ``max_epochs`` is not positive.
        """
        if not rows_drawn > 0 or not max_epochs > 0:
            raise UserError(f"cap: rows drawn ({rows_drawn}) and epochs ({max_epochs}) must be above 0")
        values, left_out = capped_values(self.values, self._rows(sizes), rows_drawn, max_epochs, batch)
        if left_out.any():
            names = [name for name, out in zip(self.names, left_out.tolist(), strict=True) if out]
            warnings.warn(
                f"cap: {_listed(names)} left out, as one batch of {batch} rows is over {max_epochs:g} epochs of it",
                stacklevel=2,
            )
        provenance = {**self.provenance, "max_epochs": max_epochs}
        return TaskWeights(self.names, values, provenance)


def _powers(values: np.ndarray, exponent: float) -> np.ndarray:
    """The values to this power, normalised. Some value must be above 0."""
    if not 0 < exponent < math.inf:
        raise UserError(f"exponent {exponent}: must be a number above 0")
    powers = (values / values.max()) ** exponent  # the largest is 1, so that not all of them can be rounded to 0
    scaled: np.ndarray = powers / powers.sum()
    return scaled


def _normalised(values: np.ndarray) -> np.ndarray:
    """``values`` divided by their sum, with a warning if that changes them by more than rounding."""
    largest = float(values.max())
    total = float((values / largest).sum()) * largest  # may overflow to inf, which only the message shows
    if abs(total - 1) <= _EXACT:
        return values
    if abs(total - 1) > _ROUNDING:
        warnings.warn(f"weights sum to {total:g}, not 1: normalised", stacklevel=5)
    scaled = values / largest
    return scaled / scaled.sum()


def _listed(names: Iterable[str], most: int = 8) -> str:
    """The first few of some names, for an error message."""
    names = list(names)
    return ", ".join(repr(name) for name in names[:most]) + (", ..." if len(names) > most else "")
