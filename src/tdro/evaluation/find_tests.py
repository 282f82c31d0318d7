"""From what the user names to BEIR folders: a folder, a benchmark, a task of mteb's; local copies come first.

A folder of BEIR folders is all of them, and one with a ``mixture.json`` its test sets. BEIR's downloads have several
splits, and evaluation reads ``qrels/test.tsv``: where another split counts (MSMARCO's dev), the user's cache gets a
folder of links with that split under this name. Rejected: a split in every function from here on.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tdro.data.mixture import test_folders
from tdro.data.task import TestSet
from tdro.data.wheels import cache_folder
from tdro.errors import UserError
from tdro.evaluation.benchmarks import GROUPS, MKQA, Wanted, benchmark
from tdro.evaluation.mteb_data import mteb_folder, wanted_of
from tdro.files import fingerprint, whole_folder


@dataclass(frozen=True)
class Part:
    """A test set to evaluate: what was wanted, and the BEIR folder that it is in."""

    wanted: Wanted
    folder: Path

    @property
    def names(self) -> list[str]:
        """What it is called, the narrowest first."""
        of = self.wanted
        return list(dict.fromkeys(name for name in (of.name, of.task, of.whole) if name))

    def test_set(self, prompts: tuple[str, str]) -> TestSet:
        """The test set with these texts before queries and passages."""
        return TestSet(self.wanted.name, str(self.folder), prompts=prompts)


@dataclass(frozen=True)
class Benchmark:
    """What one name stands for: test sets, or MKQA's folder of passages."""

    name: str
    parts: tuple[Part, ...] = ()
    mkqa: Path | None = None


def find_benchmark(asked: str, data: Path | None = None, cache: Path | str | None = None) -> Benchmark:
    """The test sets that ``asked`` stands for.

    Args:
        asked: ``mkqa:FOLDER``, ``beir``, ``miracl``, ``nano-beir``, a folder, or the name of a task of mteb's.
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
    path = Path(asked).expanduser()
    if asked not in GROUPS and path.is_dir():
        parts = tuple(_in_folder(path.resolve(), cache))
        if not parts:
            raise UserError(f"{path}: no BEIR folder (corpus.jsonl, queries.jsonl, qrels/test.tsv), and none in it")
        return Benchmark(path.resolve().name, parts)
    wanted = benchmark(asked)
    if not wanted and data is not None and _is_beir(data / asked):
        wanted = [Wanted(asked, asked, folders=(asked,))]
    parts = tuple(Part(each, _folder_of(each, data, cache)) for each in wanted or wanted_of(asked))
    return Benchmark(asked, parts)


def _folder_of(wanted: Wanted, data: Path | None, cache: Path | str | None) -> Path:
    local = next((data / name for name in wanted.folders if _is_beir(data / name)), None) if data is not None else None
    return mteb_folder(wanted, data, cache) if local is None else of_split(local.resolve(), wanted.split, cache)


def _in_folder(path: Path, cache: Path | str | None) -> Iterator[Part]:
    """A BEIR folder itself, a mixture's test sets, or all BEIR folders in a folder; BEIR's own under mteb's names."""
    if (path / "mixture.json").is_file():
        for name, folder in test_folders(path).items():
            yield Part(Wanted(name, ""), folder)
        return
    if _is_beir(path):
        (known,) = [each for each in benchmark(path.name) if not each.whole] or [Wanted(path.name, "")]
        yield Part(known, of_split(path, known.split, cache))
        return
    forums = [each for each in benchmark(path.name) if each.whole]
    for wanted in forums:
        forum = path / Path(wanted.folders[0]).name
        if _is_beir(forum):
            yield Part(wanted, forum)
    if not forums:
        for below in sorted(each for each in path.iterdir() if each.is_dir()):
            if _is_beir(below) or benchmark(below.name):
                yield from _in_folder(below, cache)


def _is_beir(path: Path) -> bool:
    """Whether it is in BEIR's layout; mteb's repositories may have a corpus.jsonl too, but other judgements."""
    return (path / "corpus.jsonl").is_file() and any(path.glob("qrels/*.tsv"))


def of_split(folder: Path, split: str, cache: Path | str | None = None) -> Path:
    """A BEIR folder whose ``qrels/test.tsv`` is that of a split; the folder itself if it is so or has no other split.

    Raises:
        UserError: the split is not there.
    """
    there = sorted(path.stem for path in folder.glob("qrels/*.tsv"))
    if split == "test" or there == ["test"]:
        return folder
    if split not in there and len(there) != 1:
        raise UserError(f"{folder / 'qrels' / f'{split}.tsv'}: no such file; it has {', '.join(there) or 'none'}")
    source = split if split in there else there[0]
    view = cache_folder(cache) / "benchmarks" / f"{folder.name}-{source}-{fingerprint(str(folder))}"
    if view.is_dir():
        return view
    with whole_folder(view) as made:
        (made / "qrels").mkdir()
        for name, target in (
            ("corpus.jsonl", None),
            ("queries.jsonl", None),
            ("qrels/test.tsv", f"qrels/{source}.tsv"),
        ):
            _link(made / name, folder / (target or name))
    return view


def _link(path: Path, target: Path) -> None:
    try:
        path.symlink_to(target)
    except OSError:  # not every file system has links
        shutil.copyfile(target, path)


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
