"""Find test sets by a name: a folder, a benchmark (``beir``), or an mteb task; each becomes a BEIR folder.

Evaluation and deduplication both find test sets here, so that they mean the same texts. A folder that holds BEIR
folders stands for all of them, and one with a ``mixture.json`` for the mixture's test sets. Local copies come first.

Everything that reads a test set reads ``qrels/test.tsv``. Where another split counts (MSMARCO's dev), the user's cache
gets a folder of links in which that split's file has this name. See docs/decisions.md, split-as-link.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tdro.data.mixtures.folder import test_folders
from tdro.data.read.beir import CORPUS, QUERIES, is_beir, qrels_file, splits
from tdro.data.task import TestSet
from tdro.data.testsets.benchmarks import GROUPS, BenchmarkSet, benchmark
from tdro.data.testsets.mteb_task import mteb_folder, mteb_is_there, wanted_of
from tdro.disk import cache_folder
from tdro.errors import UserError
from tdro.files import fingerprint, whole_folder

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoundTestSet:
    """A test set that was found.

    Attributes:
        wanted: its names, its task in mteb, and the split that counts.
        folder: the BEIR folder that holds it.
        revision: the revision of the data on the hub; empty for a local copy.
    """

    wanted: BenchmarkSet
    folder: Path
    revision: str = ""

    @property
    def names(self) -> list[str]:
        """All its names, from the narrowest to the widest: its own, its task's in mteb, and that of ``wanted.whole``.

        Example: ``MIRACLRetrieval-de``, ``MIRACLRetrieval``.
        """
        wanted = self.wanted
        return list(dict.fromkeys(name for name in (wanted.name, wanted.task, wanted.whole) if name))

    def test_set(self, prompts: tuple[str, str]) -> TestSet:
        """The test set for evaluation, with these prompts before queries and before passages."""
        return TestSet(self.wanted.name, str(self.folder), prompts=prompts, wanted=self.wanted, revision=self.revision)


def find_test_sets(asked: str, data: Path | None = None) -> list[FoundTestSet]:
    """The test sets that ``asked`` stands for.

    Args:
        asked: a folder; a benchmark (``beir``, ``miracl``, ``nano-beir``); or the name of one of mteb's tasks.
        data: a folder that may hold local copies, in BEIR's or mteb's layout; they come first.

    Raises:
        UserError: nothing has this name, or its data are neither here nor can be downloaded.
    """
    path = Path(asked).expanduser()
    if asked not in GROUPS and path.is_dir():
        parts = test_sets_in(path)
        if not parts:
            raise UserError(f"{path}: no BEIR folder (corpus.jsonl, queries.jsonl, qrels/test.tsv), and none in it")
        return parts
    wanted = benchmark(asked)
    if not wanted and data is not None and is_beir(data / asked):
        wanted = [BenchmarkSet(asked, asked, folders=(asked,))]
    return _find_all(asked, [_as_in_groups(each) for each in wanted or wanted_of(asked)], data)


def test_sets_in(path: Path) -> list[FoundTestSet]:
    """The test sets in a folder.

    Args:
        path: a BEIR folder, which is one test set; a mixture folder; or a folder of BEIR folders. BEIR's own test sets
            are recognised by the names of their folders (``fiqa``), and get mteb's names.

    Returns:
        The test sets; none if the folder holds none.

    Raises:
        UserError: one of BEIR's own test sets lacks the split that counts.
    """
    return list(_test_sets_in(path.resolve()))


def folder_of_split(folder: Path, wanted: BenchmarkSet) -> Path:
    """A BEIR folder whose ``qrels/test.tsv`` holds the judgements of the wanted split.

    Mostly that is the folder itself. If another split counts, it is a folder of links in the cache.

    Raises:
        UserError: the folder has no judgements of that split.
    """
    there = splits(folder)
    if wanted.split == "test" or (there == ["test"] and not wanted.exact_split):
        return folder
    if wanted.split not in there:
        raise UserError(
            f"{qrels_file(folder, wanted.split)}: no such file; {wanted.task or wanted.name} is judged on "
            f"{wanted.split}, and there is only {', '.join(there)}.\n"
            f"Put that file there, or name the folder itself to read it as it is: {folder}"
        )
    view = cache_folder() / "benchmarks" / f"{folder.name}-{wanted.split}-{fingerprint(str(folder))}"
    if view.is_dir():
        return view
    with whole_folder(view) as made:
        (made / "qrels").mkdir()
        for name in (CORPUS, QUERIES):
            _link(made / name, folder / name)
        _link(qrels_file(made, "test"), qrels_file(folder, wanted.split))
    return view


def _as_in_groups(wanted: BenchmarkSet) -> BenchmarkSet:
    """The benchmark's entry of the same name, if there is one: it knows more folders in which a copy may lie."""
    return next((each for group in GROUPS.values() for each in group if each.name == wanted.name), wanted)


