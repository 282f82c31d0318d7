"""A source becomes rows on disk: checked once, written as Arrow files that are memory-mapped from then on.

A source is read as a stream, its rows are cleaned by :mod:`tdro.data.read.rows`, and every ``SHARD_ROWS`` of them
become a
file that is whole or not there (10 M rows are 100 open files); beside it stands how far the source is read, so that a
build of 20 GB goes on where a kill left it. Memory is a batch of rows, whatever the source. The folder is named by the
source's content and the settings that change the rows, so equal data is built once, wherever it lies, and an open
folder is never stale.

Every row that was dropped or changed stands in ``problems.jsonl`` with file and line, and their number in
``task.json``: nothing is dropped silently. Rejected: ``Dataset.from_generator`` (no row numbers, and a kill begins it
anew), and Parquet (it must be decoded into memory to be read).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from tqdm.auto import tqdm

from tdro.data.mixtures.content import SHARD_ROWS, ShardContent, of_shards
from tdro.data.read.layout import Unclear
from tdro.data.read.reader import Reader, notes
from tdro.data.read.rows import Problem, Row
from tdro.data.read.sources import Opened, Part, open_source
from tdro.data.task import COLUMNS
from tdro.disk import cache_folder
from tdro.errors import UserError
from tdro.files import fingerprint, read_json, write_json

if TYPE_CHECKING:
    from datasets import Dataset

    from tdro.recipe.data_sections import Source

FORMAT = "tdro-task/2"
BATCH_CHARACTERS = 64 << 20  # in memory at once. Opening reads something of each batch, so small ones are opened late
_OPENED_AT_ONCE = 32  # files; it is the disk that is waited for
_BAR_STEP = 1_000  # rows
_VERSION = 5  # of the rows and their fingerprint: a change of the cleaning, or of the sizes above, changes it


@dataclass(frozen=True)
class BuiltTask:
    """A folder that a source was built into.

    Attributes:
        folder: with ``task.json``, ``problems.jsonl`` and the Arrow files.
        rows: how many there are.
        read: how many values the source had, or were read before its limit.
        fingerprint: of the rows' content, in their order; the same from whatever format they came.
        queries: of the queries' alone.
        problems: kind to action (``dropped``, ``repaired``, ``kept``, ``refused``) to how many.
        shards: names of the Arrow files.
        unread: columns that were not read.
        lists: columns whose cells were read as the lists that they are the texts of.
        beside: what lies beside the source's files and is not read, a line each.
    """

    folder: Path
    rows: int
    read: int
    fingerprint: str
    queries: str
    problems: dict[str, dict[str, int]]
    shards: list[str]
    unread: list[str]
    lists: list[str]
    beside: list[str] = field(default_factory=list)

    def open(self) -> Dataset:
        """The rows, memory-mapped: no row is read before it is asked for."""
        from datasets import Dataset
        from datasets.table import MemoryMappedTable, concat_tables

        files = [str(self.folder / shard) for shard in self.shards]
        with ThreadPoolExecutor(_OPENED_AT_ONCE) as pool:  # a Dataset of each file takes three times as long
            tables = list(pool.map(MemoryMappedTable.from_file, files))
        return Dataset(concat_tables(tables), fingerprint=self.fingerprint[:16])

    @property
    def dropped(self) -> int:
        """Values of the source that are no rows."""
        return self.read - self.rows

    @property
    def told(self) -> bool:
        """Whether there is something that the user should know."""
        return bool(self.problems or self.unread or self.lists or self.beside)

    def summary(self, name: str) -> str:
        """What became of the source's rows, in a line, and which columns were not read, in another."""
        return "\n".join([self.numbers(name), *self.not_read(name)])

    def not_read(self, name: str) -> list[str]:
        """What of the source was not read as it is, files and columns, a line each."""
        return [*self.beside, *(f"{name}: {line}" for line in notes(self.unread, self.lists))]

    def numbers(self, name: str) -> str:
        """What became of the source's rows, in a line."""
        text = f"{name}: {self.rows:,} rows"
        if self.dropped:
            text += f", {self.dropped:,} dropped"
        if self.problems:
            kinds = ", ".join(f"{sum(actions.values()):,} {kind}" for kind, actions in sorted(self.problems.items()))
            text += f" ({kinds}: {self.folder / 'problems.jsonl'})"
        return text


def built_task(source: Source, name: str, cache: Path | str | None = None) -> BuiltTask:
    """The task of a source in the user's cache, built now if its content was not built before.

    Args:
        source: a recipe's entry.
        name: of the task, for the progress bar and errors.
        cache: the cache folder; see :func:`tdro.disk.cache_folder`.

    Raises:
        UserError: the source is not there, has no usable row, cannot be read to its end, or changes while it is read.
    """
    opened = open_source(source)
    key = fingerprint([_VERSION, opened.content, source.columns, source.limit])
    built = build_task(source, cache_folder(cache) / "tasks" / key, name, opened)
    return replace(built, beside=opened.beside)


