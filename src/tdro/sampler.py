"""WeightedTaskSampler: the weights in anybody's sentence-transformers script.

It goes into ``multi_dataset_batch_sampler`` of a stock trainer: each batch is of one task, the tasks come by weight,
and each task is shuffled without replacement over epochs of its own by the stock batch sampler (plain, no duplicates,
...).

What the stock multi-dataset samplers do and this one does not: they mix tasks across ranks, as accelerate hands batch i
to rank i mod world, so here each step's task comes ``world`` times in a row; and the batch samplers inside share one
random generator, which ``NoDuplicatesBatchSampler`` seeds with the trainer's epoch whenever it starts, so a task that
begins anew repeats its order and disturbs the others. Here every task and epoch has a random state of its own, in the
shared generator only while that task draws. Rejected: shuffling the rows here, which would lose the user's choice of
batch sampler.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate, count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate.state import AcceleratorState, is_initialized
from numpy.typing import NDArray
from sentence_transformers.base.sampler import MultiDatasetDefaultBatchSampler
from sentence_transformers.util import get_world_size
from torch.utils.data import BatchSampler, ConcatDataset

from tdro.data.plan.permute import mix
from tdro.data.plan.task_order import draw_tasks, most_steps
from tdro.errors import UserError
from tdro.weights import TaskWeights

Weights = TaskWeights | Mapping[str, float] | str | Path | None
_EPOCH = 21  # separates this module's random numbers from the other users of `mix`
_SELECTIONS = ("top-", "bottom-")


class WeightedTaskSampler(MultiDatasetDefaultBatchSampler):
    """Homogeneous batches of several data sets, drawn by weight.

    In a script, :meth:`using` makes what the training arguments take::

        SentenceTransformerTrainingArguments(
            ...,
            max_steps=1000,
            multi_dataset_batch_sampler=WeightedTaskSampler.using(
                "weights.json", steps=1000, names=train_dataset
            ),
        )

    The order is a pure function of the data sets, the arguments, the seed and the trainer's epoch, so a resumed
    trainer, which skips what it has read, continues with the very batches that it would have had.

    With several ranks all batches are full (the trainer sets ``dataloader_drop_last``, and accelerate would lose a
    short one together with its whole step) and what is left of a task's epoch after its last whole step is dropped, so
    that no row is on two ranks at a step, unless its task has too few rows for one step. With one rank, the last batch
    of a task's epoch may be short, unless ``dataloader_drop_last`` is set. Rows that one epoch drops come back in the
    next, in another order.

    The trainer should read it once: ``steps`` = ``max_steps`` × ``gradient_accumulation_steps``. A second pass has a
    new order, with a fresh epoch of each task; but on several ranks a trainer that *resumes* in a second pass replays
    the first one's order.

    Args:
        dataset, batch_samplers, generator, seed: given by the trainer. A batch sampler must draw from the generator
            that it was given (the stock ones do) or from torch's global one.
        weights: :class:`tdro.TaskWeights`, ``{task: weight}``, or a JSON file of either; None is uniform. Each data set
            needs a weight (0 leaves it out), except where the weights are a selection: ``.top(70)``.
        steps: batches that each rank reads, at least 1.
        names: what the data sets are called, in order: best the ``DatasetDict`` itself. The trainer tells the sampler
            only if its prompts or its losses are by data set; names may then be left out, and are checked if given.
        draw: ``systematic`` (each task within one step of weight × steps, evenly spread) or ``random`` (each step drawn
            independently).
        max_epochs: the most that a task's rows may be seen in a pass; what is over goes to the other tasks in
            proportion.
        world: how many ranks read batches in turn; by default those of accelerate. 1 is right where its
            ``split_batches`` cuts each batch among the ranks.

    Attributes:
        names: the tasks, in the order of the data sets.
        weights: what is drawn by: :class:`tdro.TaskWeights` over ``names``, after ``max_epochs``.
        rows_drawn: ``{task: rows}`` handed out in this pass so far, over all ranks.

    Raises:
        UserError: names that cannot be known, are too many, too few, double, or not the data sets' own; weights of an
            unknown task, not of every task, negative, not finite, or all zero; ``steps`` below 1; more epochs needed
            than allowed; a task with weight whose rows make no batch.
    """

    def __init__(
        self,
        dataset: ConcatDataset,
        batch_samplers: list[BatchSampler],
        generator: torch.Generator | None = None,
        seed: int = 0,
        *,
        weights: Weights = None,
        steps: int,
        names: Iterable[str] | None = None,
        draw: Literal["systematic", "random"] = "systematic",
        max_epochs: float | None = None,
        world: int | None = None,
    ) -> None:
        super().__init__(dataset, batch_samplers, generator, seed)
        _check_options(steps, draw, world)
        given = read_weights(weights)
        self.steps, self.draw = int(steps), draw
        self.world = world or _world()
        self.names = task_names(dataset.datasets, names, needed=given is not None)
        self._rows = [len(part) for part in dataset.datasets]  # type: ignore[arg-type]
        self._offsets = [0, *accumulate(self._rows)]
        self.weights = _on(given, self.names)
        self._most = None
        if max_epochs is not None:
            step = self.world * self.batch_size
            # A task with too few rows for a step is once through in one: its last batch is short.
            sizes = [max(1 if step > self.batch_size or self.drop_last else step, rows) for rows in self._rows]
            self._most = most_steps(sizes, step, max_epochs)
            self.weights = self.weights.capped(
                dict(zip(self.names, sizes, strict=True)), self.steps * step, max_epochs, step
            )
        for task, inner in enumerate(batch_samplers):
            if self.weights.values[task] > 0 and len(inner) == 0:
                raise self._no_batch(task)
        self.rows_drawn = dict.fromkeys(self.names, 0)

    @classmethod
    def using(
        cls,
        weights: Weights,
        steps: int,
        names: Iterable[str] | None = None,
        draw: Literal["systematic", "random"] = "systematic",
        max_epochs: float | None = None,
        world: int | None = None,
    ) -> partial[WeightedTaskSampler]:
        """What ``multi_dataset_batch_sampler`` takes. Arguments as of the class; weights are read now.

        The result holds values and no data set, as the trainer saves its arguments with every checkpoint.
        """
        _check_options(steps, draw, world)
        fixed = None if names is None else tuple(names)
        return partial(
            cls,
            weights=read_weights(weights),
            steps=steps,
            names=fixed,
            draw=draw,
            max_epochs=max_epochs,
            world=world,
        )

    def set_epoch(self, epoch: int) -> None:
        """Which pass of the trainer this is; a task's own epochs are counted inside it."""
        if epoch > 0 and self.world > 1 and epoch != self.epoch:
            warnings.warn(
                f"the trainer reads the {self.steps} steps of WeightedTaskSampler a second time; a resume "
                "there goes wrong on several ranks. Give it all: max_steps x gradient_accumulation_steps.",
                stacklevel=2,
            )
        self.epoch = epoch

    def tasks(self) -> NDArray[np.int64]:
        """The task of each step of this pass, shape (steps,), as positions in ``names``."""
        return draw_tasks(self.weights.values, self.steps, self.seed + self.epoch, self.draw, self._most)

    @property
    def epochs(self) -> dict[str, float]:
        """How often each task's rows were handed out in this pass so far: ``rows_drawn`` over its rows."""
        sizes = zip(self.names, self._rows, strict=True)
        return {name: self.rows_drawn[name] / max(1, rows) for name, rows in sizes}

    def __len__(self) -> int:
        """Batches in a pass, over all ranks: ``steps`` × ``world``; accelerate divides it by the ranks."""
        return self.steps * self.world

    def __iter__(self) -> Iterator[list[int]]:
        """Rows of each batch, as positions in the concatenated data set."""
        self.rows_drawn = dict.fromkeys(self.names, 0)
        streams = [self._steps(task) for task in range(len(self.names))]
        for task in self.tasks():
            for batch in next(streams[task]):
                self.rows_drawn[self.names[task]] += len(batch)
                yield [row + self._offsets[task] for row in batch]

    def _steps(self, task: int) -> Iterator[list[list[int]]]:
        """A task's steps, ``world`` batches each, epoch after epoch of its own, without end."""
        step: list[list[int]] = []
        # No pass has more of a task's epochs than batches, so no two passes share an epoch's order.
        for epoch in count(self.epoch * len(self)):
            batches = whole_steps = 0
            for batch in self._epoch(task, epoch):
                step.append(batch)
                batches += 1
                if len(step) == self.world:
                    whole_steps += 1
                    yield step
                    step = []
            if not batches:
                raise self._no_batch(task)
            # What is left of an epoch would share a step with the next, and a row might meet itself there.
            if whole_steps:
                step = []

    def _epoch(self, task: int, epoch: int) -> Iterator[list[int]]:
        """The batches of one of a task's own epochs; full ones only, where there are several ranks."""
        inner = self.batch_samplers[task]
        least = self.batch_size if self.world > 1 else 1
        randomness = _OwnRandomness(self.generator, int(mix(self.seed, _EPOCH, task, epoch)) >> 1)
        if hasattr(inner, "set_epoch"):
            inner.set_epoch(epoch)
        with randomness:
            batches = iter(inner)
        while True:
            with randomness:
                batch = next(batches, None)
            if batch is None:
                return
            if len(batch) >= least:
                yield batch

    def _no_batch(self, task: int) -> UserError:
        return UserError(
            f"data set {self.names[task]!r}: its {self._rows[task]} rows make no "
            f"{'full ' if self.drop_last or self.world > 1 else ''}batch of {self.batch_size}.\n"
            "Lower per_device_train_batch_size, or give it the weight 0."
        )


