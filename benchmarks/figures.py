"""What every benchmark writes besides its own figures: the machine, and ratios taken round by round."""

from __future__ import annotations

import os
import platform
import statistics
from pathlib import Path
from typing import Any

import torch
import transformers


def about_machine(**more: Any) -> dict[str, Any]:
    """What the figures depend on; nothing that names a place on the disk."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return {
        "cpu": names[0].partition(":")[2].strip() if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        **more,
    }


def ratio(rates: dict[str, list[float]], above: str, below: str, wanted: float) -> dict[str, Any]:
    """Round by round, so that a machine that becomes slower hits both sides; the median counts."""
    rounds = [a / b for a, b in zip(rates[above], rates[below], strict=True)]
    median = statistics.median(rounds)
    return {"median": median, "rounds": rounds, "wanted": wanted, "met": median >= wanted}
