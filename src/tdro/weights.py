"""TaskWeights: a distribution over named tasks, as a value.

What stage 1 learns and what fine-tuning reads. A value is read, compared, capped, drawn from and handed over
like a number, and says of itself where it came from (``provenance``). Inside it is float64 NumPy; on disk it
is JSON, which keeps a float64 to the bit. Rejected: a tensor (weights must load without torch) and a plain
dict (it can be negative, not sum to one, or be misspelt without anybody noticing).
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from tdro.errors import UserError
from tdro.files import read_json, write_json

FORMAT = "tdro-weights/1"
TRANSFERS = "uniform, proportional, reweight, loss-reweight, top-P or bottom-P with P a percentage such as 70"
_EXACT = 1e-12  # sums this near to 1 are left as they are, so that a file read back is the same to the bit
_ROUNDING = 1e-5  # sums this near to 1 were printed from float32 or with few digits: no news to anybody


@dataclass(frozen=True, eq=False, repr=False)
class TaskWeights(Mapping[str, float]):
    """Weights of named tasks: non-negative, finite, summing to 1; a mapping from each task to its weight.

    It is read like any mapping (``weights["news"]``, ``"news" in weights``, ``weights.items()``, ``dict(weights)``),
    except that ``values`` is the array and not a method. Two are equal if each task has the same weight to the bit,
    whatever the order and the provenance; a plain dict is not weights and equal to none.

    Attributes:
        names: the tasks, unique, in the order of ``values``.
        values: (k,) float64, read-only.
        provenance: where the weights came from (recipe, seed, step, models, ...); any JSON-able dict.

    Raises:
        UserError: for no tasks, a name twice, a negative or non-finite weight, or weights that are all zero.
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
    def proportional(cls, sizes: Mapping[str, int]) -> TaskWeights:
        """Weights in proportion to ``sizes``, the rows of each task."""
        rows = np.array(list(sizes.values()), dtype=np.float64)
        # Where the rows make no sense the constructor says which.
        values = rows / rows.sum() if (rows >= 0).all() and 0 < rows.sum() < np.inf else rows
        return cls(tuple(sizes), values, {"transfer": "proportional"})

    @classmethod
    def from_dict(cls, weights: Mapping[str, float], provenance: dict[str, Any] | None = None) -> TaskWeights:
        """Weights from ``{task: weight}``; normalised, with a warning, where they do not sum to 1.

        Raises:
            UserError: if a weight is not a number, or as the class says.
        """
        found = dict(weights.items())
        for name, value in found.items():
            if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
                raise UserError(f"weights: task {name!r} has weight {value!r}, which is not a number")
        return cls(tuple(found), np.array(list(found.values()), dtype=np.float64), dict(provenance or {}))

    @classmethod
    def load(cls, path: Path | str) -> TaskWeights:
        """Read :meth:`save`'s JSON, the tDRO authors' released JSON (``domain_weights``), or ``{task:
        weight}``.

        Raises:
            UserError: naming the file, if it is missing, broken, of an unknown format, or holds no valid
                weights.
        """
        content = read_json(path)
        if not isinstance(content, dict):
            raise UserError(f"{path}: expected a JSON object of weights, found {type(content).__name__}")
        provenance: Any = {"file": Path(path).name}
        if "format" in content and not isinstance(content["format"], (int, float)):
            if content["format"] != FORMAT:
                raise UserError(f"{path}: format {content['format']!r} is not {FORMAT!r}, the one this version reads")
            weights, provenance = content.get("weights"), content.get("provenance", {})
        elif "domain_weights" in content:
            weights = content["domain_weights"]
            provenance |= {key: content[key] for key in ("source", "size") if key in content}
        else:
            weights = content
        if not isinstance(weights, dict) or not isinstance(provenance, dict):
            raise UserError(f"{path}: 'weights' must be an object of task: weight, and 'provenance' an object")
        try:
            return cls.from_dict(weights, provenance)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    @classmethod
    def paper(cls) -> TaskWeights:
        """The weights of the paper's 25 data sets (arXiv 2408.10613), with rows in ``provenance["size"]``."""
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
        """Entropy in nats: 0 for all weight on one task, log k for uniform."""
        positive = self.values[self.values > 0]
        return max(0.0, float(-(positive * np.log(positive)).sum()))

    @property
    def effective_tasks(self) -> float:
        """exp(entropy): k for uniform weights, 1 where one task has everything."""
        return math.exp(self.entropy)

    def on(self, names: Iterable[str]) -> np.ndarray:
        """The weights in the order of ``names``: (len(names),) float64, 0 for a task that has none here.

        Raises:
            UserError: if a task of these weights is not among ``names``.
        """
        names = list(names)
        if unknown := [name for name in self.names if name not in set(names)]:
            raise UserError(f"weights: {_listed(unknown)} not among the tasks; there are {_listed(names)}")
        weights = self.as_dict()
        return np.array([weights.get(name, 0.0) for name in names], dtype=np.float64)

    # ---- what fine-tuning makes of them

    def top(self, percent: float) -> TaskWeights:
        """The ``floor(k * percent / 100)`` tasks of largest weight, uniform among themselves, largest first.

        The other tasks are gone from ``names``. Of equal weights the earlier task comes first. At least one
        task is kept, with a warning where the floor would keep none.

        Raises:
            UserError: if ``percent`` is not in (0, 100].
        """
        return self._select("top", percent, np.argsort(-self.values, kind="stable"))

    def bottom(self, percent: float) -> TaskWeights:
        """Like :meth:`top`, of smallest weight, smallest first (an ablation of the paper)."""
        return self._select("bottom", percent, np.argsort(self.values, kind="stable"))

    def _select(self, side: str, percent: float, order: np.ndarray) -> TaskWeights:
        if not 0 < percent <= 100:
            raise UserError(f"{side}-{percent:g}: the percentage must be above 0 and at most 100")
        # The small term undoes rounding, as in 1000 * 0.7 / 100 = 6.999...
        count = math.floor(len(self) * percent / 100 + 1e-9)
        if count == 0:
            warnings.warn(
                f"{side}-{percent:g} of {len(self)} tasks is less than one; keeping {self.names[order[0]]!r}",
                stacklevel=3,
            )
            count = 1
        names = [self.names[i] for i in order[:count]]
        provenance = {**self.provenance, "transfer": f"{side}-{percent:g}"}
        return TaskWeights(tuple(names), np.full(count, 1 / count), provenance)

    def transfer(self, spec: str, sizes: Mapping[str, int] | None = None) -> TaskWeights:
        """Turn learned weights into what fine-tuning samples by.

        Args:
            spec: ``uniform`` or ``proportional`` (over the same tasks, for comparison), ``reweight`` (the
                weights themselves), ``top-P`` or ``bottom-P`` with a percentage P in (0, 100], or
                ``loss-reweight``: uniform, to be trained with :meth:`loss_factors`.
            sizes: rows of each task; needed for ``proportional`` only.

        Raises:
            UserError: for another spec, a percentage out of range, or a task without a size.
        """
        if spec in ("uniform", "loss-reweight"):
            return TaskWeights.uniform(self.names)
        if spec == "proportional":
            return TaskWeights.proportional(dict(zip(self.names, self._rows(sizes or {}).tolist(), strict=True)))
        if spec == "reweight":
            return TaskWeights(self.names, self.values, {**self.provenance, "transfer": "reweight"})
        if match := re.fullmatch(r"(top|bottom)-(\d+(?:\.\d+)?)", spec):
            percent = float(match[2])
            return self.top(percent) if match[1] == "top" else self.bottom(percent)
        raise UserError(f"transfer {spec!r}: must be {TRANSFERS}")

    def loss_factors(self) -> dict[str, float]:
        """What each task's loss counts under uniform sampling: k·α (the paper's loss reweighting).

        Where batches are of one task and gradients are clipped to a norm, multiply the clipped gradient by it: a factor
        of the loss would be clipped away.
        """
        return {name: len(self) * weight for name, weight in self.as_dict().items()}

    def _rows(self, sizes: Mapping[str, int]) -> np.ndarray:
        """Rows of each task (k,), every one of them known and positive."""
        for name in self.names:
            if not sizes.get(name, 0) > 0:
                raise UserError(f"task {name!r}: its size must be known and at least 1 row, not {sizes.get(name)}")
        return np.array([sizes[name] for name in self.names], dtype=np.float64)

    def epochs(self, sizes: Mapping[str, int], rows_drawn: int) -> dict[str, float]:
        """How often training sees each task's rows, if ``rows_drawn`` rows are drawn by these weights.

        Raises:
            UserError: if a task's size is missing or less than 1.
        """
        seen = self.values * rows_drawn / self._rows(sizes)
        return dict(zip(self.names, seen.tolist(), strict=True))

    def capped(
        self, sizes: Mapping[str, int], rows_drawn: int, max_epochs: float, batch: int | None = None
    ) -> TaskWeights:
        """The nearest weights under which no task is seen more than ``max_epochs`` times in ``rows_drawn``
        rows.

        What a capped task loses goes to the others in proportion to their weights, again and again until all
        fit.

        Args:
            sizes: rows of each task.
            rows_drawn: rows of all tasks together.
            max_epochs: the limit.
            batch: where rows will be drawn in batches of so many of one task, whole batches must be enough: of 40 rows
                that may be seen 1.2 times, one batch of 32 can be drawn, and not two. A task with rows for less than
                one is warned of.

        Raises:
            UserError: if the tasks of positive weight have too few rows for it, a size is missing, or
                ``rows_drawn`` or ``max_epochs`` is not positive.
        """
        if not rows_drawn > 0 or not max_epochs > 0:
            raise UserError(f"cap: rows drawn ({rows_drawn}) and epochs ({max_epochs}) must be above 0")
        rows = self._rows(sizes)
        limits, whole_limits = (_rows_within(rows, max_epochs, size) / rows_drawn for size in (None, batch))
        room = float(whole_limits[self.values > 0].sum())
        if room < 1 - 1e-9:
            whole = f" in whole batches of {batch}" if batch else ""
            raise UserError(
                f"cap: {max_epochs:g} epochs of these tasks are {room * rows_drawn:.0f} rows{whole}, fewer than the "
                f"{rows_drawn} to be drawn; train for fewer steps or allow "
                f"{_epochs_needed(rows[self.values > 0], rows_drawn, batch):g} epochs"
            )
        if left_out := [name for name, limit in zip(self.names, whole_limits, strict=True) if not limit and self[name]]:
            warnings.warn(
                f"cap: {_listed(left_out)} left out, as one batch of {batch} rows is over {max_epochs:g} epochs of it",
                stacklevel=2,
            )
        values = self.values.copy()
        full = np.zeros(len(self), dtype=bool)
        while (over := (values > limits) & ~full).any():
            full |= over
            values[full] = limits[full]
            others = values[~full].sum()
            if others > 0:
                values[~full] *= (1 - values[full].sum()) / others
        provenance = {**self.provenance, "max_epochs": max_epochs}
        return TaskWeights(self.names, values, provenance)


