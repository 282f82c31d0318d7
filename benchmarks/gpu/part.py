"""A part of the measurements: it ends within its minutes, and its JSON holds each finding as soon as there is one."""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from figures import about_machine

from tdro.files import write_json


class TimeIsUp(BaseException):
    """The part's minutes are over. No ``Exception``, so that nothing on the way takes it for a finding of its own."""


class Part:
    """Findings by name, written to ``<out>/<name>.json`` after each of them.

    Args:
        name: of the part.
        out: the folder.
        minutes: after which :meth:`within_time` ends the part.
        device: as torch names it.
        rehearsed: it runs with tiny sizes; the file says so, and its figures mean nothing.
        only: patterns (``*`` for any letters) of the names of the wanted findings; empty: all are wanted.
    """

    def __init__(
        self, name: str, out: Path, minutes: float, device: str, rehearsed: bool, only: tuple[str, ...] = ()
    ) -> None:
        self.name, self.path, self.minutes, self.device = name, out / f"{name}.json", minutes, device
        self.ends, self.only = time.monotonic() + 60 * minutes, only
        gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
        self.content: dict[str, Any] = {
            "part": name,
            "rehearsed": rehearsed,
            "machine": about_machine(gpu=gpu, device=device),
            "findings": {},
        }

    @property
    def seconds_left(self) -> float:
        """Until the part must have ended."""
        return self.ends - time.monotonic()

    def find(self, name: str, look: Callable[[], dict[str, Any]], needs: float = 0.0) -> dict[str, Any]:
        """Look, and keep what was found with its seconds. An error is a finding too; the next one is looked for.

        Args:
            name: of the finding.
            look: returns it.
            needs: seconds that must be left; with fewer it is not begun.
        """
        if self.only and not any(fnmatch(name, pattern) for pattern in self.only):
            return {}
        if self.seconds_left < needs:
            return self.keep(name, {"left_out": f"{self.seconds_left:.0f} s were left, {needs:.0f} are needed"})
        print(f"{self.name}: {name} ({self.seconds_left:.0f} s left)", flush=True)
        self.keep(name, {"begun": True})
        on_gpu = self.device.startswith("cuda")
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        started = time.monotonic()
        try:
            found = look()
        except TimeIsUp:
            self.keep(name, {"left_out": "the part's time was up", "seconds": round(time.monotonic() - started, 2)})
            raise
        except Exception as error:
            last = traceback.format_exc().strip().splitlines()[-8:]
            found = {"error": f"{type(error).__name__}: {error}"[:500], "where": last}
        if on_gpu:
            found["peak_gb"] = torch.cuda.max_memory_allocated(self.device) / 1e9
            torch.cuda.empty_cache()
        return self.keep(name, {**found, "seconds": round(time.monotonic() - started, 2)})

    def keep(self, name: str, found: dict[str, Any]) -> dict[str, Any]:
        """Write a finding."""
        self.content["findings"][name] = found
        write_json(self.path, self.content)
        return found

    @contextmanager
    def within_time(self) -> Iterator[None]:
        """Inside it, whatever still runs when the minutes are over is ended; what was found by then is in the file."""

        def end(*_: Any) -> None:
            raise TimeIsUp

        before = signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, max(0.1, self.seconds_left))
        try:
            yield
            self.content["ended"] = "all was looked for"
        except TimeIsUp:
            self.content["ended"] = f"after its {self.minutes:g} minutes"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            write_json(self.path, self.content)


def synchronize(device: str) -> None:
    """Wait for a GPU; a CPU is never behind."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
