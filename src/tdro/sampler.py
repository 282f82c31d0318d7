"""WeightedTaskSampler: draw batches of several data sets by weight, in any sentence-transformers script.

It works around two properties of the stock multi-dataset samplers. See docs/decisions.md, sampler-on-ranks and
sampler-randomness.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import accumulate, count
from typing import Literal

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
from tdro.sampler_tasks import Weights, read_weights, task_names, weights_of_tasks
from tdro.weights import TaskWeights

_EPOCH_STREAM = 21  # with it, `mix` gives other random numbers here than in the rest of tdro


class WeightedTaskSampler(MultiDatasetDefaultBatchSampler):
    """Draws batches of one data set (task) each from several data sets, each task as often as its weight says.

    Use it with a ``DatasetDict`` as ``train_dataset`` and weights that stage 1 learned, or any others. Within a task
    the rows are shuffled without replacement, epoch after epoch, by the batch sampler that the training arguments name
    (``batch_sampler="no_duplicates"`` and so on).

    The order depends on the data sets, the arguments, the seed and the trainer's epoch, and on nothing else. So a
    training that is resumed continues with the same batches. On one rank the last batch of a task's epoch may be short,
    unless ``dataloader_drop_last`` is set. On several ranks all batches of a step are of the same task and full, and
    the rows that are left after a task's last whole step are dropped for this epoch; so no row is on two ranks in one
    step, unless its task has too few rows for a step.

    Requirements:
        - ``train_dataset`` is a ``DatasetDict`` (or a dict of data sets).
        - The trainer reads it once: ``steps`` = ``max_steps`` × ``gradient_accumulation_steps``. A second pass has an
          order of its own, but a training on several ranks that is *resumed* there would repeat the first order.

    Args:
        dataset, batch_samplers, generator, seed: given by the trainer. A batch sampler must draw from the generator
            that it was given (the stock ones do) or from torch's global one.
        weights: :class:`tdro.TaskWeights`, ``{task: weight}``, or the path of a JSON file of either;
            ``"proportional^0.5"``: the number of rows to the power of 0.5; None: all tasks have the same weight. Each
            data set needs a weight (0 leaves it out), except where the weights are a selection such as
            ``weights.top(70)`` or ``weights.transfer("top-70^0.5")``.
        steps: number of batches that each rank reads, at least 1.
        names: the names of the data sets, in order; best the ``DatasetDict`` itself. They may be left out if the
            trainer's prompts or losses are by data set, because it tells the sampler the names then.
        draw: ``systematic``: each task gets its weight × ``steps``, rounded up or down, evenly spread; ``random``: each
            step is drawn independently.
        max_epochs: how often a task's rows may be seen at most; the steps that are over go to the other tasks in
            proportion to their weights. None: no limit.
        world: how many ranks read batches in turn; None: as many as accelerate has. Set it to 1 with accelerate's
            ``split_batches``, which cuts each batch among the ranks.

    Attributes:
        names: the tasks, in the order of the data sets.
        weights: the :class:`tdro.TaskWeights` that are drawn by, over ``names`` and after ``max_epochs``.
        rows_drawn: ``{task: rows}`` handed out in this pass so far, over all ranks.

    Raises:
        UserError: names are not known, not one for each data set, not unique, or not those of the trainer; weights are
            of an unknown task, lack a task, are negative, not finite or all zero; ``steps`` is below 1; ``max_epochs``
            is too low for ``steps``; a task with a weight has too few rows for a batch.

    Example::

        sampler = WeightedTaskSampler.using("weights.json", steps=1000, names=train_dataset)
        args = SentenceTransformerTrainingArguments("out", max_steps=1000, multi_dataset_batch_sampler=sampler)
        SentenceTransformerTrainer(model, args, train_dataset=train_dataset, loss=loss).train()
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
        self.names = task_names(dataset.datasets, names, needed=isinstance(given, TaskWeights))
        self._rows = [len(part) for part in dataset.datasets]  # type: ignore[arg-type]
        self._offsets = [0, *accumulate(self._rows)]
        self.weights = weights_of_tasks(given, self.names, self._rows)
        self._most_steps = None
        if max_epochs is not None:
            step_rows = self.world * self.batch_size
            # Where batches may be short, one step reads all rows of a task that has fewer than a step.
            least = 1 if self.world > 1 or self.drop_last else step_rows
            sizes = [max(least, rows) for rows in self._rows]
            self._most_steps = most_steps(sizes, step_rows, max_epochs)
            self.weights = self.weights.capped(
                dict(zip(self.names, sizes, strict=True)), self.steps * step_rows, max_epochs, step_rows
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
        """What ``multi_dataset_batch_sampler`` takes; the arguments are those of the class.

        A file of weights is read now, and only the names of ``names`` are kept: the trainer saves its arguments with
        every checkpoint, so they must not hold data sets.
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
        """Called by the trainer at the start of each pass, with its number."""
        if epoch > 0 and self.world > 1 and epoch != self.epoch:
            warnings.warn(
                f"the trainer reads the {self.steps} steps of WeightedTaskSampler a second time; a resume "
                "there goes wrong on several ranks. Give it all: max_steps x gradient_accumulation_steps.",
                stacklevel=2,
            )
        self.epoch = epoch

    def tasks(self) -> NDArray[np.int64]:
        """The task of each step of this pass, as positions in ``names``; shape (steps,)."""
        return draw_tasks(self.weights.values, self.steps, self.seed + self.epoch, self.draw, self._most_steps)

    @property
    def epochs(self) -> dict[str, float]:
        """How often each task's rows were handed out in this pass so far: ``rows_drawn`` / number of rows."""
        sizes = zip(self.names, self._rows, strict=True)
        return {name: self.rows_drawn[name] / max(1, rows) for name, rows in sizes}

    def __len__(self) -> int:
        """The number of batches in a pass, over all ranks: ``steps`` × ``world``."""
        return self.steps * self.world

    def __iter__(self) -> Iterator[list[int]]:
        """The rows of each batch, as positions in the concatenated data set."""
        self.rows_drawn = dict.fromkeys(self.names, 0)
        streams = [self._steps(task) for task in range(len(self.names))]
        for task in self.tasks():
            for batch in next(streams[task]):
                self.rows_drawn[self.names[task]] += len(batch)
                yield [row + self._offsets[task] for row in batch]

    def _steps(self, task: int) -> Iterator[list[list[int]]]:
        """The steps of a task, ``world`` batches each, epoch after epoch without end."""
        step: list[list[int]] = []
        # A task cannot have more epochs in a pass than there are batches, so the epochs of two passes differ.
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
            # Batches that are left over would share a step with the next epoch's, which may hold the same rows.
            if whole_steps:
                step = []

    def _epoch(self, task: int, epoch: int) -> Iterator[list[int]]:
        """The batches of one epoch of a task; on several ranks full ones only."""
        inner = self.batch_samplers[task]
        least = self.batch_size if self.world > 1 else 1
        randomness = _OwnRandomness(self.generator, int(mix(self.seed, _EPOCH_STREAM, task, epoch)) >> 1)
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
        """The error for a task with too few rows for a batch."""
        return UserError(
            f"data set {self.names[task]!r}: its {self._rows[task]} rows make no "
            f"{'full ' if self.drop_last or self.world > 1 else ''}batch of {self.batch_size}.\n"
            "Lower per_device_train_batch_size, or give it the weight 0."
        )


class _OwnRandomness:
    """Lends a shared random generator to one task and epoch: inside ``with`` it has a state of its own.

    When it is entered again, the generator continues where it was left. The other users of the generator notice
    nothing.
    """

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


def _check_options(steps: int, draw: str, world: int | None) -> None:
    """Refuse options that make no sense."""
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
        raise UserError(f"WeightedTaskSampler: steps must be a whole number of at least 1, not {steps!r}")
    if draw not in ("systematic", "random"):
        raise UserError(f"WeightedTaskSampler: draw must be 'systematic' or 'random', not {draw!r}")
    if world is not None and world < 1:
        raise UserError(f"WeightedTaskSampler: world must be at least 1, not {world}")


def _world() -> int:
    """How many ranks read in turn: as many as accelerate has, which hands out the batches, or else torch."""
    if is_initialized():
        # On CPUs without use_cpu=True accelerate has 1 even under torchrun, and each process reads all batches.
        return AcceleratorState().num_processes
    return get_world_size()
