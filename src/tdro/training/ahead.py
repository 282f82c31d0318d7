"""Put the batches of the next steps together in a thread, while a step is trained on.

A batch is numpy and memory-mapped files, and takes 5 to 50 ms; a GPU would stand still for so long. Items are asked for
by their number, so nothing depends on how far ahead the thread is: the order is the plan's, and a training that
continues at step t asks for item t first. See docs/decisions.md, batches-ahead-in-a-thread.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch.utils.data import Dataset

_AHEAD = 2  # batches that are ready or being made


class AheadOfTraining(Dataset[dict[str, Any]]):
    """The same items as another data set's; after an item was asked for, the next ones are made in a thread.

    Args:
        items: batches by their number. Only the thread asks for them, one at a time.
        pinned: keep the tensors in pinned memory, from which a CUDA GPU copies without making the process wait.

    Example::

        ahead = AheadOfTraining(steps)
        ahead[7]  # steps[7]; meanwhile 8 and 9 are made
    """

    def __init__(self, items: Dataset[dict[str, Any]], pinned: bool = False) -> None:
        self._items, self._pinned = items, pinned
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")  # ends when this object does
        self._made: dict[int, Future[dict[str, Any]]] = {}

    def __len__(self) -> int:
        return len(self._items)  # type: ignore[arg-type]

    def __getitem__(self, step: int) -> dict[str, Any]:
        wanted = range(step, min(step + 1 + _AHEAD, len(self)))
        for number in [number for number in self._made if number not in wanted]:  # somebody jumped
            self._made.pop(number).cancel()
        for number in wanted:
            if number not in self._made:
                self._made[number] = self._thread.submit(self._make, number)
        return self._made.pop(step).result()

    def _make(self, step: int) -> dict[str, Any]:
        batch = self._items[step]
        if not self._pinned:
            return batch
        return {key: value.pin_memory() if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
