"""A run's folder: what is done, from which inputs, and whose it is.

A stage is done when its record stands in ``run.json`` with the fingerprint of its inputs. The same inputs are
skipped, new outputs are added, and what other inputs have made is never overwritten without ``force``. Rejected:
comparing whole recipes, which would refuse a run that only adds a seed, and modification times, which change with a
copy.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tdro.errors import UserError
from tdro.files import fingerprint, read_json, write_atomic, write_json
from tdro.recipe import Recipe

_PACKAGES = (
    "tdro",
    "torch",
    "sentence-transformers",
    "transformers",
    "datasets",
    "accelerate",
    "peft",
    "numpy",
    "bm25s",
)


class RunFolder:
    """The folder of one recipe.

    Args:
        recipe: what is to be run.
        force: stages that other inputs made may be made anew.
        writes: whether this process writes (rank 0).
        wait: lets no rank go on before all have come so far.

    Raises:
        UserError: the folder exists, is not empty, and is no run folder or another recipe's.
    """

    def __init__(
        self, recipe: Recipe, force: bool = False, writes: bool = True, wait: Callable[[], None] = lambda: None
    ) -> None:
        self.path = Path(recipe.folder)
        self.force, self.writes, self.wait = force, writes, wait
        record = self.path / "run.json"
        if record.exists():
            self.content: dict[str, Any] = read_json(record)
            if self.content.get("name") != recipe.name and not force:
                raise UserError(
                    f"{self.path} holds the run '{self.content.get('name')}', not '{recipe.name}'.\n"
                    "Give the recipe another folder, or run with --force to take this one."
                )
        elif self.path.exists() and any(self.path.iterdir()) and not force:
            raise UserError(
                f"{self.path} is not empty and not a run folder.\nGive the recipe another folder, or use --force."
            )
        else:
            self.content = {"stages": []}
        self.content |= {"name": recipe.name, "seed": recipe.seed}
        if writes:
            self.path.mkdir(parents=True, exist_ok=True)
            self._save()

    def remember(self, recipe: Recipe, **content: Any) -> None:
        """Keep the recipe as run, the versions of what it ran with, and more content of ``run.json``."""
        self.content |= content
        if self.writes:
            write_atomic(self.path / "recipe.yaml", recipe.to_yaml())
            write_json(self.path / "versions.json", versions())
            self._save()

    def stage(self, name: str, inputs: Any, make: Callable[[], None]) -> bool:
        """Do a stage unless the same inputs have done it; returns whether it was done now.

        Args:
            name: of the stage, unique in the run.
            inputs: JSON-able: everything that its outputs depend on.
            make: makes the outputs; must leave none half made.

        Raises:
            UserError: other inputs made the outputs, and ``force`` is off; names the recipe's keys that differ.
        """
        key = fingerprint(inputs)
        known = next((stage for stage in self.content["stages"] if stage["name"] == name), None)
        if known and known["fingerprint"] == key:
            return False
        if known and not self.force:
            raise UserError(
                f"{self.path}: '{name}' was made from other inputs ({_difference(known.get('inputs'), inputs)}).\n"
                "Run with --force to make it anew, or give the recipe another name and folder."
            )
        started = time.monotonic()
        self._begin(name, key)
        make()
        del self.content["begun"][name]
        stage = {"name": name, "seconds": round(time.monotonic() - started, 2), "fingerprint": key, "inputs": inputs}
        self.content["stages"] = [other for other in self.content["stages"] if other["name"] != name] + [stage]
        if self.writes:
            self._save()
        return True

    def _begin(self, name: str, key: str) -> None:
        """Note what a stage is begun from; checkpoints that an interrupted run left from other inputs are no use."""
        begun = self.content.setdefault("begun", {})
        if self.writes and begun.get(name, key) != key:
            for left in (self.path / f"{name}.training", self.path / name / "training"):
                shutil.rmtree(left, ignore_errors=True)
        begun[name] = key
        if self.writes:
            self._save()
        self.wait()

    def require(self, name: str, command: str) -> str:
        """The fingerprint of a stage's inputs; raises :class:`UserError` with the command to run if it is not done."""
        known = next((stage for stage in self.content["stages"] if stage["name"] == name), None)
        if known is None:
            raise UserError(f"{self.path}: the stage '{name}' is not done yet; run `tdro {command} RECIPE` first")
        return str(known["fingerprint"])

    def _save(self) -> None:
        write_json(self.path / "run.json", self.content)


def versions() -> dict[str, str]:
    """What the run ran with."""
    found = {"python": sys.version.split()[0], "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _difference(before: Any, after: Any, where: str = "") -> str:
    """The first few keys in which two inputs differ, ``key: old → new``."""
    found: list[str] = []
    _collect(before, after, where, found)
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "") or "unknown"


def _collect(before: Any, after: Any, where: str, found: list[str]) -> None:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            _collect(before.get(key), after.get(key), f"{where}.{key}" if where else str(key), found)
    elif before != after:
        found.append(f"{where}: {str(before)[:40]} → {str(after)[:40]}")
