"""The checkpoints of a training's folder: which are there, and which of them are whole.

A checkpoint gets its name when all of its bytes are on disk, so a kill leaves none half written. A disk, a copy or a
cleaning tool can still cut a file of it. So each checkpoint lists its files with their sizes, and training goes on from
the newest that has them all; a damaged one is named and passed over. Rejected: digests of everything, which would read
gigabytes anew at every checkpoint.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from pathlib import Path

from tdro.errors import UserError
from tdro.files import read_json, write_json

LIST = "tdro_files.json"
_NAME = re.compile(r"checkpoint-(\d+)$")

logger = logging.getLogger(__name__)


def checkpoints(folder: Path) -> list[Path]:
    """All that a folder has, by step."""
    found = [path for path in folder.glob("checkpoint-*") if _NAME.search(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.rsplit("-", 1)[1]))


def newest_checkpoint(folder: Path) -> Path | None:
    """The whole checkpoint with the highest step; None where there is none. Says which damaged ones are passed over."""
    for checkpoint in reversed(checkpoints(folder)):
        problem = damage(checkpoint)
        if not problem:
            return checkpoint
        logger.warning("%s is damaged and not used: %s", checkpoint, problem)
    return None


def damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint's files, naming the first; empty where it is whole.

    One that has no list of them (an older version's) must have no empty file and no broken JSON.
    """
    try:
        sizes = read_json(checkpoint / LIST) if (checkpoint / LIST).exists() else _sizes(checkpoint)
    except UserError:
        sizes = None
    if not isinstance(sizes, dict):
        return f"{LIST} is cut"
    for name in sorted({"trainer_state.json", *sizes}):
        if problem := _problem(checkpoint / name, sizes.get(name)):
            return f"{name} {problem}"
    return ""


def _problem(path: Path, size: int | None) -> str:
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


def finish(written: Path, place: Path, keep: int) -> None:
    """Give a checkpoint that has been written its name, once its bytes are on disk, and remove older ones.

    Args:
        written: the folder.
        place: its name.
        keep: how many stay.
    """
    write_json(written / LIST, _sizes(written))
    _sync(written)
    if place.exists():  # damaged, and passed over
        shutil.rmtree(place)
    written.rename(place)
    there = checkpoints(place.parent)
    later = there.index(place) + 1  # those after it are damaged: training did not go on from them
    for other in [*there[: max(0, later - keep)], *there[later:]]:
        shutil.rmtree(other)


def _sizes(folder: Path) -> dict[str, int]:
    """The size of each file, by its path in the folder."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != LIST]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


def _sync(folder: Path) -> None:
    """Have the bytes on disk before the folder gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
