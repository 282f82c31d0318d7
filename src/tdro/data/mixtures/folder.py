"""A mixture folder: ``mixture.json``, a JSONL file a training task, a BEIR folder a test set.

Rows are checked while they are read, so that a wrong one is named by file and line before any model is
loaded, and recorded checksums are compared with the files. Rejected: pyarrow's JSON reader (a few times
faster, but its errors name neither line nor key, and a quarter of a million rows take seconds).
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdro.data.mixtures.content import rows_content
from tdro.data.read.column_names import is_negative, listed, shown_key
from tdro.data.read.jsonl import raw_rows
from tdro.data.read.judgements import Unread
from tdro.data.read.rows import Problem
from tdro.data.task import COLUMNS, Mixture, Task, TestSet
from tdro.errors import UserError
from tdro.files import fingerprint, read_json, sha256
from tdro.recipe.source_kinds import BEIR_FILES

if TYPE_CHECKING:
    from datasets import Dataset

FORMAT = "tdro-mixture/1"
_SURROGATE = re.compile("[\ud800-\udfff]")

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
_DEFAULTS = {"in_batch_negatives": True}  # of the others: empty, or false
_TEST = {"name": str, "folder": str, "task": str, "instruction": str, "symmetric": bool, "sha256": str}


def read_mixture(
    folder: Path | str, tasks: Sequence[str] | None = None, say: Callable[[str], None] = lambda _: None
) -> Mixture:
    """Read a mixture folder.

    Args:
        folder: where ``mixture.json`` stands; its paths are relative to it.
        tasks: names of the training tasks to read, all if None. The mixture's own order is kept, and so are all test
            sets; those of a task that is left out become untrained ones (``TestSet.task`` is empty).
        say: told of every task whose file has keys that are not read.

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
    """The test sets of a mixture folder, whose tasks' files need not be there; else as :func:`read_mixture`."""
    folder = Path(folder)
    content = _contents(folder)
    wanted = _chosen(content, tasks, folder / "mixture.json")
    return [_test(folder, entry, wanted) for entry in content["tests"]]


def task_files(folder: Path | str) -> dict[str, Path]:
    """The training tasks' names and JSONL files, in order; raises as :func:`read_mixture` for a broken mixture.json."""
    return {entry["name"]: Path(folder) / entry["file"] for entry in _contents(Path(folder))["tasks"]}


def task_instructions(folder: Path | str) -> list[tuple[str, str, bool]]:
    """The training tasks' names, instructions, and whether they are symmetric; raises as :func:`task_files`."""
    entries = _contents(Path(folder))["tasks"]
    return [(entry["name"], entry["instruction"], entry["symmetric"]) for entry in entries]


def test_folders(folder: Path | str) -> dict[str, Path]:
    """The test sets' names and folders, in order; raises as :func:`task_files`."""
    return {entry["name"]: Path(folder) / entry["folder"] for entry in _contents(Path(folder))["tests"]}


def mixture_fingerprint(mixture: Mixture) -> str:
    """16 hex digits of a mixture's content: texts, names, instructions and symmetries, in order; where they come from,
    and the way they came, does not count."""
    tasks = [[task.name, task.instruction, task.symmetric, rows_content(task)] for task in mixture.tasks]
    tests = [
        [test.name, test.task, test.instruction, test.symmetric, beir_sha256(test.folder)] for test in mixture.tests
    ]
    return fingerprint([tasks, tests])


def beir_sha256(folder: Path | str) -> str:
    """A BEIR folder's checksum: SHA-256 over the hex digests of corpus, queries and qrels, in this order."""
    return hashlib.sha256("".join(_sha256(Path(folder) / file) for file in BEIR_FILES).encode()).hexdigest()


