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
    """Attributes: ``device`` (``cpu``, ``mps``, ``cuda:N``), ``bf16`` (autocast to it), and this rank among all."""

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

    ``auto`` is this rank's CUDA GPU, else Apple's (mps), else the CPU; ``auto`` precision is bf16 where the device
    computes in it, and fp32 elsewhere. A process uses one device: of several ranks on a machine, rank r uses GPU r.
    Ranks come from torchrun's or accelerate's environment; their process group is made by the first trainer.

    Raises:
        UserError: a device that is not there, or one device for several ranks.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    found = _device(device, world)
    bf16 = _has_bf16(found) if precision == "auto" else precision == "bf16"
    return Machine(found, bf16, rank, world)


def idle_gpus(device: str, machine: Machine) -> str:
    """A line that says how to use the GPUs that a run leaves idle; empty if there are none, or one was named."""
    if machine.world > 1 or device not in ("auto", "cuda") or not machine.device.startswith("cuda"):
        return ""
    count = torch.cuda.device_count()
    return f"1 of {count} GPUs is used; to use them all, add --processes auto" if count > 1 else ""


def wants_shards() -> bool:
    """Whether accelerate's environment asks for FSDP, and there is more than one rank."""
    return parse_flag_from_env("ACCELERATE_USE_FSDP") and int(os.environ.get("WORLD_SIZE", "1")) > 1


def _device(wish: str, world: int) -> str:
    """The device that a wish means for this process: ``cpu``, ``mps`` or ``cuda:N``."""
    if wish == "auto":
        wish = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if wish == "mps" and not torch.backends.mps.is_available():
        raise UserError("device: 'mps' is asked for, but torch sees no Apple GPU; set device to auto or cpu")
    if not wish.startswith("cuda"):
        return wish
    if not torch.cuda.is_available():
        raise UserError(f"device: '{wish}' is asked for, but torch sees no CUDA device; set device to auto or cpu")
    if wish != "cuda" and world > 1:
        raise UserError(f"device: '{wish}' is one device for {world} processes; set device to cuda or auto")
    if wish == "cuda":
        wish = f"cuda:{os.environ.get('LOCAL_RANK', '0') if world > 1 else torch.cuda.current_device()}"
    if int(wish.removeprefix("cuda:")) >= (count := torch.cuda.device_count()):
        there = "cuda:0 only" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise UserError(f"device: '{wish}' is asked for, but torch sees {there}; each process needs a GPU of its own")
    return wish


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
