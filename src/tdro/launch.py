"""``--processes N``: run the same command in N processes that share the work.

They are started by torch's elastic launcher, the one behind ``torchrun``, and find their ranks in the environment. On a
machine with GPUs each process uses one of them; elsewhere all use the CPU.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence

from tdro.errors import UserError

LAUNCHED = "TDRO_LAUNCHED"  # set in the environment of the processes that launch() starts


def takes_processes(command: argparse._ActionsContainer) -> None:
    """Add the option ``--processes`` to a command whose work several ranks can share."""
    command.add_argument(
        "--processes",
        metavar="N",
        type=_count,
        help="start N processes that share the work, or auto: one for each GPU (default: this one alone)",
    )


def wants_launch(options: argparse.Namespace) -> bool:
    """Whether ``--processes`` was given and this is not one of the processes that it has started."""
    return getattr(options, "processes", None) is not None and LAUNCHED not in os.environ


def launch(arguments: Sequence[str], processes: int | str) -> int:
    """Run ``tdro`` with the same arguments in several processes, wait for them, and return the exit status.

    Args:
        arguments: those of the command line, ``--processes`` included.
        processes: how many, or ``auto``: as many as there are GPUs (one if there is none).

    Raises:
        UserError: torchrun or accelerate has started this process already.
        KeyboardInterrupt: the user pressed Ctrl-C; all processes have stopped by then.
    """
    if "RANK" in os.environ:
        raise UserError("--processes: torchrun or accelerate has started this process already; leave --processes out")
    import torch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    count = max(1, torch.cuda.device_count()) if processes == "auto" else int(processes)
    # Share the CPU's cores among the processes; by itself the launcher gives each a single thread.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else DDP warns that it looks for unused parameters
    os.environ[LAUNCHED] = "1"
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # the process that failed prints its own error
    try:
        run(parse_args(["--standalone", "--nproc-per-node", str(count), "-m", "tdro", *arguments]))
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return abs(failure.exitcode)
    except SignalException as error:
        raise KeyboardInterrupt from error
    return 0


def _count(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of processes, at least 1, or auto, found {text!r}")
    return int(text)
