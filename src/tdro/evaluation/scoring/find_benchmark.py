"""Finds what ``tdro evaluate --on NAME`` means: some test sets (:mod:`tdro.data.testsets.find`), or MKQA."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tdro.data.testsets.benchmarks import MKQA
from tdro.data.testsets.find import FoundTestSet, find_test_sets
from tdro.errors import UserError


@dataclass(frozen=True)
class Benchmark:
    """What one name after ``--on`` means: the ``parts`` are its test sets; for MKQA, ``mkqa`` is the folder of its
    passages instead."""

    name: str
    parts: tuple[FoundTestSet, ...] = ()
    mkqa: Path | None = None


def find_benchmark(name: str, data: Path | None = None) -> Benchmark:
    """Find what a name after ``--on`` means.

    Args:
        name: ``mkqa:FOLDER``, or a name or folder that :func:`tdro.data.testsets.find.find_test_sets` takes.
        data: a folder where local copies are looked for, in BEIR's or mteb's layout.

    Raises:
        UserError: nothing has this name, or its data cannot be read or downloaded.
    """
    if name.startswith(MKQA):
        folder = Path(name.removeprefix(MKQA)).expanduser()
        if not (folder / "corpus.jsonl").is_file():
            raise UserError(f"{folder / 'corpus.jsonl'}: no such file; mkqa:FOLDER needs English passages as in BEIR")
        return Benchmark("mkqa", mkqa=folder)
    parts = find_test_sets(name, data)
    path = Path(name).expanduser()
    return Benchmark(path.resolve().name if path.is_dir() else name, tuple(parts))


def without_repeats(benchmarks: list[Benchmark]) -> list[Benchmark]:
    """The benchmarks, each test set only once in each. Raises :class:`UserError` if two folders have one test set's
    name."""
    folders: dict[str, Path] = {}
    for found in benchmarks:
        for part in found.parts:
            if folders.setdefault(part.wanted.name, part.folder) != part.folder:
                raise UserError(
                    f"{part.wanted.name}: it names {folders[part.wanted.name]} and {part.folder}.\n"
                    "Evaluate one of them, or rename a folder."
                )
    return [replace(found, parts=tuple(dict.fromkeys(found.parts))) for found in benchmarks]