def _rows_within(rows: np.ndarray, max_epochs: float, batch: int | None) -> np.ndarray:
    """How many rows of each task may be drawn; the small term undoes rounding, as in 0.7 * 10 = 7.0000000000000009."""
    return max_epochs * rows if batch is None else np.floor(max_epochs * rows / batch + 1e-9) * batch


def _epochs_needed(rows: np.ndarray, rows_drawn: int, batch: int | None) -> float:
    """The least epochs under which so many rows can be drawn, up to the next hundredth."""
    hundredths = math.ceil(100 * rows_drawn / rows.sum() - 1e-9)
    while _rows_within(rows, hundredths / 100, batch).sum() < rows_drawn:
        hundredths += 1
    return hundredths / 100


def _normalised(values: np.ndarray) -> np.ndarray:
    """``values`` divided by their sum, with a warning where that is more than rounding."""
    largest = float(values.max())
    total = float((values / largest).sum()) * largest  # may overflow to inf, which only the message shows
    if abs(total - 1) <= _EXACT:
        return values
    if abs(total - 1) > _ROUNDING:
        warnings.warn(f"weights sum to {total:g}, not 1: normalised", stacklevel=5)
    scaled = values / largest
    return scaled / scaled.sum()


def _listed(names: Iterable[str], most: int = 8) -> str:
    """A few names for an error message."""
    names = list(names)
    return ", ".join(repr(name) for name in names[:most]) + (", ..." if len(names) > most else "")