class _OwnRandomness:
    """A random state that is in a shared generator only inside ``with``, and goes on where it was left."""

    def __init__(self, generator: torch.Generator | None, seed: int) -> None:
        self._generator = torch.default_generator if generator is None else generator
        self._seed = seed
        self._state: torch.Tensor | None = None

    def __enter__(self) -> None:
        self._others = self._generator.get_state()
        if self._state is None:
            self._generator.manual_seed(self._seed)
        else:
            self._generator.set_state(self._state)

    def __exit__(self, *error: object) -> None:
        self._state = self._generator.get_state()
        self._generator.set_state(self._others)


def read_weights(weights: Weights) -> TaskWeights | None:
    """Weights from a value, a dict or a file; None stays None.

    Raises:
        UserError: as :meth:`TaskWeights.from_dict` and :meth:`TaskWeights.load` say.
    """
    if weights is None or isinstance(weights, TaskWeights):
        return weights
    if isinstance(weights, Mapping):
        return TaskWeights.from_dict(weights)
    return TaskWeights.load(weights)


def task_names(datasets: Sequence[Any], names: Iterable[str] | None, needed: bool) -> tuple[str, ...]:
    """What the data sets are called, in order.

    A ``ConcatDataset`` has lost the keys of its ``DatasetDict``. They are in each row's ``dataset_name`` where the
    trainer has put it, else they must be given; where they are not ``needed`` the positions stand in.

    Raises:
        UserError: they are unknown, too many, too few, double, or not those in the rows.
    """
    seen = [_name_in_rows(part) for part in datasets]
    if names is None:
        if all(name is not None for name in seen):
            names = [str(name) for name in seen]
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
    for given, own in zip(names, seen, strict=True):
        if own not in (None, given):
            raise UserError(
                f"names: {given!r} stands where the trainer's data set is {own!r}; keep the trainer's order"
            )
    return names


