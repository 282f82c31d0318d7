"""Training arguments for a process that uses one device, the one that is named.

The stock arguments always take ``cuda:0``. On a machine with several GPUs they wrap the model in DataParallel as well,
where the loss sees a part of the batch on each GPU, and α would move by a part of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from accelerate.utils import DistributedType
from sentence_transformers import SentenceTransformerTrainingArguments


@dataclass
class OneDeviceArguments(SentenceTransformerTrainingArguments):
    """The stock arguments, and ``only_device``: the device of a process that trains alone (``cpu``, ``cuda:1``, …).

    With several ranks it is ignored: accelerate gives each rank the device of its local rank.

    Example::

        OneDeviceArguments(output_dir="out", only_device="cuda:1").device  # cuda:1, on a machine with 8 GPUs too
    """

    only_device: str = field(default="cpu", metadata={"help": "the device of a process that trains alone"})

    @cached_property
    def _setup_devices(self) -> torch.device:
        """The device that the trainer puts the model and the batches on; accelerate is told the same."""
        chosen: torch.device = super()._setup_devices  # also sets up accelerate and the ranks' process group
        assert self.distributed_state is not None
        if self.distributed_state.distributed_type != DistributedType.NO:
            return chosen
        device = torch.device(self.only_device)
        self._n_gpu = 0 if device.type == "cpu" else 1  # more would be DataParallel
        self.distributed_state.device = device
        if device.type == "cuda":
            torch.cuda.set_device(device)
        return device
