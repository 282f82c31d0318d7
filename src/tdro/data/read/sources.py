"""Open a source of training rows: a file, a folder, a file on the hub, or a data set there.

A folder may hold data files, be in BEIR's layout, or come from ``save_to_disk``. :func:`open_source` finds the source,
and says two things of it:

- what identifies its content: the SHA-256 of its bytes, or the commit on the hub. By it, a build knows that it has
  built the same data before.
- its parts, which are the files that it is read from. A part is read from its beginning, or from any position that it
  gave before, so that a build that was stopped can go on.

Here a part gives values as they stand in the file. What a value means is decided in :mod:`tdro.data.read.rows`. See
docs/decisions.md, sources-without-datasets.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tdro.data.read.arrow_rows import is_saved, parquet_rows, parquet_size, saved_files, saved_rows, saved_split
from tdro.data.read.beir import CORPUS, QUERIES, splits
from tdro.data.read.beir_rows import beir_files, beir_rows
from tdro.data.read.column_names import shown_key
from tdro.data.read.file_digest import file_digest, remembered
from tdro.data.read.folders import files_in
from tdro.data.read.json_values import form_of, json_rows
from tdro.data.read.jsonl import raw_rows
from tdro.data.read.problem import Problem
from tdro.data.read.tables import table_rows
from tdro.data.read.text_files import first_member
from tdro.errors import UserError
from tdro.hub.faults import ask_patiently, hub_fault
from tdro.recipe.source_kinds import (
    ARCHIVES,
    ENDINGS,
    JSONL,
    PARQUET,
    TABLES,
    hub_file,
    is_hub_file,
    is_hub_id,
    looks_like_file,
)

Values = Iterator[tuple[int, int, object]]
_MAGIC = {  # first bytes of a file to what it holds, and what the user can do
    b"PAR1": ("Parquet", "let it end in .parquet"),
    b"PK\x03\x04": ("a ZIP archive or a spreadsheet", "unpack it, or save it as CSV"),
    b"\x28\xb5\x2f\xfd": ("data packed by zstd", "unpack it, or pack it by gzip"),
    b"\xfd7zXZ": ("data packed by xz", "unpack it, or pack it by gzip"),
    b"BZh": ("data packed by bzip2", "unpack it, or pack it by gzip"),
}


@dataclass(frozen=True)
class Part:
    """A file of a source, or a whole data set. ``for line, position, value in part.read(0, 1)`` reads all of it.

    Attributes:
        file: how it is named in problems.
        read: a function that takes the position and the line to begin at, which are 0 and 1 for the whole part. It
            yields each value (or a :class:`tdro.data.read.problem.Problem`) with its line, and with the position behind
            it, from which reading can begin another time.
        size: the last position; None if it is not known.
        unit: what positions count: ``B`` (bytes) or ``rows``.
    """

    file: str
    read: Callable[[int, int], Values]
    size: int | None = None
    unit: str = "rows"


@dataclass(frozen=True)
class OpenedSource:
    """A source that was found.

    Attributes:
        content: digests of what it holds. Equal content has equal ones, wherever it lies.
        files: the files that are read; none for a data set on the hub.
        parts: call it for the parts; nothing is read before.
        beside: notes about files that lie there and are not read.
    """

    content: list[str]
    files: list[Path]
    parts: Callable[[], list[Part]]
    beside: list[str] = field(default_factory=list)


def open_source(source: str, subset: str | None = None, split: str | None = None) -> OpenedSource:
    """Find a source, and identify its content.

    To compute its digest, a file is read once; :mod:`tdro.data.read.file_digest` remembers it.

    Args:
        source: a file, a folder, or an id on the hub, such as ``faq.jsonl``.
        subset: of a data set on the hub; None for its only one.
        split: of a folder or a data set on the hub; None for its training data.

    Raises:
        UserError: the source is not there or in no known format, or the hub does not answer and has not before.
    """
    path = Path(source).expanduser()
    if is_hub_file(source):
        path = _download(source)
    elif not path.exists():
        if path.is_symlink():
            raise UserError(f"{source}: is a link that leads nowhere, or in a circle")
        if looks_like_file(source) or not is_hub_id(source):
            raise UserError(f"{source}: no such file or folder")
        return _on_the_hub(source, subset, split or "train")
    if path.is_dir():
        return _folder(path, split)
    _readable(path)
    return OpenedSource([_content(path)], [path], lambda: [_part(path)])


def refusal(parts: list[Part]) -> str:
    """Why one of the parts cannot be read at all, with file and line; empty if all of them can."""
    for part in parts:
        first = next(part.read(0, 1), None)
        if first is not None and isinstance(first[2], Problem) and first[2].action == "refused":
            where = f"{part.file}, line {first[2].line}" if first[2].line is not None else part.file
            return f"{where}: {first[2].message}"
    return ""


def _folder(path: Path, split: str | None) -> OpenedSource:
    """Open a folder in BEIR's layout, one that ``save_to_disk`` made, or one of data files."""
    if (path / CORPUS).is_file():
        return _beir(path, split or "train")
    if (path / "mixture.json").is_file():
        raise UserError(f"{path}: a mixture, not a task's data; in a recipe: data: {{mixture: {path}}}")
    if is_saved(path):
        return _saved(path, split)
    files, beside = files_in(path, split)
    for file in files:
        _readable(file)
    return OpenedSource([_content(file) for file in files], files, lambda: [_part(file) for file in files], beside)


