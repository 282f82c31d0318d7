"""A run's folder: what is done, from which inputs, and whose it is.

A stage is done when its record stands in ``run.json`` with the fingerprint of its inputs. The same inputs are
skipped, new outputs are added, and what other inputs have made is never overwritten without ``force``: a run that would
do so is refused before it changes anything. A training's checkpoints go after its record is written, so that a run that
was killed in between continues from the last of them. Rejected:
comparing whole recipes, which would refuse a run that only adds a seed, and modification times, which change with a
copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tdro.disk import check_writable
from tdro.errors import UserError
from tdro.files import fingerprint, read_json, remove_whole, write_atomic, write_json
from tdro.recipe.schema import Recipe
from tdro.versions import versions


@dataclass(frozen=True)
class Stage:
    """What is made, from what.

    Attributes:
        name: unique in the run.
        inputs: JSON-able: everything that its outputs depend on.
        make: makes the outputs; must leave none half made.
        remake: by the fingerprint of other inputs, what makes the outputs from theirs.
        made: whether the outputs are there, and of these inputs, though a kill came before that was noted.
        same: fingerprints of other inputs, whose outputs are as good.
    """

    name: str
    inputs: Mapping[str, Any]
    make: Callable[[], None]
    remake: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    made: Callable[[], bool] = lambda: False
    same: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The fingerprint of the inputs."""
        return fingerprint(self.inputs)


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
        if writes:
            check_writable(self.path, folder=True)
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

    def make(self) -> None:
        """Make the folder, if it is not there, so that it is this run's."""
        if self.writes and not (self.path / "run.json").exists():
            self.path.mkdir(parents=True, exist_ok=True)
            self._save()

    def check(self, stages: Iterable[Stage]) -> None:
        """Raise :class:`UserError` if one would overwrite what other inputs made; it names the keys that differ."""
        for stage in stages:
            known = self._record(stage.name)
            if known and not self.force and known["fingerprint"] not in (stage.key, *stage.same, *stage.remake):
                raise UserError(
                    f"{self.path}: '{stage.name}' was made from other inputs "
                    f"({_difference(known.get('inputs'), stage.inputs)}).\n"
                    "Run with --force to make it anew, or give the recipe another name and folder."
                )

    def remember(self, recipe: Recipe, **content: Any) -> None:
        """Keep the recipe as run, the versions of what it ran with, and more content of ``run.json``."""
        self.content |= content
        if self.writes:
            write_atomic(self.path / "recipe.yaml", recipe.to_yaml())
            write_json(self.path / "versions.json", versions())
            self._save()

    def do(self, stage: Stage) -> bool:
        """Do a stage unless the same inputs have done it; returns whether it was done now. Raises as :meth:`check`."""
        self.check([stage])
        if self.is_done(stage):
            self._remove_checkpoints(stage.name)  # if a kill came before
            return False
        started, make = time.monotonic(), stage.remake.get(self.key_of(stage.name) or "")
        if make is None:
            self._forget(stage.name)  # of other inputs, and soon not there any more
        self._begin(stage)
        if not stage.made():
            (make or stage.make)()
        del self.content["begun"][stage.name]
        self.note(stage, round(time.monotonic() - started, 2))
        self._remove_checkpoints(stage.name)
        return True

    def is_done(self, stage: Stage) -> bool:
        """Whether the same inputs have done a stage."""
        return self.key_of(stage.name) in (stage.key, *stage.same)

    def key_of(self, name: str) -> str | None:
        """The fingerprint of the inputs that a stage was made from; None where it is not done."""
        known = self._record(name)
        return None if known is None else str(known["fingerprint"])

    def require_any(self, names: Iterable[str], command: str) -> None:
        """Raise :class:`UserError` with the command to run if a stage is not done, from whatever inputs."""
        for name in names:
            if self._record(name) is None:
                raise UserError(f"{self.path}: the stage '{name}' is not done yet; run `tdro {command} RECIPE` first")

    def require(self, stages: Iterable[Stage], command: str) -> None:
        """Raise :class:`UserError` if a stage that is to be read was not made from the recipe's inputs."""
        for stage in stages:
            self.require_any([stage.name], command)
            self.require_current(stage, command)

    def require_current(self, stage: Stage, command: str) -> None:
        """As :meth:`require`, for a stage that may also not be done at all."""
        known = self._record(stage.name)
        if known is not None and not self.is_done(stage):
            force = "" if known["fingerprint"] in stage.remake or command == "evaluate" else " --force"
            raise UserError(
                f"{self.path}: '{stage.name}' was made from other inputs than the recipe's "
                f"({_difference(known.get('inputs'), stage.inputs)}).\n"
                f"Run `tdro {command} RECIPE{force}` to make it anew, or take the change back."
            )

    def note(self, stage: Stage, seconds: float) -> None:
        """Note that a stage is done, unless that is noted already."""
        if self.key_of(stage.name) == stage.key:
            return
        record = {"name": stage.name, "seconds": seconds, "fingerprint": stage.key, "inputs": stage.inputs}
        self._forget(stage.name)
        self.content["stages"].append(record)
        if self.writes:
            self._save()

    def forget(self, name: str) -> None:
        """Note that a stage is not done any more."""
        if self._record(name) is not None:
            self._forget(name)
            if self.writes:
                self._save()

    def _forget(self, name: str) -> None:
        self.content["stages"] = [other for other in self.content["stages"] if other["name"] != name]

    def _record(self, name: str) -> dict[str, Any] | None:
        return next((stage for stage in self.content["stages"] if stage["name"] == name), None)

    def _begin(self, stage: Stage) -> None:
        """Note what a stage is begun from; checkpoints that an interrupted run left from other inputs are no use."""
        begun = self.content.setdefault("begun", {})
        if begun.get(stage.name) != stage.key:
            self._remove_checkpoints(stage.name)
        begun[stage.name] = stage.key
        if self.writes:
            self._save()
        self.wait()

    def _remove_checkpoints(self, name: str) -> None:
        if self.writes:
            for folder in (self.path / f"{name}.training", self.path / name / "training"):
                remove_whole(folder)

    def _save(self) -> None:
        write_json(self.path / "run.json", self.content)


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
