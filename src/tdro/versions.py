"""Which versions of Python and of the libraries a result came from."""

from __future__ import annotations

import importlib.metadata
import platform
import sys

_PACKAGES = (
    "tdro",
    "torch",
    "sentence-transformers",
    "transformers",
    "datasets",
    "accelerate",
    "peft",
    "numpy",
)


def versions() -> dict[str, str]:
    """What the run ran with."""
    found = {"python": sys.version.split()[0], "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