def _sha256(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def _contents(folder: Path) -> dict[str, Any]:
    """``mixture.json``, checked, with every optional key filled in."""
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
    """The tasks' or the tests' entries, each key of the right type; names are unique."""
    found = content.get(key, [])
    if not isinstance(found, list):
        raise UserError(f"{path}: key {key!r} must be a list, found {type(found).__name__}")
    entries: list[dict[str, Any]] = []
    for number, entry in enumerate(found):
        where = f"{path}: {key}[{number}]"
        if not isinstance(entry, dict):
            raise UserError(f"{where} must be an object, found {type(entry).__name__}")
        for name, kind in types.items():
            if name in required and not entry.get(name):
                raise UserError(f"{where}: key {name!r} is missing")
            if not isinstance(entry.get(name, _DEFAULTS.get(name, kind())), kind):
                raise UserError(f"{where}: key {name!r} must be {kind.__name__}, found {entry[name]!r}")
        if not re.fullmatch(r"\w[\w.-]{0,99}", entry["name"]):  # it also names files of a run
            raise UserError(f"{where}: name {entry['name']!r} may only have letters, digits, '_', '-' and '.'")
        if any(entry["name"] == other["name"] for other in entries):
            raise UserError(f"{where}: a second entry is named {entry['name']!r}; give it another name")
        filled = {name: entry.get(name, _DEFAULTS.get(name, kind())) for name, kind in types.items()}
        entries.append(filled | {"rows": entry.get("rows")})
    return entries


def _chosen(content: dict[str, Any], tasks: Sequence[str] | None, path: Path) -> set[str]:
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
    path = folder / entry["file"]
    unread = Unread()
    rows = read_rows(path, unread)
    if unread.seen:
        say(f"{entry['name']}: not read: {listed(list(unread.seen), None)}")
    if entry["rows"] not in (None, len(rows)):
        raise UserError(f"{path}: {len(rows)} rows, but mixture.json says {entry['rows']}; restore or rebuild the file")
    _same(path, entry["sha256"], sha256(path))
    task = Task(
        entry["name"],
        rows,
        entry["instruction"],
        entry["symmetric"],
        entry["in_batch_negatives"],
        licence=entry["licence"],
        source=entry["source"],
    )
    return replace(task, fingerprint=rows_content(task))


def _test(folder: Path, entry: dict[str, Any], trained: set[str]) -> TestSet:
    place = folder / entry["folder"]
    for file in BEIR_FILES:
        if not (place / file).is_file():
            raise UserError(f"{place / file}: no such file (test set {entry['name']!r})")
    _same(place, entry["sha256"], beir_sha256(place))
    task = entry["task"] if entry["task"] in trained else ""
    return TestSet(entry["name"], str(place), task, entry["instruction"], entry["symmetric"])


def _same(path: Path, recorded: str, found: str) -> None:
    if recorded and recorded != found:
        raise UserError(
            f"{path}: its content is not the one that mixture.json has the checksum of.\n"
            "Restore or rebuild it; if the change is meant, remove 'sha256' from its entry in mixture.json."
        )


def read_rows(path: Path | str, unread: Unread | None = None) -> Dataset:
    """The rows of one task's JSONL file, columns in the order of :data:`tdro.data.task.COLUMNS`.

    ``id`` may be missing (then the line's number) and so may ``negatives`` (then none); other keys are not read.

    Args:
        path: the file.
        unread: is told the other keys.

    Raises:
        UserError: naming file and line of the first row that is wrong, or the file if it has none or cannot be opened,
            or if another key judges its rows.
    """
    import pyarrow as pa
    from datasets import Dataset

    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    unread = Unread() if unread is None else unread
    for line, _, value in raw_rows(path):
        if isinstance(value, Problem):
            where = str(path) if value.line is None else f"{path}, line {line}"
            raise UserError(f"{where}: {value.message}")
        for name, cell in zip(COLUMNS, _row(value, f"{path}, line {line}", line), strict=True):
            columns[name].append(cell)
        if isinstance(value, dict) and (others := [key for key in value if key not in COLUMNS]):
            unread.add(value, others)
    if judges := unread.judges(bool(any(columns["negatives"]))):
        raise UserError(
            f"{path}: key {shown_key(judges)} judges the rows; keep those whose positives are answers, without it"
        )
    if not columns["id"]:
        raise UserError(f"{path}: no rows")
    texts = pa.list_(pa.string())
    kinds = {"id": pa.string(), "query": pa.string(), "positives": texts, "negatives": texts}
    return Dataset(pa.table({name: pa.array(columns[name], kind) for name, kind in kinds.items()}))


def _row(row: object, where: str, line: int) -> tuple[str, str, list[str], list[str]]:
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected a JSON object, found {type(row).__name__}")
    for name in ("query", "positives"):
        if name not in row:
            near = difflib.get_close_matches(name, row, 1)
            raise UserError(f"{where}: no key {name!r}" + (f"; did you mean it by {near[0]!r}?" if near else ""))
    for name in ("positives", "negatives"):
        if not isinstance(row.get(name, []), list):
            found = type(row[name]).__name__
            raise UserError(f"{where}: key {name!r} must be a list of strings, found {found}")
    if "negatives" not in row and (others := [key for key in row if is_negative(key)]):
        raise UserError(f"{where}: no key 'negatives'; did you mean it by {shown_key(others[0])}?")
    if not row["positives"]:
        raise UserError(f"{where}: 'positives' is empty; a row needs at least one")
    return (
        _text(row.get("id", str(line)), "key 'id'", where, empty=True),
        _text(row["query"], "key 'query'", where),
        [_text(text, "a text in 'positives'", where) for text in row["positives"]],
        [_text(text, "a text in 'negatives'", where) for text in row.get("negatives", [])],
    )


def _text(value: Any, what: str, where: str, empty: bool = False) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where}: {what} must be a string, found {type(value).__name__}")
    if not empty and not value.strip():
        raise UserError(f"{where}: {what} is empty")
    if not value.isascii() and _SURROGATE.search(value):
        raise UserError(
            f"{where}: {what} has half of a surrogate pair (\\ud800 to \\udfff), which is not text; remove it"
        )
    return value
