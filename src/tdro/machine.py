"""The machine that a run uses: device, precision and ranks. Looked up once, then handed down as a value.

Also here: what is said of the machine, and how ranks wait for each other.
"""

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
    """What this process computes on.

    Attributes:
        device: ``cpu``, ``mps`` or ``cuda:N``.
        bf16: models compute under autocast to bfloat16.
        rank: the number of this process among all, from 0.
        world: how many processes there are.
    """

    device: str = "cpu"
    bf16: bool = False
    rank: int = 0
    world: int = 1

    @property
    def main(self) -> bool:
        """Whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    @property
    def loading(self) -> str:
        """The device on which a model is loaded to be trained: the CPU if only its shards go to the GPU (FSDP)."""
        return "cpu" if wants_shards() else self.device


def this_machine(device: str = "auto", precision: str = "auto") -> Machine:
    """Choose device and precision, and read the ranks from the environment that torchrun or accelerate has set.

    Args:
        device: the recipe's ``device``. ``auto`` is a CUDA GPU, else Apple's GPU (mps), else the CPU. Each process uses
            one device: of several ranks on a machine, the one with local rank r uses GPU r.
        precision: the recipe's ``precision``. ``auto`` is bf16 where the device computes in it, and fp32 elsewhere: on
            CUDA GPUs before Ampere too, see docs/decisions.md, no-fp16.

    Raises:
        UserError: a device that is not there, or one device for several ranks.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = _device(device, world)
    bf16 = _has_bf16(chosen) if precision == "auto" else precision == "bf16"
    return Machine(chosen, bf16, rank, world)


def idle_gpus(device: str, machine: Machine) -> str:
    """A line for the log if a run leaves GPUs idle, saying how to use them; empty if it does not, or named one GPU."""
    if machine.world > 1 or device not in ("auto", "cuda") or not machine.device.startswith("cuda"):
        return ""
    count = torch.cuda.device_count()
    if count == 1:
        return ""
    return f"1 of {count} GPUs is used; --workers {count} trains a model on each, --processes auto each model on all"


def fp32_for_want_of_bf16(precision: str, machine: Machine) -> str:
    """A line for the log if ``precision: auto`` became fp32 because a CUDA GPU has no bf16; else empty."""
    if precision != "auto" or machine.bf16 or not machine.device.startswith("cuda"):
        return ""
    return f"{torch.cuda.get_device_name(machine.device)} does not compute in bf16: the run is in fp32"


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that the device (or the CPU) has no memory left."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in said or "can't allocate memory" in said)
    )


def wants_shards() -> bool:
    """Whether accelerate's environment asks for FSDP and there is more than one rank."""
    return parse_flag_from_env("ACCELERATE_USE_FSDP") and int(os.environ.get("WORLD_SIZE", "1")) > 1


def _device(wanted: str, world: int) -> str:
    """The device of this process (``cpu``, ``mps`` or ``cuda:N``) for what the recipe says."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise UserError("device: 'mps' is asked for, but torch sees no Apple GPU; set device to auto or cpu")
    if not wanted.startswith("cuda"):
        return wanted
    if not torch.cuda.is_available():
        raise UserError(f"device: '{wanted}' is asked for, but torch sees no CUDA device; set device to auto or cpu")
    if wanted != "cuda" and world > 1:
        raise UserError(f"device: '{wanted}' is one device for {world} processes; set device to cuda or auto")
    if wanted == "cuda":
        wanted = f"cuda:{os.environ.get('LOCAL_RANK', '0') if world > 1 else torch.cuda.current_device()}"
    if int(wanted.removeprefix("cuda:")) >= (count := torch.cuda.device_count()):
        there = "cuda:0 only" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise UserError(f"device: '{wanted}' is asked for, but torch sees {there}; each process needs a GPU of its own")
    return wanted


def _has_bf16(device: str) -> bool:
    """Whether a device computes in bf16 itself. One that does not emulates it, which is slower than float32."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if not hasattr(torch.cpu, "get_capabilities"):
        return bool(torch.cpu._is_avx512_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def join_ranks(machine: Machine) -> None:
    """Make the process group of the ranks, so that they can wait for each other. Call it before anything is written."""
    if machine.world > 1:
        from accelerate import PartialState

        # Ranks wait while rank 0 works alone (mining, an evaluation), for longer than ranks wait by default.
        PartialState(cpu=machine.device == "cpu", timeout=timedelta(days=1))


def wait_for_everyone(machine: Machine) -> None:
    """Wait here until all ranks have come."""
    if machine.world > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


@contextlib.contextmanager
def in_turn(machine: Machine) -> Iterator[None]:
    """Run the block on rank 0 first, then on the first rank of each other machine, then on all other ranks.

    For files that are made once and found by everybody who comes later, either in the run's folder, which all machines
    share, or in a user's cache, which each machine may have for itself. Every rank must enter it.
    """
    turn = 0 if machine.main else 1 if os.environ.get("LOCAL_RANK") == "0" else 2
    for _ in range(turn):
        wait_for_everyone(machine)
    yield
    for _ in range(turn, 2):
        wait_for_everyone(machine)
