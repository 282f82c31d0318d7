"""Tasks for worker processes, whose server imports this file: it needs no more than every worker does."""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import datasets  # noqa: F401  this and the next two are imported once, by the server, and not by each worker
import torch  # noqa: F401
import transformers  # noqa: F401

from tdro.console import say


@dataclass(frozen=True)
class Say:
    """A task that logs and returns its number, or fails."""

    title: str
    number: int = 0
    error: Exception | None = None

    def __call__(self) -> int:
        if self.error is not None:
            raise self.error
        logging.getLogger("tdro.said").warning("%s was here", self.title)
        return self.number * 2


@dataclass(frozen=True)
class Tell:
    """A task that says something."""

    title: str
    message: str

    def __call__(self) -> None:
        say(self.message)


@dataclass(frozen=True)
class Die:
    """A task with which its process is killed so many times; ``file`` counts them."""

    title: str
    file: Path
    times: int

    def __call__(self) -> int:
        died = len(self.file.read_text()) if self.file.exists() else 0
        if died < self.times:
            self.file.write_text("x" * (died + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return died


@dataclass(frozen=True)
class Wait:
    """A task that writes its process id and then takes a minute."""

    title: str
    file: Path

    def __call__(self) -> None:
        self.file.write_text(str(os.getpid()))
        time.sleep(60)
