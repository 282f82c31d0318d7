"""Where a run runs: device, precision and ranks, looked up once and handed down as a value."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
from accelerate.utils import parse_flag_from_env

from tdro.errors import UserError


@dataclass(frozen=True)
class Machine:
    """Attributes: ``device`` (a torch device type), ``bf16`` (autocast to it), and this process among its ranks."""

    device: str = "cpu"
    bf16: bool = False
    rank: int = 0
    world: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    @property
    def loading(self) -> str:
        """Where a model is loaded that will be trained: on the CPU if only its shards are to go to the device."""
        return "cpu" if wants_shards() else self.device


def this_machine(device: str = "auto", precision: str = "auto") -> Machine:
    """The machine as it is, under the wishes of the recipe.

    ``auto`` precision is bf16 where the device computes in it, and fp32 elsewhere. Ranks come from torchrun's or
    accelerate's environment; their process group is made by the first trainer.

    Raises:
        UserError: a device that is not there.
    """
    kind = _device() if device == "auto" else device
    if kind.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device: '{device}' is asked for, but torch sees no CUDA device; set device to auto or cpu")
    bf16 = _has_bf16(kind) if precision == "auto" else precision == "bf16"
    return Machine(kind, bf16, int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def wants_shards() -> bool:
    """Whether accelerate's environment asks for FSDP, and there is more than one rank."""
    return parse_flag_from_env("ACCELERATE_USE_FSDP") and int(os.environ.get("WORLD_SIZE", "1")) > 1


def _device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "cpu"


def _has_bf16(kind: str) -> bool:
    if kind.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    # On other CPUs bf16 is emulated, and slower than float32.
    if not hasattr(torch.cpu, "get_capabilities"):
        return bool(torch.cpu._is_avx512_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def join_ranks(machine: Machine) -> None:
    """Make the process group before anything is written, so that ranks can wait for each other."""
    if machine.world > 1:
        from accelerate import PartialState

        # Ranks wait for what rank 0 does alone (mining, an evaluation), for longer than a collective may take.
        PartialState(cpu=machine.device == "cpu", timeout=timedelta(days=1))


def wait_for_everyone(machine: Machine) -> None:
    """Let no rank go on before all have come here."""
    if machine.world > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


@contextlib.contextmanager
def in_turn(machine: Machine) -> Iterator[None]:
    """Rank 0 goes first, then the first rank of each other machine, then the rest: what one makes, the next ones find.

    For files that are made once, in the run's folder, which all machines see, or in a user's, which they may not. Every
    rank must come here.
    """
    turn = 0 if machine.main else 1 if os.environ.get("LOCAL_RANK") == "0" else 2
    for _ in range(turn):
        wait_for_everyone(machine)
    yield
    for _ in range(turn, 2):
        wait_for_everyone(machine)