def _name_in_rows(dataset: Any) -> str | None:
    row = dataset[0] if len(dataset) else None
    return row.get("dataset_name") if isinstance(row, Mapping) else None


def _on(weights: TaskWeights | None, names: tuple[str, ...]) -> TaskWeights:
    """Weights in the order of ``names``, every one of them given unless the weights are a selection."""
    if weights is None:
        return TaskWeights.uniform(names)
    missing = [name for name in names if name not in weights.names]
    if missing and not str(weights.provenance.get("transfer", "")).startswith(_SELECTIONS):
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise UserError(
            f"weights: no weight for data set {missing[0]!r}{more}, only for "
            f"{', '.join(map(repr, weights.names[:8]))}.\nGive it one; 0 leaves it out."
        )
    return TaskWeights(names, weights.on(names), weights.provenance)


def _check_options(steps: int, draw: str, world: int | None) -> None:
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
        raise UserError(f"WeightedTaskSampler: steps must be a whole number of at least 1, not {steps!r}")
    if draw not in ("systematic", "random"):
        raise UserError(f"WeightedTaskSampler: draw must be 'systematic' or 'random', not {draw!r}")
    if world is not None and world < 1:
        raise UserError(f"WeightedTaskSampler: world must be at least 1, not {world}")


def _world() -> int:
    """How many ranks read in turn: accelerate's, which hands out the batches, or else torch's."""
    if is_initialized():
        # On a CPU without use_cpu=True this is 1 even under torchrun, and every process reads all batches.
        return AcceleratorState().num_processes
    return get_world_size()