def _content(file: Path) -> str:
    """What identifies a file's content: its format and its digest. The same bytes are other rows in another format."""
    return f"{_format(file)} {file_digest(file)}"


def _readable(file: Path) -> None:
    """Raise :class:`UserError` for a file that cannot be read, or is in another format than its name says.

    Otherwise its reader would wait for ever (for a pipe), or report a thousand broken lines (of a ZIP archive).
    """
    try:
        str(file).encode()
        if not file.is_file():
            pipe = "is a pipe or a device, which cannot be read from where a build was stopped; write it to a file"
            raise UserError(f"{file}: {pipe if file.exists() else 'is a link that leads nowhere'}")
        with file.open("rb") as opened:
            head = opened.read(8)
    except UnicodeEncodeError as error:
        raise UserError(f"{str(file)!a}: the name is not UTF-8; rename it") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from error
    for magic, (what, remedy) in _MAGIC.items():
        if head.startswith(magic) and not (what == "Parquet" and file.name.lower().endswith(PARQUET)):
            raise UserError(f"{file}: holds {what}, whatever its name says; {remedy}")


def _format(file: Path) -> str:
    """The format by the file's ending: ``jsonl``, ``parquet``, ``.csv`` or ``.tsv``."""
    name = file.name.lower()
    plain = name.removesuffix(".gz")
    if plain.endswith(JSONL):
        return "jsonl"
    if name.endswith(ARCHIVES):
        return _format_of_archive(file)
    if name.endswith(PARQUET):
        return "parquet"
    for ending in TABLES:
        if plain.endswith(ending):
            return ending
    raise UserError(f"{file}: no known format; a data file ends in {', '.join(ENDINGS)}")


def _format_of_archive(file: Path) -> str:
    """``jsonl``, if the name of the archive or that of the first file in it says so."""
    inside = first_member(file)
    if not inside or inside.lower().endswith(JSONL) or re.search(r"\.(jsonl|ndjson|json)\.t", file.name.lower()):
        return "jsonl"
    raise UserError(f"{file}: an archive of {shown_key(inside)}, and only one of a JSONL file is read; unpack it")


def _part(file: Path) -> Part:
    """A data file as a part, read by its format's reader."""
    kind = _format(file)
    if kind == "jsonl":
        if (form := form_of(file)) != "lines":
            return Part(str(file), lambda position, line: json_rows(file, form, position))
        plain = file.name.lower().endswith(JSONL)
        size = file.stat().st_size if plain else None  # in a compressed file, positions are those after decompression
        return Part(str(file), functools.partial(raw_rows, file), size, "B")
    if kind == "parquet":
        return Part(str(file), lambda position, line: parquet_rows(file, position), parquet_size(file))
    return Part(str(file), lambda position, line: table_rows(file, TABLES[kind], position))


