"""A built task: the folder in the cache that a source, or a task's file of a mixture, was built into."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tdro.data.mixtures.row_files import open_rows
from tdro.data.read.reader import notes
from tdro.errors import UserError
from tdro.files import read_json

if TYPE_CHECKING:
    from datasets import Dataset

FORMAT = "tdro-task/2"


@dataclass(frozen=True)
class BuiltTask:
    """A built task: where its rows are, and what became of its source's rows.

    Attributes:
        folder: holds ``task.json``, ``problems.jsonl`` and the Arrow files.
        rows: how many rows there are.
        read: how many values of the source were read: all of them, or those up to its ``limit``.
        fingerprint: the digest of the rows' content, in order; the same whatever format they came from.
        queries: the digest of the queries alone.
        problems: how many problems there were, by kind and then by action (``dropped``, ``repaired``, ``kept``).
        shards: names of the Arrow files.
        unread: names of the columns that were not read.
        lists: names of the columns whose cells are lists written as text (``"['a', 'b']"``), which were read as lists.
        beside: a line for each file that lies beside the source's files and was not read.
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
        return open_rows([self.folder / shard for shard in self.shards], self.fingerprint[:16])

    @property
    def dropped(self) -> int:
        """How many values of the source became no row."""
        return self.read - self.rows

    @property
    def notable(self) -> bool:
        """Whether there is something that the user should know: see :meth:`summary`."""
        return bool(self.problems or self.unread or self.lists or self.beside)

    def summary(self, name: str) -> str:
        """One line on what became of the rows of the task, which is called ``name``; then a line for each thing that
        was not read."""
        return "\n".join([self.row_counts(name), *self.not_read(name)])

    def not_read(self, name: str) -> list[str]:
        """A line for each file that was not read, and for the columns that were not read or were read as lists."""
        return [*self.beside, *(f"{name}: {line}" for line in notes(self.unread, self.lists))]

    def row_counts(self, name: str) -> str:
        """One line on what became of the rows. Example: ``faq: 980 rows, 20 dropped (20 empty query: …)``."""
        text = f"{name}: {self.rows:,} rows"
        if self.dropped:
            text += f", {self.dropped:,} dropped"
        if self.problems:
            kinds = ", ".join(f"{sum(actions.values()):,} {kind}" for kind, actions in sorted(self.problems.items()))
            text += f" ({kinds}: {self.folder / 'problems.jsonl'})"
        return text


def read_built(folder: Path) -> BuiltTask:
    """Read a built task's ``task.json``.

    Raises:
        UserError: it is broken or of another version, or an Arrow file is missing.
    """
    content = read_json(folder / "task.json")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{folder / 'task.json'}: not of the format {FORMAT}; delete the folder, it is built again")
    missing = [shard for shard in content["shards"] if not (folder / shard).is_file()]
    if missing:
        raise UserError(f"{folder / missing[0]}: no such file; delete the folder, it is built again")
    keys = ("rows", "read", "fingerprint", "queries", "problems", "shards", "unread", "lists")
    return BuiltTask(folder, *(content[key] for key in keys))
