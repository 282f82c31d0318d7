"""Training arguments for a process that uses one device, the one that is named.

The stock arguments take ``cuda:0`` whatever was asked for, and wrap the model in DataParallel where a machine has
several GPUs: the loss then sees a part of the batch on each, and α would move by a part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from accelerate.utils import DistributedType
from sentence_transformers import SentenceTransformerTrainingArguments


@dataclass
class OneDeviceArguments(SentenceTransformerTrainingArguments):
    """The stock arguments, and ``only_device``, where a process that trains alone trains (``cpu``, ``cuda:1``, …).

    With several ranks, each has its own device already: accelerate gives it the one of its local rank.

    Example::

        OneDeviceArguments(output_dir="out", only_device="cuda:1").device  # cuda:1, on a machine with 8 GPUs too
    """

    only_device: str = field(default="cpu", metadata={"help": "where a process that trains alone trains"})

    @cached_property
    def _setup_devices(self) -> torch.device:
        """Where the trainer puts model and batches; accelerate is told the same."""
        chosen: torch.device = super()._setup_devices  # sets accelerate up, and the process group of several ranks
        assert self.distributed_state is not None
        if self.distributed_state.distributed_type != DistributedType.NO:
            return chosen
        device = torch.device(self.only_device)
        self._n_gpu = 0 if device.type == "cpu" else 1  # more would be DataParallel
        self.distributed_state.device = device
        if device.type == "cuda":
            torch.cuda.set_device(device)
        return device
