"""``tdro init`` from beginning to end: build the files as tasks, choose settings, write a recipe that loads."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic_core import PydanticCustomError

from tdro.disk import check_writable
from tdro.errors import UserError
from tdro.files import write_atomic
from tdro.init.files_as_tasks import FileTask, files_as_tasks, task_names
from tdro.init.hold_out import hold_out
from tdro.init.recipe_text import TaskEntry, TestSetEntry, recipe_text
from tdro.init.settings_rules import ProposedSettings, settings_for
from tdro.models.base_tokens import base_tokens
from tdro.planning.base_kind import base_of
from tdro.planning.device import planned_device
from tdro.planning.shape import read_shape
from tdro.recipe.json_schema import schema_path, write_schema
from tdro.recipe.rules import check_beir_folder
from tdro.recipe.schema import load_recipe
from tdro.recipe.training_sections import Base


def init_recipe(
    files: Sequence[str],
    model: str,
    out: Path,
    columns: Mapping[str, Mapping[str, str]] | None = None,
    tests: Sequence[str] = (),
    held: int = 0,
    force: bool = False,
) -> str:
    """Write a recipe for somebody's files.

    Args:
        files: data files, folders or hub ids; each is a task.
        model: the base to fine-tune.
        out: the file of the recipe.
        columns: what the user said of the columns of a file, by file.
        tests: folders of test sets in BEIR's layout.
        held: how many queries of each task become a test set, in the folder ``<recipe>-held-out`` beside the recipe.
        force: overwrite the recipe and that folder.

    Returns:
        a few lines about what was found and what to do next.

    Raises:
        UserError: a file, the model or a test set is not there or cannot be understood; or ``out`` is there already.
    """
    check_writable(out, read=files)
    if out.exists() and not force:
        raise UserError(f"{out}: is there already; name another one with --out, or overwrite it with --force")
    schema_path(out)
    if stray := sorted(set(columns or {}) - set(files)):
        raise UserError(f"--columns {stray[0]}: is none of the files; write it as it stands among them")
    test_sets = _test_sets(tests)
    base = base_of(model)
    tokens = base_tokens(base)
    tasks = files_as_tasks(files, tokens.count, columns or {})
    sources = [TaskEntry(task, task.source, task.card.rows) for task in tasks]
    folder = out.with_name(f"{out.stem}-held-out")
    if held:
        left = hold_out([task.to_task() for task in tasks], held, folder, force)
        sources = [TaskEntry(task, str(folder / "train" / f"{task.name}.jsonl"), left[task.name]) for task in tasks]
        held_out = [TestSetEntry(task.name, str(folder / "tests" / task.name)) for task in tasks]
        test_sets = held_out + test_sets
    test_sets = _with_their_tasks(test_sets, {task.name for task in tasks})
    device = planned_device("auto", "auto")
    settings = settings_for(
        [task.card for task in tasks],
        [source.rows for source in sources],
        base.kind,
        device,
        _parameters(base),
        tokens.longest,
    )
    name = re.sub(r"[^\w-]+", "-", out.stem).strip("-")[:80] or "recipe"
    text = recipe_text(name, sources, test_sets, base, settings, device.kind)
    _check_loads(text)
    try:
        write_schema(out)
        write_atomic(out, text)
    except BaseException:
        if held and not force:  # else the same command would refuse to overwrite it
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return _summary(tasks, sources, test_sets, settings, out)


def _test_sets(folders: Sequence[str]) -> list[TestSetEntry]:
    for folder in folders:
        try:
            check_beir_folder(folder)
        except PydanticCustomError as error:
            raise UserError(f"--tests: {error.message()}") from None
    return [TestSetEntry(name, folder) for name, folder in zip(task_names(folders), folders, strict=True)]


def _with_their_tasks(test_sets: Sequence[TestSetEntry], tasks: Collection[str]) -> list[TestSetEntry]:
    """The test sets, each as a part of the task that has its name. Raises if two have one name."""
    names: set[str] = set()
    for test in test_sets:
        if test.name in names:
            raise UserError(f"--tests {test.folder}: a second test set would be named {test.name!r}; rename the folder")
        names.add(test.name)
    return [replace(test, task=test.name if test.name in tasks else "") for test in test_sets]


def _parameters(base: Base) -> int | None:
    try:
        return read_shape(base).parameters
    except UserError:  # of an unusual architecture; only the rule about memory needs the number
        return None


def _check_loads(text: str) -> None:
    """Raise the error that a run would stop with, if the recipe does not load."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        load_recipe(path)


def _summary(
    tasks: Sequence[FileTask],
    sources: Sequence[TaskEntry],
    tests: Sequence[TestSetEntry],
    settings: ProposedSettings,
    out: Path,
) -> str:
    lines = []
    for task, source in zip(tasks, sources, strict=True):
        lines += [*task.built.beside, task.built.row_counts(task.name), f"  {task.columns.summary}"]
        if task.columns.guessed:
            lines.append("  taken for what their names mean; see that it is right")
        if source.rows != task.card.rows:
            lines.append(f"  {task.card.rows - source.rows:,} rows held out for the test set, {source.rows:,} left")
    lines += _parts_of_one_task([task.name for task in tasks])
    lines.append(
        f"{settings.steps} steps of {settings.batch} rows; {len(tests)} test sets"
        + ("" if tests else ": models will be trained and not compared; see --hold-out")
    )
    lines.append(f"{out}: fill in the instructions, then: tdro run {shlex.quote(str(out))}")
    return "\n".join(lines)


def _parts_of_one_task(names: Sequence[str]) -> list[str]:
    """A line for tasks whose names differ in numbers only, which may be parts of one task."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(re.sub(r"\d+", "", name), []).append(name)
    return [
        f"{', '.join(some)}: if these are parts of one task, put them into a folder, and give the folder"
        for some in alike.values()
        if len(some) > 1
    ]