def build_task(source: Source, folder: Path | str, name: str, opened: Opened | None = None) -> BuiltTask:
    """Build a source into a folder, or go on with it; what is there whole is read. Raises as :func:`built_task`.

    One process builds at a time; the others wait for it and find the task.
    """
    folder = Path(folder)
    if not (folder / "task.json").exists():
        opened = opened or open_source(source)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / "lock"):
                if not (folder / "task.json").exists():
                    _build(source, folder, name, opened)
        except OSError as error:  # of writing: what cannot be read is a problem of its row, or a UserError
            reason = f"{error.strerror or error}; $TDRO_CACHE moves the cache"
            raise UserError(f"{folder}: task '{name}' cannot be built there ({reason})") from error
    return read_built(folder)


def read_built(folder: Path) -> BuiltTask:
    """What ``task.json`` says. Raises :class:`UserError` if it is broken or of another version."""
    content = read_json(folder / "task.json")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{folder / 'task.json'}: not of the format {FORMAT}; delete the folder, it is built again")
    missing = [shard for shard in content["shards"] if not (folder / shard).is_file()]
    if missing:
        raise UserError(f"{folder / missing[0]}: no such file; delete the folder, it is built again")
    known = ("rows", "read", "fingerprint", "queries", "problems", "shards", "unread", "lists")
    return BuiltTask(folder, *(content[key] for key in known))


@dataclass
class _State:
    """How far a build is: everything up to here is in whole files."""

    part: int = 0
    position: int = 0  # in the part
    line: int = 1  # of the part's next value
    rows: int = 0
    read: int = 0
    shards: list[str] = field(default_factory=list)  # digests of the shards' content
    queries: list[str] = field(default_factory=list)  # digests of the shards' queries
    problems: dict[str, dict[str, int]] = field(default_factory=dict)
    problem_bytes: int = 0  # of problems.jsonl
    unread: dict[str, list[str]] = field(default_factory=dict)  # columns, as tdro.data.read.judgements.Unread has them

    def count(self, problem: Problem) -> None:
        """One more of a kind."""
        actions = self.problems.setdefault(problem.kind, {})
        actions[problem.action] = actions.get(problem.action, 0) + 1


def _shard_name(number: int) -> str:
    return f"rows-{number:05d}.arrow"


