"""Builds a task: its source's rows are checked once and written as Arrow files into the cache.

A source is read as a stream, and its rows are cleaned by :mod:`tdro.data.read.rows`. After each Arrow file
(:mod:`tdro.data.mixtures.row_files`), ``state.json`` says how far the source was read, so a build of 20 GB that was
killed goes on from there. Memory is a batch of rows, however large the source.

The folder's name is a fingerprint of the source's content and of the settings that change its rows. So equal data are
built once, wherever they lie, and what is in a folder is never out of date. Nothing is dropped silently: every row that
was dropped or changed is in ``problems.jsonl`` with file and line, and how many there were is in ``task.json``.

See docs/decisions.md, arrow-files and build-resumes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm import tqdm

from tdro.console import progress_bar
from tdro.data.mixtures.built import FORMAT, BuiltTask, read_built
from tdro.data.mixtures.content import of_shards
from tdro.data.mixtures.row_files import RowWriter, shard_name
from tdro.data.mixtures.strict_rows import StrictReader
from tdro.data.read.file_digest import file_digest
from tdro.data.read.layout import Unclear
from tdro.data.read.problem import Problem
from tdro.data.read.reader import Reader, at_once
from tdro.data.read.rows import Row
from tdro.data.read.sources import OpenedSource, Part, open_source
from tdro.disk import cache_folder
from tdro.errors import UserError
from tdro.files import fingerprint, read_json, write_json
from tdro.recipe.data_sections import Source

_VERSION = 5  # raise it when the cleaning changes, or the rows of an Arrow file: then every task is built anew


def built_task(source: Source, name: str) -> BuiltTask:
    """The task of a recipe's source in the user's cache, built now unless its content was built before.

    Args:
        source: the source's entry in the recipe.
        name: the task's name, for the progress bar and errors.

    Raises:
        UserError: the source is not there, has no usable row, cannot be read to its end, or changes while it is read.
    """
    opened = open_source(source.source, source.subset, source.split)
    key = fingerprint([_VERSION, opened.content, source.columns, source.limit])
    built = build_task(source, cache_folder() / "tasks" / key, name, opened)
    return replace(built, beside=opened.beside)


def built_file(path: Path, name: str) -> BuiltTask:
    """The task of a mixture folder's file in the user's cache, built now unless its content was built before.

    Args:
        path: the JSONL file, which is read by :class:`tdro.data.mixtures.strict_rows.StrictReader`.
        name: the task's name, for the progress bar and errors.

    Raises:
        UserError: the file cannot be opened, a row is wrong, there is none, or the file changes while it is read.
    """
    try:
        path.open("rb").close()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UserError(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    reader = StrictReader(path)
    opened = OpenedSource([f"mixture {file_digest(path)}"], [path], lambda: [reader.part()])
    key = fingerprint([_VERSION, opened.content])
    source = Source.model_construct(source=str(path))
    return build_task(source, cache_folder() / "tasks" / key, name, opened, reader)


def build_task(
    source: Source,
    folder: Path | str,
    name: str,
    opened: OpenedSource | None = None,
    strict: StrictReader | None = None,
) -> BuiltTask:
    """Build a source into a folder, or go on with a build that was stopped. A finished build is only read.

    One process builds at a time; the others wait for it and then find the finished task.

    Args:
        source: the source's entry in the recipe.
        folder: where to build.
        name: the task's name, for the progress bar and errors.
        opened: the opened source, if the caller has opened it already.
        strict: a reader that raises at the first wrong row. Without it, wrong rows are repaired or dropped. A stopped
            build with a strict reader begins anew.

    Raises:
        UserError: as :func:`built_task`, or the folder cannot be written.
    """
    folder = Path(folder)
    if not (folder / "task.json").exists():
        opened = opened or open_source(source.source, source.subset, source.split)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / "lock"):
                if not (folder / "task.json").exists():
                    _build(source, folder, name, opened, strict)
        except OSError as error:  # it comes from writing: what cannot be read is a row's problem or a UserError
            reason = f"{error.strerror or error}; $TDRO_CACHE moves the cache"
            raise UserError(f"{folder}: task '{name}' cannot be built there ({reason})") from error
    return read_built(folder)


@dataclass
class _State:
    """How far a build has come. It is saved with each finished Arrow file, so it covers what is in those files."""

    part: int = 0  # the part of the source that is being read, counted from 0
    position: int = 0  # where the next value begins in that part: a byte of a text file, a row of a table
    line: int = 1  # the line of that value
    rows: int = 0  # rows written
    read: int = 0  # values read, those that became no row included
    shards: list[str] = field(default_factory=list)  # the digest of each Arrow file's rows
    queries: list[str] = field(default_factory=list)  # the digest of each Arrow file's queries
    problems: dict[str, dict[str, int]] = field(default_factory=dict)  # how many, by kind and then by action
    problem_bytes: int = 0  # the size of problems.jsonl
    unread: dict[str, list[str]] = field(default_factory=dict)  # UnreadColumns.seen

    def count(self, problem: Problem) -> None:
        """Count one more problem of its kind and action."""
        actions = self.problems.setdefault(problem.kind, {})
        actions[problem.action] = actions.get(problem.action, 0) + 1


def _build(source: Source, folder: Path, name: str, opened: OpenedSource, strict: StrictReader | None) -> None:
    """Read the source from where the last build stopped, write its rows, and then ``task.json``."""
    before = [_stamp(file) for file in opened.files]
    stopped = folder / "state.json"
    state = _State(**read_json(stopped)) if stopped.exists() and not strict else _State()
    parts = opened.parts()
    reader = strict or Reader(source.columns, state.unread)
    with (
        _problem_file(folder, state) as problems,
        _bar(parts, state, name) as bar,
    ):
        writer = RowWriter(folder, len(state.shards))
        done = state.shards, state.queries
        for row, found in _cleaned(parts, reader, source.limit, state, bar, name):
            if row is None and found[0].action == "refused":
                _refuse(found[0], folder, name, state)
            for problem in found:
                state.count(problem)
                problems.write(json.dumps(asdict(problem), ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            state.rows += row is not None
            if row is not None and writer.add(row):
                problems.flush()
                state.shards, state.queries = done[0] + writer.rows, done[1] + writer.queries
                state.problem_bytes = problems.tell()
                state.unread = reader.unread.seen
                write_json(stopped, asdict(state))
                bar.set_postfix_str(f"{state.rows:,} rows", refresh=False)
        writer.close()
        state.shards, state.queries = done[0] + writer.rows, done[1] + writer.queries
    if unclear := reader.end():
        stopped.unlink(missing_ok=True)
        raise _question(name, source.source, unclear)
    if not state.rows:
        raise UserError(f"task '{name}', {source.source}: no usable row{_first_problem(folder, opened)}")
    for file, stamp in zip(opened.files, before, strict=True):
        if _stamp(file) != stamp:
            stopped.unlink(missing_ok=True)
            raise UserError(f"task '{name}', {file}: changed while it was read; run the command again")
    _finish(source, folder, opened, state, reader)


def _question(name: str, file: str, unclear: Unclear) -> UserError:
    """The error that asks the user which of the file's columns is meant."""
    return UserError(f"task '{name}', {file}: {unclear.question}")


