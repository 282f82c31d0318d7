"""What a worker process does: takes pieces from a pipe, makes them, and answers. Its output goes to a log file."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from tdro.console import log_to, quiet_libraries
from tdro.errors import UserError
from tdro.study.pieces import Piece, make_piece


def work(number: int, pipe: Connection, root: str) -> None:
    """Make pieces until the pipe is closed.

    Args:
        number: of the worker, from 0. On a machine with GPUs it uses one of them.
        pipe: pieces come in, and what :func:`answer` says of each goes out.
        root: the folder of all studies of the recipe.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    _log_to_file(Path(root) / "logs" / f"worker-{number}.log")
    quiet_libraries()
    log_to(None, main=True)
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
    while True:
        try:
            piece = pipe.recv()
        except (EOFError, OSError):  # nobody is there any more
            return
        try:
            pipe.send(answer(piece, Path(root)))
        except OSError:
            return


def answer(piece: Piece, root: Path) -> tuple[str, float | str]:
    """Make a piece and say so: ``("done", seconds)``, ``("user error", message)`` or ``("error", traceback)``."""
    try:
        return "done", make_piece(piece, root)
    except UserError as error:
        return "user error", str(error)
    except Exception:
        return "error", traceback.format_exc()


def _log_to_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a", encoding="utf-8", buffering=1)
    sys.stdout.flush()
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
