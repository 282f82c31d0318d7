"""The device that a plan is for: its precision and its memory.

A device that is not in this machine is no error, as it is in :func:`tdro.machine.this_machine`: a plan may be made on a
laptop for a machine elsewhere. Its memory is then unknown.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from tdro.machine import this_machine

# Where Linux writes a container's memory limit, with version 2 and version 1 of control groups.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Device:
    """A device to train on.

    Attributes:
        kind: ``cpu``, ``cuda`` or ``mps``.
        bf16: whether training computes in bfloat16 (autocast).
        memory: in bytes; None if unknown.
    """

    kind: str
    bf16: bool
    memory: int | None

    @property
    def cpu(self) -> bool:
        """Whether it is the CPU, which uses the machine's own memory."""
        return self.kind == "cpu"


def planned_device(device: str, precision: str) -> Device:
    """The device that a recipe's ``device`` and ``precision`` name, in this machine or elsewhere."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        return Device("cuda", precision != "fp32", None)
    if device == "mps":
        return Device("mps", precision == "bf16", None)
    machine = this_machine("cuda" if device.startswith("cuda") else device, precision)
    if machine.device == "cpu":
        return Device("cpu", machine.bf16, machine_memory())
    if machine.device.startswith("cuda"):
        return Device("cuda", machine.bf16, torch.cuda.get_device_properties(machine.device).total_memory)
    return Device(machine.device, machine.bf16, None)


def machine_memory() -> int | None:
    """Bytes of memory that processes here can use: the machine's, or its container's limit; None if unknown."""
    found = []
    for path in _LIMITS:
        try:
            found.append(int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file, or the word "max"
            continue
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found, default=None)