def _refuse(problem: Problem, folder: Path, name: str, state: _State) -> None:
    """Raise the error for a file that cannot be read any further. Its beginning alone is not what the user meant.

    The rows built so far are removed. Once the file is mended its content is another one, and so is its folder in the
    cache: nobody would ever read them.
    """
    for file in (*folder.glob("rows-*"), folder / "state.json"):
        file.unlink(missing_ok=True)
    where = problem.file if problem.line is None else f"{problem.file}, line {problem.line}"
    read = f"\n{state.read:,} rows of the task were read before it, and none is used" if state.read else ""
    raise UserError(f"task '{name}', {where}: {problem.message}{read}")


def _finish(source: Source, folder: Path, opened: OpenedSource, state: _State, reader: Reader | StrictReader) -> None:
    """Write ``task.json``. A folder that has this file is a finished build."""
    content = {
        "format": FORMAT,
        "rows": state.rows,
        "read": state.read,
        "fingerprint": of_shards(state.shards),
        "queries": of_shards(state.queries),
        "problems": state.problems,
        "unread": list(reader.unread.seen),
        "lists": reader.lists,
        "source": source.source,
        "settings": {key: getattr(source, key) for key in ("subset", "split", "columns", "limit")},
        "content": opened.content,
        "shards": [shard_name(place) for place in range(len(state.shards))],
    }
    write_json(folder / "task.json", content)
    (folder / "state.json").unlink(missing_ok=True)


def _cleaned(
    parts: list[Part], reader: Reader | StrictReader, limit: int | None, state: _State, bar: tqdm[Any], name: str
) -> Iterator[tuple[Row | None, list[Problem]]]:
    """Yield the row of each value (None if it became none) and the value's problems, and keep ``state`` up to date.

    It starts where ``state`` says and ends when ``limit`` rows were written.
    """
    for part_number, part in enumerate(parts):
        if state.rows == limit:
            return
        if unclear := reader.open(part):
            raise _question(name, part.file, unclear)
        if part_number < state.part:
            continue
        if part_number != state.part:
            state.part, state.position, state.line = part_number, 0, 1
        shown = state.position
        values = part.read(state.position, state.line)
        while batch := [*islice(values, at_once(limit, state.rows))]:
            lines, ends, raws = zip(*batch, strict=True)
            for value, line, end, found in zip(raws, lines, ends, reader.rows(raws, lines), strict=True):
                state.position, state.line = end, line + 1
                state.read += not isinstance(value, Problem) or value.action == "dropped"
                yield found
            bar.update(state.position - shown)
            shown = state.position


def _problem_file(folder: Path, state: _State) -> Any:
    """Open ``problems.jsonl``. What a killed build wrote after the state was saved is cut off; it will come again."""
    file = (folder / "problems.jsonl").open("ab")
    file.truncate(state.problem_bytes)
    return file


def _first_problem(folder: Path, opened: OpenedSource) -> str:
    """Why the source gave no row, as the end of an error: its first problem, or that it is empty."""
    with (folder / "problems.jsonl").open(encoding="utf-8") as file:
        line = file.readline()
    if not line:
        empty = not any(file.stat().st_size for file in opened.files)
        return ": it is empty" if empty else ": it has nothing but a header or blank lines"
    first = json.loads(line)
    return f".\nThe first problem: {first['file']}, line {first['line']}: {first['message']}"


def _bar(parts: list[Part], state: _State, name: str) -> tqdm[Any]:
    """A progress bar over all parts. Without the parts' sizes it has no end. What an earlier build read counts."""
    units = {part.unit for part in parts}
    sizes = [part.size or 0 for part in parts]
    known = len(units) == 1 and all(part.size is not None for part in parts)
    return progress_bar(
        total=sum(sizes) if known else None,
        initial=sum(sizes[: state.part]) + state.position,
        title=name,
        unit="B" if units == {"B"} else " rows",
        unit_scale=True,
    )


def _stamp(file: Path) -> tuple[int, int] | None:
    """A file's size and time of change, to notice that it changes while it is read; None if it is gone."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