def _find_all(asked: str, wanted: list[BenchmarkSet], data: Path | None) -> list[FoundTestSet]:
    """Find all the wanted test sets. If one cannot be found, the error names the others that are missing too."""
    found = []
    for place, each in enumerate(wanted):
        try:
            found.append(_find_one(each, data))
        except UserError as error:
            missing = [other for other in wanted[place + 1 :] if not _is_local(other, data)]
            if not missing:
                raise
            names = ", ".join(other.folders[0] if other.folders else other.name for other in missing)
            where = f"in {data}" if data is not None else "on this machine"
            raise UserError(f"{error}\n{asked}: {len(missing)} more test sets are not {where}: {names}") from error
    return found


def _is_local(wanted: BenchmarkSet, data: Path | None) -> bool:
    """Whether a test set is on this machine already."""
    if data is not None and any(is_beir(data / name) for name in wanted.folders):
        return True
    try:
        return mteb_is_there(wanted, data)
    except UserError:  # no mteb
        return False


def _find_one(wanted: BenchmarkSet, data: Path | None) -> FoundTestSet:
    """A test set's local copy in ``data`` if there is one; otherwise it comes from mteb."""
    local = next((data / name for name in wanted.folders if is_beir(data / name)), None) if data is not None else None
    if local is not None:
        return FoundTestSet(wanted, folder_of_split(local.resolve(), wanted))
    return FoundTestSet(wanted, *mteb_folder(wanted, data))


def _test_sets_in(path: Path) -> Iterator[FoundTestSet]:
    """As :func:`test_sets_in`, for an absolute path."""
    if (path / "mixture.json").is_file():
        for name, folder in test_folders(path).items():
            yield FoundTestSet(BenchmarkSet(name, ""), folder)
        return
    known = [] if path.name in GROUPS else benchmark(path.name)
    if path.parent.name == "miracl":  # only there is a folder named "de" a language
        known = [each for each in GROUPS["miracl"] if each.folders[0] == f"miracl/{path.name}"]
    if is_beir(path):
        yield _named_by_path(path, next((each for each in known if not each.whole), BenchmarkSet(path.name, "")))
        return
    forums = [each for each in known if each.whole]
    there = [(each, path / Path(each.folders[0]).name) for each in forums if is_beir(path / Path(each.folders[0]).name)]
    if 0 < len(there) < len(forums):
        _LOG.warning(
            "%s: %d of %d forums (%s); their mean is not the benchmark's %s",
            *(path, len(there), len(forums), ", ".join(forum.name for _, forum in there), forums[0].whole),
        )
    yield from (FoundTestSet(wanted, forum) for wanted, forum in there)
    if not forums:
        for below in sorted(each for each in path.iterdir() if each.is_dir()):
            if is_beir(below) or benchmark(below.name):
                yield from _test_sets_in(below)


def _named_by_path(path: Path, wanted: BenchmarkSet) -> FoundTestSet:
    """The test set in a BEIR folder that the user named by its path.

    It is judged on the split that counts in the benchmark. If that is not there, it is judged on ``test`` and gets
    another name, so that nobody takes it for the benchmark: ``MSMARCO-test``.
    """
    there = splits(path)
    if wanted.exact_split and wanted.split not in there and "test" in there:
        _LOG.warning(
            "%s: qrels/test.tsv is read, for there is no qrels/%s.tsv, by which the benchmark is judged, with other "
            "queries; so this test set is called %s-test",
            *(path, wanted.split, wanted.name),
        )
        wanted = replace(wanted, name=f"{wanted.name}-test", split="test")
    return FoundTestSet(wanted, folder_of_split(path, wanted))


def _link(path: Path, target: Path) -> None:
    """Make ``path`` a link to a file, or a copy of it on a file system without links."""
    try:
        path.symlink_to(target)
    except OSError:
        shutil.copyfile(target, path)
