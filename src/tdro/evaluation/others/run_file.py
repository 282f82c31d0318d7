"""Reads which passages a system found: TREC run files, mteb's predictions, sentence-transformers' predictions.

All three say for each query which passages were found, with a score each. The order is trec_eval's: by the score as a
float32, and among equal scores by the passage's id, the larger first. The ranks in a TREC run do not count. Files may
be gzipped.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tdro.data.read.text_files import open_text
from tdro.errors import UserError

_COLUMNS = "query, Q0, passage, rank, score and name of the run, parted by white space"


@dataclass(frozen=True)
class RunFile:
    """What a system found.

    Attributes:
        path: of the file.
        found: for each query the passages that were found, best first.
        notes: sentences on what was odd in the file.
    """

    path: Path
    found: dict[str, list[str]]
    notes: list[str] = field(default_factory=list)


@dataclass
class _Query:
    """What has been read of one query."""

    passages: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file, gzipped or not, with their numbers from 1.

    Raises:
        UserError: the file is missing, damaged, or not UTF-8; with file and line.
    """
    number = 0
    try:
        with open_text(path, newline=None) as file:
            for number, line in enumerate(file, 1):
                if not line.isascii() and any("\ud800" <= letter <= "\udfff" for letter in line):
                    raise UserError(f"{path}, line {number}: not UTF-8 text; convert the file to UTF-8")
                yield number, line
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (EOFError, OSError, zlib.error, UnicodeError) as error:
        raise UserError(f"{path}, line {number + 1}: the file is damaged or breaks off here ({error})") from error


def read_trec_run(path: Path) -> RunFile:
    """The content of a TREC run file: lines of ``query Q0 passage rank score name``.

    Raises:
        UserError: a line is broken, a score is no finite number, or a passage is found twice for a query; with file
            and line.
    """
    queries: dict[str, _Query] = {}
    ranks: dict[str, list[str]] = {}
    for number, line in lines_of(path):
        if not (cells := line.split()):
            continue
        if len(cells) != 6:
            raise UserError(f"{path}, line {number}: expected 6 columns ({_COLUMNS}), found {len(cells)}")
        query, _, passage, rank, score, _ = cells
        each = queries.setdefault(query, _Query())
        each.passages.append(passage)
        each.scores.append(_score(score, f"{path}, line {number}"))
        each.lines.append(number)
        ranks.setdefault(query, []).append(rank)
    if not queries:
        raise UserError(f"{path}: no lines, so nothing was found")
    notes = [note] if (note := _ranks_note(path, queries, ranks)) else []
    return RunFile(path, {query: _ordered(path, query, each) for query, each in queries.items()}, notes)


def read_st_predictions(path: Path) -> RunFile:
    """The predictions that sentence-transformers' ``InformationRetrievalEvaluator(write_predictions=True)`` writes.

    Each line is ``{"query_id": …, "query": …, "results": [{"corpus_id": …, "score": …}, …]}``.

    Raises:
        UserError: as :func:`read_trec_run`.
    """
    found: dict[str, list[str]] = {}
    for number, line in lines_of(path):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
            query, each = str(row["query_id"]), _Query()
            for result in row["results"]:
                each.passages.append(str(result["corpus_id"]))
                each.scores.append(_score(result["score"], where))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{where}: expected query_id and results with corpus_id and score ({error})") from error
        if query in found:
            raise UserError(f"{where}: query {query!r} is there twice")
        each.lines = [number] * len(each.passages)
        found[query] = _ordered(path, query, each)
    if not found:
        raise UserError(f"{path}: no lines, so nothing was found")
    return RunFile(path, found)


def run_of_scores(path: Path, scores: Mapping[str, Any], where: str) -> RunFile:
    """A run of one part of mteb's predictions: ``{query: {passage: score}}``.

    Args:
        path: of the file.
        scores: the part.
        where: names the part in an error.
    """
    found = {}
    for query, passages in scores.items():
        if not isinstance(passages, dict):
            raise UserError(f"{path}: {where}, query {query!r}: expected passages with scores")
        values = [_score(score, f"{path}: {where}, query {query!r}") for score in passages.values()]
        found[query] = _ordered(path, query, _Query(list(passages), values, [0] * len(values)))
    return RunFile(path, found)


def _score(value: Any, where: str) -> float:
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score) or isinstance(value, bool):
        raise UserError(f"{where}: the score must be a finite number, found {str(value)[:40]!r}")
    return score


def _ordered(path: Path, query: str, each: _Query) -> list[str]:
    """The passages best first, see above."""
    if len(set(each.passages)) < len(each.passages):
        _refuse_twice(path, query, each)
    with np.errstate(over="ignore"):
        scores = np.asarray(each.scores, dtype=np.float32).tolist()
    pairs = sorted(zip(scores, each.passages, strict=True), reverse=True)
    return [passage for _, passage in pairs]


def _refuse_twice(path: Path, query: str, each: _Query) -> None:
    first: dict[str, int] = {}
    for passage, line in zip(each.passages, each.lines, strict=True):
        if passage in first:
            raise UserError(
                f"{path}, line {line}: passage {passage!r} is found a second time for query {query!r}, first in line "
                f"{first[passage]}"
            )
        first[passage] = line


def _ranks_note(path: Path, queries: Mapping[str, _Query], ranks: Mapping[str, list[str]]) -> str:
    """A sentence if the ranks in the file order the passages otherwise than the scores do; empty if they agree."""
    against, example = 0, 0
    for query, each in queries.items():
        if not all(rank.isdecimal() for rank in ranks[query]):
            continue
        order = sorted(range(len(each.scores)), key=[int(rank) for rank in ranks[query]].__getitem__)
        wrong = [two for one, two in pairwise(order) if each.scores[two] > each.scores[one]]
        against += bool(wrong)
        example = example or (each.lines[wrong[0]] if wrong else 0)
    if not against:
        return ""
    return (
        f"{path}, line {example}: ranked below a passage with a lower score, as in {against:,} of {len(queries):,} "
        "queries; the scores count and not the ranks, as in trec_eval"
    )