def _beir(folder: Path, split: str) -> OpenedSource:
    """Open a folder in BEIR's layout: its queries with the passages that the split's qrels judge relevant."""
    files = beir_files(folder, split)
    others = [f"qrels/{other}.tsv" for other in splits(folder) if other != split]
    read = functools.partial(beir_rows, folder, split)
    return OpenedSource(
        [f"beir {file_digest(file)}" for file in files],
        files,
        lambda: [Part(str(folder / QUERIES), lambda position, line: read(position))],
        [f"{folder}: qrels/{split}.tsv is read; not read: {', '.join(others)}"] if others else [],
    )


def _saved(folder: Path, split: str | None) -> OpenedSource:
    """Open a folder that ``save_to_disk`` wrote, which is one data set or several splits."""
    chosen, others = saved_split(folder, split)
    files = saved_files(chosen)

    def parts() -> list[Part]:
        size, read = saved_rows(chosen)
        return [Part(str(chosen), lambda position, line: read(position), size)]

    beside = [f"{folder}: the split {chosen.name} is read; not read: {', '.join(others)}"] if others else []
    return OpenedSource([f"arrow {file_digest(file)}" for file in files], files, parts, beside)


def _download(text: str) -> Path:
    """Download a file of a data set's repository into the hub client's cache; offline, take it from there."""
    from huggingface_hub import hf_hub_download

    repository, revision, file = hub_file(text)
    try:
        return Path(hf_hub_download(repository, file, repo_type="dataset", revision=revision))
    except Exception as error:  # the client raises its own errors, httpx's, OSError and ValueError
        fault = hub_fault(error, repository, "data set")
        raise UserError(f"{text}: cannot be downloaded ({fault or _line(error)})") from error


def _on_the_hub(source: str, subset: str | None, split: str) -> OpenedSource:
    """Open a data set by its id, at its newest commit. Rows are streamed, and the data set's own code is never run."""
    revision = remembered(f"revision of {source}", lambda: _revision(source))
    content = [source, revision, subset or "", split]
    return OpenedSource(content, [], lambda: [_stream(source, revision, subset, split)])


def _revision(repository: str) -> str:
    """The newest commit of a data set on the hub. Raises :class:`UserError` if the hub does not answer."""
    from huggingface_hub import HfApi

    try:
        return str(ask_patiently(lambda: HfApi().dataset_info(repository), repository).sha)
    except Exception as error:  # as above
        fault = hub_fault(error, repository, "data set")
        raise UserError(fault or f"{repository}: the hub says nothing of it ({_line(error)})") from error


def _stream(source: str, revision: str, subset: str | None, split: str) -> Part:
    """A data set on the hub as one part, whose rows are downloaded while they are read."""
    from datasets import load_dataset

    name = f"{source}:{subset}" if subset else source
    try:
        rows: Any = load_dataset(source, subset, split=split, streaming=True, revision=revision)
    except Exception as error:  # whatever the formats' readers raise
        fault = hub_fault(error, source, "data set")
        raise UserError(fault or f"{name}: split {split!r} cannot be loaded ({_line(error)})") from error

    def read(position: int, line: int) -> Values:
        number = position
        try:
            for value in rows.skip(position):
                number += 1
                yield number, number, value
        except Exception as error:  # as above, and the network's
            fault = hub_fault(error, f"{name}, row {number + 1}", "data set")
            raise UserError(fault or f"{name}, row {number + 1}: cannot be read ({_line(error)})") from error

    splits = rows.info.splits or {}
    return Part(name, read, splits[split].num_examples if split in splits else None)


def _line(error: Exception) -> str:
    """An error as one line of at most 200 characters."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
