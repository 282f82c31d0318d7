"""A run's folder: which stages are done, from which inputs, and whose folder it is.

``run.json`` has a record of each stage that is done, with the fingerprint of its inputs. A stage with the same
inputs is skipped. A run that would overwrite what other inputs made is refused before it changes anything, unless
``--force`` is given. See docs/decisions.md, inputs-not-recipes.

A training's checkpoints are removed only after its record is written, so a run that is killed in between goes on from
the last of them.
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
    """Something that a run makes: a model, the weights, a comparison.

    Attributes:
        name: unique in the run.
        inputs: everything that the outputs depend on, as JSON.
        make: makes the outputs; it must leave nothing half made.
        already_made: whether the outputs of these inputs are there although no record says so, because the run was
            killed between the two.
        equivalent: fingerprints of other inputs whose outputs do as well. A model with merged adapters does, where
            the recipe now asks for adapters alone.
        conversions: for fingerprints of other inputs, what turns their outputs into this stage's: adapters that were
            saved alone are merged without training again.
    """

    name: str
    inputs: Mapping[str, Any]
    make: Callable[[], None]
    already_made: Callable[[], bool] = lambda: False
    equivalent: tuple[str, ...] = ()
    conversions: Mapping[str, Callable[[], None]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The fingerprint of the inputs."""
        return fingerprint(self.inputs)


class RunFolder:
    """The folder of one recipe.

    Args:
        recipe: what is to be run.
        force: stages that other inputs made may be made anew.
        writes: whether this process writes to the folder (rank 0 does).
        wait: returns when all ranks have called it.

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
        run_json = self.path / "run.json"
        if run_json.exists():
            self.content: dict[str, Any] = read_json(run_json)
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

    def create(self) -> None:
        """Make the folder with its ``run.json``, unless it is there; from then on it is this recipe's."""
        if self.writes and not (self.path / "run.json").exists():
            self.path.mkdir(parents=True, exist_ok=True)
            self._save()

    def remember(self, recipe: Recipe, **content: Any) -> None:
        """Write down the recipe as it is run, the versions of the libraries, and more content of ``run.json``."""
        self.content |= content
        if self.writes:
            write_atomic(self.path / "recipe.yaml", recipe.to_yaml())
            write_json(self.path / "versions.json", versions())
            self._save()

    # ---- what is there

    def is_done(self, stage: Stage) -> bool:
        """Whether the stage is done from these inputs, or from others that do as well."""
        return self.done_from(stage.name) in (stage.key, *stage.equivalent)

    def done_from(self, name: str) -> str | None:
        """The fingerprint of the inputs that a stage was made from; None where it is not done."""
        record = self._record(name)
        return None if record is None else str(record["fingerprint"])

    # ---- refuse before anything is changed

    def check(self, stages: Iterable[Stage]) -> None:
        """Raise :class:`UserError` if a stage would overwrite what other inputs made; it names the keys that differ."""
        for stage in stages:
            record = self._record(stage.name)
            usable = (stage.key, *stage.equivalent, *stage.conversions)
            if record and not self.force and record["fingerprint"] not in usable:
                raise UserError(
                    f"{self.path}: '{stage.name}' was made from other inputs "
                    f"({_difference(record.get('inputs'), stage.inputs)}).\n"
                    "Run with --force to make it anew, or give the recipe another name and folder."
                )

    def require_any(self, names: Iterable[str], command: str) -> None:
        """Raise :class:`UserError` if one of these stages is not done, from whatever inputs.

        Args:
            names: of the stages that are to be read.
            command: the command that the message tells the user to run.
        """
        for name in names:
            if self._record(name) is None:
                raise UserError(f"{self.path}: the stage '{name}' is not done yet; run `tdro {command} RECIPE` first")

    def require(self, stages: Iterable[Stage], command: str) -> None:
        """Raise :class:`UserError` if a stage that is to be read is not done, or was made from other inputs."""
        for stage in stages:
            self.require_any([stage.name], command)
            self.require_current(stage, command)

    def require_current(self, stage: Stage, command: str) -> None:
        """Raise :class:`UserError` if a stage was made from other inputs. It need not be done at all."""
        record = self._record(stage.name)
        if record is not None and not self.is_done(stage):
            force = "" if record["fingerprint"] in stage.conversions or command == "evaluate" else " --force"
            raise UserError(
                f"{self.path}: '{stage.name}' was made from other inputs than the recipe's "
                f"({_difference(record.get('inputs'), stage.inputs)}).\n"
                f"Run `tdro {command} RECIPE{force}` to make it anew, or take the change back."
            )

    # ---- do a stage and record it

    def do(self, stage: Stage) -> bool:
        """Make a stage unless it is done; whether it was made now. Raises as :meth:`check`."""
        started, make = time.monotonic(), self.begin(stage)
        if make is None:
            return False
        make()
        self.finish(stage, time.monotonic() - started)
        return True

    def begin(self, stage: Stage) -> Callable[[], None] | None:
        """Note that a stage is begun, and return what makes it; None if it is done. Raises as :meth:`check`.

        What makes it is ``stage.make``, or something short: a conversion, or nothing where the outputs are there.
        """
        self.check([stage])
        if self.is_done(stage):
            self._remove_checkpoints(stage.name)  # left there if the run was killed after it wrote the record
            return None
        convert = stage.conversions.get(self.done_from(stage.name) or "")
        if convert is None:
            self._drop(stage.name)  # the outputs of other inputs, which are overwritten now
        self._note_begun(stage)
        return (lambda: None) if stage.already_made() else convert or stage.make

    def finish(self, stage: Stage, seconds: float) -> None:
        """Note that a stage that was begun is done."""
        del self.content["begun"][stage.name]
        self.record(stage, round(seconds, 2))
        self._remove_checkpoints(stage.name)

    def record(self, stage: Stage, seconds: float) -> None:
        """Write down that a stage is done, unless that is written down already."""
        if self.done_from(stage.name) == stage.key:
            return
        record = {"name": stage.name, "seconds": seconds, "fingerprint": stage.key, "inputs": stage.inputs}
        self._drop(stage.name)
        self.content["stages"].append(record)
        if self.writes:
            self._save()

    def forget(self, name: str) -> None:
        """Write down that a stage is not done any more."""
        if self._record(name) is not None:
            self._drop(name)
            if self.writes:
                self._save()

    def _record(self, name: str) -> dict[str, Any] | None:
        return next((record for record in self.content["stages"] if record["name"] == name), None)

    def _drop(self, name: str) -> None:
        self.content["stages"] = [record for record in self.content["stages"] if record["name"] != name]

    def _note_begun(self, stage: Stage) -> None:
        """Write down which inputs a stage is begun from, and remove checkpoints that other inputs have left."""
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


def _difference(before: Any, after: Any) -> str:
    """The first three keys in which two inputs differ, as ``key: old → new``."""
    found: list[str] = []
    _add_differences(before, after, "", found)
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "") or "unknown"


def _add_differences(before: Any, after: Any, key: str, found: list[str]) -> None:
    if isinstance(before, dict) and isinstance(after, dict):
        for inner in sorted(before.keys() | after.keys()):
            _add_differences(before.get(inner), after.get(inner), f"{key}.{inner}" if key else str(inner), found)
    elif before != after:
        found.append(f"{key}: {str(before)[:40]} → {str(after)[:40]}")
