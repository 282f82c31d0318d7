"""Writes a mixture to a new folder, which :mod:`tdro.data.mixtures.folder` reads.

It is written beside its place and then renamed, so there is a whole mixture or none. Rows are streamed, so a large task
takes no memory. Test sets are copied. See docs/decisions.md, copied-tests.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdro.data.mixtures.folder import FORMAT, beir_sha256, mixture_fingerprint
from tdro.data.task import COLUMNS, Mixture, Task, TestSet
from tdro.disk import check_writable
from tdro.errors import UserError
from tdro.files import fingerprint, read_json, sha256, whole_folder, write_atomic, write_json
from tdro.recipe.source_kinds import BEIR_FILES

if TYPE_CHECKING:
    from datasets import Dataset


def check_new_folder(folder: Path, read: Iterable[Path], force: bool = False) -> None:
    """Check that a mixture can be written to a folder, before anything long is done.

    Args:
        folder: the output.
        read: the command's input files and folders.
        force: whether a mixture that is there is replaced.

    Raises:
        UserError: the folder holds an input, cannot be written, or holds something that would be overwritten.
    """
    place = folder.resolve()
    for path in read:
        if path.resolve() == place or place in path.resolve().parents:
            raise UserError(f"{folder}: holds {path}, which is read; write to another folder")
    check_writable(place, folder=True)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not force:
        raise UserError(f"{folder}: is there already; name a new folder, or replace it with --force")
    if not (folder / "mixture.json").is_file():
        raise UserError(f"{folder}: is no mixture and is not replaced; name a new folder")


def made_before(folder: Path, made_from: Callable[[], str], read: Iterable[Path], force: bool = False) -> bool:
    """Whether the folder already holds the mixture that this command would write: then there is nothing to do.

    Args:
        folder: the output.
        made_from: computes the key of the command's inputs. It is called only if the folder has a mixture with a key.
        read: the command's input files and folders.
        force: whether to write it anew in any case.

    Raises:
        UserError: as :func:`check_new_folder`, or the mixture is there but its files were changed since.
    """
    known = _made_from(folder) if not force and (folder / "mixture.json").is_file() else ""
    if not known or known != made_from():
        check_new_folder(folder, read, force)
        return False
    content = read_json(folder / "mixture.json")
    for files, digest in (("tasks", sha256), ("tests", beir_sha256)):
        for entry in content[files]:
            path = folder / entry["file" if files == "tasks" else "folder"]
            if not path.exists() or digest(path) != entry["sha256"]:
                raise UserError(f"{path}: was changed since it was written; make it anew with --force")
    return True


def _made_from(folder: Path) -> str:
    """The key of the inputs of a mixture in a folder; empty if it has none."""
    content = read_json(folder / "mixture.json")
    return str(content.get("made_from") or "") if isinstance(content, dict) else ""


def mixture_key(mixture: Mixture) -> str:
    """A fingerprint of all that :func:`write_mixture` writes: the mixture's content, licences and sources."""
    about = [[task.in_batch_negatives, task.licence, task.source] for task in mixture.tasks]
    return fingerprint([mixture_fingerprint(mixture), about])


def write_mixture(
    mixture: Mixture,
    folder: Path | str,
    force: bool = False,
    made_from: str = "",
    beside: Mapping[str, str] | None = None,
) -> None:
    """Write a mixture to a folder.

    Args:
        mixture: its tasks' rows must not come from ``folder`` itself, which is replaced.
        folder: a new or an empty folder.
        force: whether a mixture that is there is replaced.
        made_from: the key of the command's inputs, for :func:`made_before`.
        beside: names and texts of more files to write.

    Raises:
        UserError: as :func:`check_new_folder`.
    """
    folder = Path(folder)
    check_new_folder(folder, [Path(test.folder) for test in mixture.tests], force)
    with whole_folder(folder) as made:
        content = {
            "format": FORMAT,
            "name": folder.resolve().name,
            "tasks": [_write_task(task, made) for task in mixture.tasks],
            "tests": [_copy_test(test, made) for test in mixture.tests],
            **({"made_from": made_from} if made_from else {}),
        }
        for name, text in (beside or {}).items():
            write_atomic(made / name, text)
        write_json(made / "mixture.json", content)


def _write_task(task: Task, folder: Path) -> dict[str, Any]:
    """Write a task's rows; returns its entry in ``mixture.json``."""
    file = f"train/{task.name}.jsonl"
    _write_rows(task.rows, folder / file)
    return {
        "name": task.name,
        "file": file,
        "instruction": task.instruction,
        "symmetric": task.symmetric,
        "in_batch_negatives": task.in_batch_negatives,
        "rows": len(task),
        "licence": task.licence,
        "source": task.source,
        "sha256": sha256(folder / file),
    }


def _write_rows(rows: Dataset, path: Path) -> None:
    """Write rows as JSONL, some thousands in memory at a time."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for batch in rows.select_columns(list(COLUMNS)).iter(batch_size=10_000):
            for row in zip(*(batch[name] for name in COLUMNS), strict=True):
                file.write(json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) + "\n")


def _copy_test(test: TestSet, folder: Path) -> dict[str, Any]:
    """Copy a test set's files; returns its entry in ``mixture.json``."""
    place = folder / "tests" / test.name
    for file in BEIR_FILES:
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(test.folder) / file, place / file)
    return {
        "name": test.name,
        "folder": f"tests/{test.name}",
        "task": test.task,
        "instruction": test.instruction,
        "symmetric": test.symmetric,
        "sha256": beir_sha256(place),
    }
