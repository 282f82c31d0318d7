"""Reads judgements (qrels), of BEIR or of TREC, of one test set or of many.

BEIR's files have three columns parted by tabs (query, passage, score), with a header or without. TREC's have four,
parted by white space (query, iteration, passage, relevance). The first line tells which of the two a file is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tdro.data.read.beir import CORPUS, Judgement, judgements, splits, strict
from tdro.errors import UserError
from tdro.evaluation.others.run_file import lines_of

_SUFFIXES = (".tsv", ".qrels", ".qrel", ".txt")


@dataclass(frozen=True)
class Qrels:
    """The judgements of a test set.

    Attributes:
        test: the name of the test set.
        path: of the file.
        judged: ``judged[query][passage]`` is a relevance, where 1 or more is relevant.
        notes: sentences on what was odd in the file, and what was done.
    """

    test: str
    path: Path
    judged: dict[str, dict[str, int]]
    notes: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path | None:
        """The test set's folder in BEIR's layout, where its texts are; None if the file is in no such folder."""
        folder = self.path.parent.parent
        return folder if self.path.name == "test.tsv" and (folder / CORPUS).is_file() else None


def find_qrels(places: Sequence[Path]) -> dict[str, Qrels]:
    """The judgements of each test set, by its name.

    Args:
        places: files of judgements; folders in BEIR's layout; or folders that hold several of these. A file
            ``scifact/qrels/test.tsv`` is of the test set ``scifact``, any other file of the one that it is named
            after.

    Raises:
        UserError: there are none, a line is broken (named by file and line), or two files are of one test set.

    Example::

        find_qrels([Path("beir/scifact"), Path("nq.qrels")])  # {"scifact": Qrels(…), "nq": Qrels(…)}
    """
    found: dict[str, Qrels] = {}
    for place in places:
        for path in _files(place.expanduser().resolve()):
            qrels = read_qrels(path)
            if (other := found.get(qrels.test)) is not None and other.path != path:
                raise UserError(f"{other.path} and {path} are both of test set {qrels.test!r}; rename one")
            found[qrels.test] = qrels
    return found


def read_qrels(path: Path) -> Qrels:
    """The judgements in one file.

    If two lines judge the same pair differently, the last one counts, as in BEIR, and a note says so.

    Raises:
        UserError: the file is missing or broken, or nothing in it is relevant; with file and line.
    """
    judged: dict[str, dict[str, int]] = {}
    notes: list[str] = []
    for line, query, passage, score in strict(path, _lines(path)):
        before = judged.setdefault(query, {}).get(passage, score)
        if before != score:
            notes.append(
                f"{path}, line {line}: {query!r} and {passage!r} were judged {before} further up; {score} counts, as "
                "in BEIR"
            )
        judged[query][passage] = score
    if not judged:
        raise UserError(f"{path}: no judgements")
    if max(score for scores in judged.values() for score in scores.values()) < 1:
        raise UserError(f"{path}: no passage is relevant to any query (no score of 1 or more)")
    if zero := sum(max(scores.values()) < 1 for scores in judged.values()):
        notes.append(f"{path}: {zero:,} of {len(judged):,} queries have no relevant passage; each counts as 0")
    return Qrels(_test_name(path), path, judged, notes)


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise UserError(f"{place}: no such file or folder of judgements")
    inside = [path for path in sorted(place.iterdir()) if not path.name.startswith(".")]
    found = [_of_folder(place)] if splits(place) else []
    if not found:
        found = [_of_folder(path) for path in inside if path.is_dir() and splits(path)]
        found += [path for path in inside if path.is_file() and without_gz(path).suffix in _SUFFIXES]
    if not found:
        raise UserError(
            f"{place}: no judgements there; name a file, a folder with qrels/test.tsv, or a folder of such files"
        )
    return found


def _of_folder(folder: Path) -> Path:
    names = splits(folder)
    if "test" not in names and len(names) > 1:
        raise UserError(f"{folder / 'qrels'}: has {', '.join(names)}; name the file that counts")
    return folder / "qrels" / f"{'test' if 'test' in names else names[0]}.tsv"


def _test_name(path: Path) -> str:
    return path.parent.parent.name if path.parent.name == "qrels" else without_gz(path).stem


def without_gz(path: Path) -> Path:
    """A path without ``.gz`` at its end: ``qrels.tsv`` for ``qrels.tsv.gz``."""
    return path.with_suffix("") if path.suffix == ".gz" else path


def _lines(path: Path) -> Iterator[Judgement]:
    """The lines of a file, whichever of the two kinds it is."""
    first = next((line for _, line in lines_of(path) if line.strip()), "")
    if "\t" in first and len(first.split("\t")) == 3:
        yield from strict(path, judgements(path))
        return
    if len(first.split()) != 4:
        raise UserError(
            f"{path}, line 1: expected BEIR's 3 columns (query-id, corpus-id and score, parted by tabs) or TREC's 4 "
            f"(query, iteration, passage, relevance), found {len(first.split())}"
        )
    for number, line in lines_of(path):
        if not (cells := line.split()):
            continue
        if len(cells) != 4:
            raise UserError(f"{path}, line {number}: expected 4 columns, found {len(cells)}")
        if not re.fullmatch(r"[+-]?\d{1,9}", cells[3], re.ASCII):
            raise UserError(f"{path}, line {number}: the relevance must be a whole number, found {cells[3][:40]!r}")
        yield Judgement(number, cells[0], cells[2], int(cells[3]))
