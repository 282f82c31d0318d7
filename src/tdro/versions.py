"""The versions of Python and of the libraries that a run was made with."""

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
    """The version of Python, of the platform and of each library that is installed, by name."""
    found = {"python": sys.version.split()[0], "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
