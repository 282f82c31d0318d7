"""A mixture written to a new folder: what :mod:`tdro.data.mixture` reads.

Written beside its place and renamed, so there is a whole mixture or none; rows are streamed, so a large task costs no
memory. Rejected: links to the test sets instead of copies (a mixture is one folder that can be moved).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdro.data.mixture import FORMAT, beir_sha256
from tdro.data.places import BEIR_FILES
from tdro.data.task import COLUMNS, Mixture, Task, TestSet
from tdro.disk import check_writable
from tdro.errors import UserError
from tdro.files import sha256, whole_folder, write_atomic, write_json

if TYPE_CHECKING:
    from datasets import Dataset


def check_new_folder(folder: Path, read: Iterable[Path], force: bool = False) -> None:
    """Raise where :func:`write_mixture` would: before anything long has been done."""
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


def write_mixture(
    mixture: Mixture, folder: Path | str, force: bool = False, beside: Mapping[str, str] | None = None
) -> None:
    """Write a mixture. A task's rows must not be those of a file in ``folder``.

    Args:
        mixture: of tasks that have rows.
        folder: a new or empty one.
        force: replace a mixture that is there.
        beside: text files that go into the folder, too, by name.

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
