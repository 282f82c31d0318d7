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
    """Raise what :func:`write_mixture` would raise, so that it is known before anything long is done."""
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
    """Whether a folder holds the mixture that the same command would write again, as it was written.

    Args:
        folder: the output.
        made_from: computes the key of the command's inputs; called only where there is a mixture with one.
        read: the command's input files and folders.
        force: make it anew in any case.

    Raises:
        UserError: something else is there; as :func:`check_new_folder`, and before anything long has been done.
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
    content = read_json(folder / "mixture.json")
    return str(content.get("made_from") or "") if isinstance(content, dict) else ""


def mixture_key(mixture: Mixture) -> str:
    """A fingerprint of all that is written of a mixture: its content, and licences and sources too."""
    about = [[task.in_batch_negatives, task.licence, task.source] for task in mixture.tasks]
    return fingerprint([mixture_fingerprint(mixture), about])


def write_mixture(
    mixture: Mixture,
    folder: Path | str,
    force: bool = False,
    made_from: str = "",
    beside: Mapping[str, str] | None = None,
) -> None:
    """Write a mixture. A task's rows must not be those of a file in ``folder``.

    Args:
        mixture: of tasks that have rows.
        folder: a new or empty one.
        force: replace a mixture that is there.
        made_from: the key of what it is made from, for :func:`made_before`.
        beside: more files by name, with their text.

    Raises:
        UserError: something is there, or the folder cannot be written.
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
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for batch in rows.select_columns(list(COLUMNS)).iter(batch_size=10_000):
            for row in zip(*(batch[name] for name in COLUMNS), strict=True):
                file.write(json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) + "\n")


def _copy_test(test: TestSet, folder: Path) -> dict[str, Any]:
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
