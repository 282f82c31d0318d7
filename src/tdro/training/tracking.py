"""Experiment trackers: TensorBoard, Trackio, Weights & Biases and MLflow, by transformers' own seam (``report_to``).

A run of a recipe is a group in a tracker, and each of its trainings a run there:

- TensorBoard: a folder of event files for each training in ``tensorboard/`` of the run folder;
- Trackio: a project of the recipe's name;
- Weights & Biases: a group of the recipe's name, in the project ``tdro``; or the run that the user's own script has
  open, which then gets everything;
- MLflow: an experiment of the recipe's name.

The variables by which a user tells a tracker something else (``WANDB_PROJECT``, ``MLFLOW_EXPERIMENT_NAME``,
``TENSORBOARD_LOGGING_DIR`` …) are respected. Nothing of a tracker is imported unless it is asked for.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerControl, TrainerState
from transformers.integrations import (
    get_reporting_integration_callbacks,
    is_mlflow_available,
    is_tensorboard_available,
    is_trackio_available,
    is_wandb_available,
)

from tdro.errors import UserError
from tdro.training.one_device import OneDeviceArguments

_TENSORBOARD = "TENSORBOARD_LOGGING_DIR"
_AVAILABLE = {
    "mlflow": is_mlflow_available,
    "tensorboard": is_tensorboard_available,
    "trackio": is_trackio_available,
    "wandb": is_wandb_available,
}


@dataclass(frozen=True)
class TrackedRun:
    """Where something is reported to.

    Attributes:
        trackers: their names, as transformers has them; none: nothing is reported.
        group: the recipe's name.
        name: of the training, such as ``main/top-70-seed1``.
        folder: the run folder, for TensorBoard's files.
    """

    trackers: tuple[str, ...] = ()
    group: str = ""
    name: str = ""
    folder: Path = Path()

    def arguments(self) -> dict[str, Any]:
        """What the trainer's arguments say of it."""
        if not self.trackers:
            return {"report_to": "none"}
        return {"report_to": list(self.trackers), "run_name": self.name, "project": self.group}

    @contextlib.contextmanager
    def environment(self) -> Iterator[None]:
        """Inside it, the environment has what transformers reads there and takes no argument for, and what trackers
        print goes to standard error."""
        if not self.trackers:
            yield
            return
        asked = os.environ.get(_TENSORBOARD)
        place = Path(asked, self.group) if asked else self.folder / "tensorboard"
        defaults = {"WANDB_PROJECT": "tdro", "WANDB_RUN_GROUP": self.group, "MLFLOW_EXPERIMENT_NAME": self.group}
        wanted = {key: value for key, value in defaults.items() if key not in os.environ}
        wanted[_TENSORBOARD] = str(place / self.name)
        before, users_own = {key: os.environ.get(key) for key in wanted}, _open_in_wandb()
        os.environ.update(wanted)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what trackers print is no answer
                yield
        finally:
            # transformers leaves it open, and would report the next training to it.
            if users_own is None and (opened := _open_in_wandb()) is not None:
                opened.finish()
            for key, value in before.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value

    def report(self, values: Mapping[str, float | str], device: str = "cpu") -> None:
        """Report values that are of no training, as a run of its own. Only one rank calls it.

        Args:
            values: numbers, and texts in Markdown; MLflow leaves texts out. Names that begin with ``test_`` get to the
                part ``test/``, others to ``train/``.
            device: of this process.
        """
        if not self.trackers:
            return
        with self.environment():
            arguments = OneDeviceArguments(
                output_dir=str(self.folder), use_cpu=device == "cpu", only_device=device, **self.arguments()
            )
            state, control = TrainerState(), TrainerControl()
            for tracker in [each() for each in get_reporting_integration_callbacks(list(self.trackers))]:
                tracker.on_train_begin(arguments, state, control)
                tracker.on_log(arguments, state, control, logs=dict(values))
                tracker.on_train_end(arguments, state, control)


NOT_TRACKED = TrackedRun()


def _open_in_wandb() -> Any:
    """The run that is open in Weights & Biases; None if there is none, or nobody has imported it."""
    return getattr(sys.modules.get("wandb"), "run", None)


def check_trackers(names: Sequence[str]) -> None:
    """Raise :class:`UserError` for a tracker that is not installed; it says what to install."""
    for name in names:
        if not _AVAILABLE[name]():
            raise UserError(
                f"report_to: {name} is not installed, or switched off in the environment; `pip install {name}`, or "
                "leave it out"
            )


def finite(values: Mapping[str, float | None]) -> dict[str, float]:
    """The values that are numbers: trackers draw no others."""
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}
