"""What ``tdro evaluate --on NAME`` evaluates on: test sets, found as :mod:`tdro.data.testsets.find` does, or MKQA."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tdro.data.testsets.benchmarks import MKQA
from tdro.data.testsets.find import FoundTestSet, find_test_sets
from tdro.errors import UserError


@dataclass(frozen=True)
class Benchmark:
    """What one name stands for: test sets, or MKQA's folder of passages."""

    name: str
    parts: tuple[FoundTestSet, ...] = ()
    mkqa: Path | None = None


def find_benchmark(asked: str, data: Path | None = None, cache: Path | str | None = None) -> Benchmark:
    """The test sets that ``asked`` stands for.

    Args:
        asked: ``mkqa:FOLDER``, or what :func:`tdro.data.testsets.find.find_test_sets` takes.
        data: where local copies are looked for, in BEIR's or mteb's layout.
        cache: the user's cache; None for the usual one.

    Raises:
        UserError: there is nothing of this name, or its data cannot be had.
    """
    if asked.startswith(MKQA):
        folder = Path(asked.removeprefix(MKQA)).expanduser()
        if not (folder / "corpus.jsonl").is_file():
            raise UserError(f"{folder / 'corpus.jsonl'}: no such file; mkqa:FOLDER needs English passages as in BEIR")
        return Benchmark("mkqa", mkqa=folder)
    parts = find_test_sets(asked, data, cache)
    path = Path(asked).expanduser()
    return Benchmark(path.resolve().name if path.is_dir() else asked, tuple(parts))


def without_repeats(benchmarks: list[Benchmark]) -> list[Benchmark]:
    """Raise :class:`UserError` where one name stands for two folders; a test set asked for twice is the same one."""
    folders: dict[str, Path] = {}
    for found in benchmarks:
        for part in found.parts:
            if folders.setdefault(part.wanted.name, part.folder) != part.folder:
                raise UserError(
                    f"{part.wanted.name}: it names {folders[part.wanted.name]} and {part.folder}.\n"
                    "Evaluate one of them, or rename a folder."
                )
    return [replace(found, parts=tuple(dict.fromkeys(found.parts))) for found in benchmarks]
