"""Which checkpoints a training's folder has, and which of them are complete.

A checkpoint is written under another name and renamed once all of its bytes are on disk, so a kill leaves none half
written. A full disk, a copy or a cleaning tool can still damage one later. So each checkpoint has a list of its files
with their sizes, and training continues from the newest checkpoint that has them all. See docs/decisions.md,
checkpoint-sizes.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from tdro.errors import UserError
from tdro.files import read_json, write_json

FILE_LIST = "tdro_files.json"
_NAME = re.compile(r"checkpoint-(\d+)$")

logger = logging.getLogger(__name__)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, complete or not, by step."""
    paths = [path for path in folder.glob("checkpoint-*") if _NAME.search(path.name) and path.is_dir()]
    return sorted(paths, key=lambda path: int(path.name.rsplit("-", 1)[1]))


def newest_checkpoint(folder: Path, needs: Callable[[Path], Path] = lambda checkpoint: checkpoint) -> Path | None:
    """The complete checkpoint with the highest step, or None. Logs a warning for each that is skipped.

    Args:
        folder: of the training.
        needs: another checkpoint that a complete one is of no use without, such as that of the best step so far.
    """
    for checkpoint in reversed(checkpoints(folder)):
        if problem := damage(checkpoint):
            logger.warning("%s is damaged and not used: %s", checkpoint, problem)
        elif problem := damage(needed := needs(checkpoint)):
            logger.warning("%s is not used, for %s is damaged: %s", checkpoint, needed, problem)
        else:
            return checkpoint
    return None


def damage(checkpoint: Path) -> str:
    """What is wrong with the first damaged file of a checkpoint, as ``model.safetensors is cut``; empty if none is.

    A checkpoint of an older version has no list of its files; then no file may be empty, and no JSON broken.
    """
    try:
        sizes = read_json(checkpoint / FILE_LIST) if (checkpoint / FILE_LIST).exists() else _sizes(checkpoint)
    except UserError:
        sizes = None
    if not isinstance(sizes, dict):
        return f"{FILE_LIST} is cut"
    for name in sorted({"trainer_state.json", *sizes}):
        if problem := _problem(checkpoint / name, sizes.get(name)):
            return f"{name} {problem}"
    return ""


def _problem(path: Path, size: int | None) -> str:
    """What is wrong with a file that should have a size (None: any but 0); empty if nothing is."""
    try:
        if not path.is_file():
            return "is missing"
        if (found := path.stat().st_size) == 0:
            return "is empty"
        if size not in (None, found):
            return "is cut"
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return "is no JSON"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""


def finish(written: Path, place: Path, keep: int, best: Path | None = None) -> None:
    """Rename a finished checkpoint into its place, once its bytes are on disk, and remove the others.

    Args:
        written: the folder into which it was written.
        place: the folder that it becomes, ``checkpoint-<step>``.
        keep: how many checkpoints stay, this one included.
        best: one that stays besides, however old it is.
    """
    write_json(written / FILE_LIST, _sizes(written))
    _sync(written)
    if place.exists():  # damaged, or training would have continued after it
        shutil.rmtree(place)
    written.rename(place)
    all_checkpoints = checkpoints(place.parent)
    later = all_checkpoints.index(place) + 1
    # Those of later steps are damaged too.
    for other in [*all_checkpoints[: max(0, later - keep)], *all_checkpoints[later:]]:
        if other != best:
            shutil.rmtree(other)


def _sizes(folder: Path) -> dict[str, int]:
    """The size in bytes of each file, by its path in the folder."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != FILE_LIST]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


def _sync(folder: Path) -> None:
    """Wait until the bytes of all files are on disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