def _build(source: Source, folder: Path, name: str, opened: Opened) -> None:
    before = [_stamp(file) for file in opened.files]
    state = _State(**read_json(folder / "state.json")) if (folder / "state.json").exists() else _State()
    parts = opened.parts()
    reader = Reader(source.columns, state.unread)
    with (
        _problem_file(folder, state) as problems,
        _bar(parts, state, name) as bar,
    ):
        writer = _Writer(folder, state)
        for row, found in _cleaned(parts, reader, source.limit, state, bar, name):
            if row is None and found[0].action == "refused":
                _refuse(found[0], folder, name, state)
            for problem in found:
                state.count(problem)
                problems.write(json.dumps(asdict(problem), ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            if row is not None and writer.add(row):
                problems.flush()
                state.problem_bytes = problems.tell()
                state.unread = reader.unread.seen
                write_json(folder / "state.json", asdict(state))
                bar.set_postfix_str(f"{state.rows:,} rows", refresh=False)
        writer.close()
    if unclear := reader.end():
        (folder / "state.json").unlink(missing_ok=True)
        raise _asked(name, source.source, unclear)
    if not state.rows:
        raise UserError(f"task '{name}', {source.source}: no usable row{_first_problem(folder, opened)}")
    for file, stamp in zip(opened.files, before, strict=True):
        if _stamp(file) != stamp:
            (folder / "state.json").unlink(missing_ok=True)
            raise UserError(f"task '{name}', {file}: changed while it was read; run the command again")
    _finish(source, folder, opened, state, reader)


def _asked(name: str, file: str, unclear: Unclear) -> UserError:
    return UserError(f"task '{name}', {file}: {unclear.question}")


def _refuse(problem: Problem, folder: Path, name: str, state: _State) -> None:
    """Raise for a file of which nothing more can be read: its beginning alone is not what was meant.

    What was built of it is of no use any more: whole, the file has another content, and another folder.
    """
    for file in (*folder.glob("rows-*"), folder / "state.json"):
        file.unlink(missing_ok=True)
    where = problem.file if problem.line is None else f"{problem.file}, line {problem.line}"
    read = f"\n{state.read:,} rows of the task were read before it, and none is used" if state.read else ""
    raise UserError(f"task '{name}', {where}: {problem.message}{read}")


def _finish(source: Source, folder: Path, opened: Opened, state: _State, reader: Reader) -> None:
    """Write ``task.json``, which says that all is there."""
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
        "shards": [_shard_name(number) for number in range(len(state.shards))],
    }
    write_json(folder / "task.json", content)
    (folder / "state.json").unlink(missing_ok=True)


def _cleaned(
    parts: list[Part], reader: Reader, limit: int | None, state: _State, bar: tqdm[Any], name: str
) -> Iterator[tuple[Row | None, list[Problem]]]:
    """Every value from the state up to the limit: its row or None, and its problems. Keeps the state's place."""
    for number, part in enumerate(parts):
        if unclear := reader.open(part):
            raise _asked(name, part.file, unclear)
        if number < state.part:
            continue
        if number != state.part:
            state.part, state.position, state.line = number, 0, 1
        shown = state.position
        for line, after, value in part.read(state.position, state.line):
            if state.rows == limit:
                return
            state.position, state.line = after, line + 1
            if not state.read % _BAR_STEP:
                bar.update(after - shown)
                shown = after
            if isinstance(value, Problem):
                state.read += value.action == "dropped"
                yield None, [value]
            else:
                state.read += 1
                yield reader.row(value, line)
        bar.update(state.position - shown)


class _Writer:
    """Writes rows as batches, batches as shards, and keeps the state's rows and digests."""

    def __init__(self, folder: Path, state: _State) -> None:
        import pyarrow

        text = pyarrow.large_string()  # 64-bit offsets: the passages of 3 M rows are more than 2 GiB
        texts = pyarrow.list_(text)
        self.schema = pyarrow.schema(list(zip(COLUMNS, (text, text, texts, texts), strict=True)))
        self.folder, self.state = folder, state
        self.rows: list[Row] = []
        self.characters = 0
        self.stream: Any = None
        for stale in folder.glob("rows-*"):
            if stale.name not in {_shard_name(number) for number in range(len(state.shards))}:
                stale.unlink()

    def add(self, row: Row) -> bool:
        """Take a row; True if a shard is whole now."""
        self.rows.append(row)
        self.characters += sum(map(len, (row.query, *row.positives, *row.negatives)))
        self.state.rows += 1
        whole = self.state.rows % SHARD_ROWS == 0
        if whole or self.characters >= BATCH_CHARACTERS:
            self._write_batch()
        if whole:
            self._end_shard()
        return whole

    def close(self) -> None:
        """Write what is left."""
        if self.rows:
            self._write_batch()
        if self.stream is not None:
            self._end_shard()

    def _write_batch(self) -> None:
        import pyarrow

        if self.stream is None:
            self.path = self.folder / f"{_shard_name(len(self.state.shards))}.part"
            self.file = self.path.open("wb")
            self.stream = pyarrow.ipc.new_stream(self.file, self.schema)
            self.content = ShardContent()
        columns = zip(*self.rows, strict=True)
        arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, self.schema.types, strict=True)]
        batch = pyarrow.record_batch(arrays, schema=self.schema)
        self.stream.write_batch(batch)
        self.content.add(batch)
        self.rows = []
        self.characters = 0

    def _end_shard(self) -> None:
        self.stream.close()
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        self.path.replace(self.path.with_suffix(""))
        self.state.shards.append(self.content.rows())
        self.state.queries.append(self.content.queries())
        self.stream = None


def _problem_file(folder: Path, state: _State) -> Any:
    """``problems.jsonl``, cut to what the state knows of."""
    file = (folder / "problems.jsonl").open("ab")
    file.truncate(state.problem_bytes)
    return file


def _first_problem(folder: Path, opened: Opened) -> str:
    with (folder / "problems.jsonl").open(encoding="utf-8") as file:
        line = file.readline()
    if not line:
        empty = not any(file.stat().st_size for file in opened.files)
        return ": it is empty" if empty else ": it has nothing but a header or blank lines"
    first = json.loads(line)
    return f".\nThe first problem: {first['file']}, line {first['line']}: {first['message']}"


def _bar(parts: list[Part], state: _State, name: str) -> tqdm[Any]:
    """A bar over all parts where their sizes are known; what is done already counts as done."""
    units = {part.unit for part in parts}
    sizes = [part.size or 0 for part in parts]
    known = len(units) == 1 and all(part.size is not None for part in parts)
    return tqdm(
        total=sum(sizes) if known else None,
        initial=sum(sizes[: state.part]) + state.position,
        desc=name,
        unit="B" if units == {"B"} else " rows",
        unit_scale=True,
        delay=2,
    )


def _stamp(file: Path) -> tuple[int, int] | None:
    """Size and time of a file; None where it is gone."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
