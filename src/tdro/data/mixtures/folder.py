"""Reads a mixture folder: ``mixture.json``, a JSONL file a training task, a BEIR folder a test set.

The rows are checked strictly (:mod:`tdro.data.mixtures.strict_rows`) and built into memory-mapped files in the cache,
the first time that they are read. The checksums in ``mixture.json`` are compared with the files each time. See
docs/decisions.md, arrow-files and strict-mixtures.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tdro.data.mixtures.build import built_file
from tdro.data.mixtures.content import rows_content
from tdro.data.read.column_names import listed
from tdro.data.read.file_digest import file_digest
from tdro.data.task import Mixture, Task, TestSet
from tdro.errors import UserError
from tdro.files import fingerprint, read_json, sha256
from tdro.recipe.source_kinds import BEIR_FILES

FORMAT = "tdro-mixture/1"

# The keys of an entry of ``tasks`` and of ``tests``, and their types. A missing key counts as the type's empty value
# ("" or False), except those of _DEFAULTS.
_TASK = {
    "name": str,
    "file": str,
    "instruction": str,
    "symmetric": bool,
    "in_batch_negatives": bool,
    "licence": str,
    "source": str,
    "sha256": str,
}
_DEFAULTS = {"in_batch_negatives": True}
_TEST = {"name": str, "folder": str, "task": str, "instruction": str, "symmetric": bool, "sha256": str}


def read_mixture(
    folder: Path | str, tasks: Sequence[str] | None = None, say: Callable[[str], None] = lambda _: None
) -> Mixture:
    """Read a mixture folder.

    Args:
        folder: where ``mixture.json`` stands; its paths are relative to it.
        tasks: names of the training tasks to read; None for all. They keep the mixture's own order. All test sets are
            kept too: the test set of a task that is left out counts as untrained (``TestSet.task`` is empty).
        say: is given a line for each task whose file has keys that are not read.

    Raises:
        UserError: a missing or changed file, a wrong key, an unknown task, or a row that is not as in
            :data:`tdro.data.task.COLUMNS`; named by file and line, or by key.
    """
    return Mixture(read_tasks(folder, tasks, say), read_tests(folder, tasks))


def read_tasks(
    folder: Path | str, tasks: Sequence[str] | None = None, say: Callable[[str], None] = lambda _: None
) -> list[Task]:
    """The training tasks of a mixture folder; arguments and errors as :func:`read_mixture`."""
    folder = Path(folder)
    content = _contents(folder)
    wanted = _chosen(content, tasks, folder / "mixture.json")
    return [_task(folder, entry, say) for entry in content["tasks"] if entry["name"] in wanted]


def read_tests(folder: Path | str, tasks: Sequence[str] | None = None) -> list[TestSet]:
    """The test sets of a mixture folder. The training files need not be there.

    Arguments and errors as :func:`read_mixture`.
    """
    folder = Path(folder)
    content = _contents(folder)
    wanted = _chosen(content, tasks, folder / "mixture.json")
    return [_test(folder, entry, wanted) for entry in content["tests"]]


def task_files(folder: Path | str) -> dict[str, Path]:
    """The JSONL file of each training task, by its name, in order.

    Raises:
        UserError: ``mixture.json`` is missing or broken.
    """
    return {entry["name"]: Path(folder) / entry["file"] for entry in _contents(Path(folder))["tasks"]}


def task_instructions(folder: Path | str) -> list[tuple[str, str, bool]]:
    """Each training task's name, its instruction, and whether it is symmetric. Errors as :func:`task_files`."""
    entries = _contents(Path(folder))["tasks"]
    return [(entry["name"], entry["instruction"], entry["symmetric"]) for entry in entries]


def test_folders(folder: Path | str) -> dict[str, Path]:
    """The folder of each test set, by its name, in order. Errors as :func:`task_files`."""
    return {entry["name"]: Path(folder) / entry["folder"] for entry in _contents(Path(folder))["tests"]}


def mixture_fingerprint(mixture: Mixture) -> str:
    """16 hex digits that stand for a mixture's content: its texts, names, instructions and symmetries, in order.

    Where the texts come from does not count: a task from a CSV file and the same rows in JSONL have the same digits.
    """
    tasks = [[task.name, task.instruction, task.symmetric, rows_content(task)] for task in mixture.tasks]
    tests = [
        [test.name, test.task, test.instruction, test.symmetric, beir_sha256(test.folder)] for test in mixture.tests
    ]
    return fingerprint([tasks, tests])


def beir_sha256(folder: Path | str) -> str:
    """A BEIR folder's checksum: the SHA-256 of the hex digests of corpus, queries and qrels, in this order."""
    return hashlib.sha256("".join(_sha256(Path(folder) / file) for file in BEIR_FILES).encode()).hexdigest()


def _sha256(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def _contents(folder: Path) -> dict[str, Any]:
    """What ``mixture.json`` says, checked, with every optional key filled in."""
    path = folder / "mixture.json"
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise UserError(f"{path}: key 'format' must be {FORMAT!r}, found {found!r}")
    return {
        "tasks": _entries(path, content, "tasks", _TASK, ("name", "file")),
        "tests": _entries(path, content, "tests", _TEST, ("name", "folder")),
    }


def _entries(
    path: Path, content: dict[str, Any], key: str, types: dict[str, type], required: Sequence[str]
) -> list[dict[str, Any]]:
    """The entries of ``tasks`` or ``tests``, checked: each key has the right type, and no name comes twice."""
    found = content.get(key, [])
    if not isinstance(found, list):
        raise UserError(f"{path}: key {key!r} must be a list, found {type(found).__name__}")
    entries: list[dict[str, Any]] = []
    for place, entry in enumerate(found):
        where = f"{path}: {key}[{place}]"
        if not isinstance(entry, dict):
            raise UserError(f"{where} must be an object, found {type(entry).__name__}")
        for name, wanted in types.items():
            if name in required and not entry.get(name):
                raise UserError(f"{where}: key {name!r} is missing")
            if not isinstance(entry.get(name, _DEFAULTS.get(name, wanted())), wanted):
                raise UserError(f"{where}: key {name!r} must be {wanted.__name__}, found {entry[name]!r}")
        if not re.fullmatch(r"\w[\w.-]{0,99}", entry["name"]):  # a run names files after it
            raise UserError(f"{where}: name {entry['name']!r} may only have letters, digits, '_', '-' and '.'")
        if any(entry["name"] == other["name"] for other in entries):
            raise UserError(f"{where}: a second entry is named {entry['name']!r}; give it another name")
        filled = {name: entry.get(name, _DEFAULTS.get(name, wanted())) for name, wanted in types.items()}
        entries.append(filled | {"rows": entry.get("rows")})
    return entries


def _chosen(content: dict[str, Any], tasks: Sequence[str] | None, path: Path) -> set[str]:
    """The names of the training tasks to read, after checking that the mixture has them."""
    known = [entry["name"] for entry in content["tasks"]]
    if tasks is None:
        return set(known)
    for name in tasks:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
            raise UserError(f"{path}: no task {name!r}; {hint}")
    return set(tasks)


def _task(folder: Path, entry: dict[str, Any], say: Callable[[str], None]) -> Task:
    """Build the task of an entry, and compare it with the entry's number of rows and checksum."""
    path = folder / entry["file"]
    built = built_file(path, entry["name"])
    if built.unread:
        say(f"{entry['name']}: not read: {listed(built.unread, None)}")
    if entry["rows"] not in (None, built.rows):
        expected = f"but mixture.json says {entry['rows']}; restore or rebuild the file"
        raise UserError(f"{path}: {built.rows} rows, {expected}")
    _check_content(path, entry["sha256"], file_digest(path))
    return Task(
        entry["name"],
        built.open(),
        entry["instruction"],
        entry["symmetric"],
        entry["in_batch_negatives"],
        licence=entry["licence"],
        source=entry["source"],
        fingerprint=built.fingerprint,
    )


def _test(folder: Path, entry: dict[str, Any], trained: set[str]) -> TestSet:
    """The test set of an entry, after checking its files."""
    place = folder / entry["folder"]
    for file in BEIR_FILES:
        if not (place / file).is_file():
            raise UserError(f"{place / file}: no such file (test set {entry['name']!r})")
    _check_content(place, entry["sha256"], beir_sha256(place))
    task = entry["task"] if entry["task"] in trained else ""
    return TestSet(entry["name"], str(place), task, entry["instruction"], entry["symmetric"])


def _check_content(path: Path, recorded: str, found: str) -> None:
    """Refuse a file or folder whose checksum is not the one in ``mixture.json``, if that has one."""
    if recorded and recorded != found:
        raise UserError(
            f"{path}: its content is not the one that mixture.json has the checksum of.\n"
            "Restore or rebuild it; if the change is meant, remove 'sha256' from its entry in mixture.json."
        )
