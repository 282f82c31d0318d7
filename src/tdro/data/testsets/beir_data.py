"""Read a test set from a BEIR folder: its passages, its queries, and how relevant which passage is to which query.

The files are those of :mod:`tdro.data.read.beir`, of the split ``test``. All of them are checked before a model is
loaded. Published test sets have faults; ArguAna, for instance, judges a passage that its corpus lacks. These are
handled as BEIR handles them, so that scores stay comparable, and each such line is named in the log and in the results.
A line that cannot be read is refused. See docs/decisions.md, beir-faults. The checksum of a folder is
:func:`tdro.data.mixtures.folder.beir_sha256`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from tdro.data.read.beir import CORPUS, QUERIES, entries, judgements, qrels_file, strict
from tdro.data.testsets.passages import STOPS, Passages, clean, read_passages
from tdro.errors import UserError

_LOG = logging.getLogger(__name__)
_SHOWN = 5  # how many problems the log names one by one


@dataclass(frozen=True)
class BeirData:
    """A test set. Its queries are in memory, its passages on disk.

    Attributes:
        query_ids: the ids of the queries that have a judgement, in the order of the file.
        queries: the texts of these queries.
        passages: the passages' ids and texts, in the order of the file.
        qrels: the judgements: ``qrels[query_id][passage_id]`` is a relevance, where 1 or more is relevant. The corpus
            may lack a judged passage.
        problems: a sentence for each faulty line, which names the line and says what was done.
    """

    query_ids: list[str]
    queries: list[str]
    passages: Passages
    qrels: dict[str, dict[str, int]]
    problems: list[str] = field(default_factory=list)


def read_beir(folder: Path | str) -> BeirData:
    """Read the test set in a BEIR folder.

    Faults are handled as in BEIR:

    - a query without any judgement is left out;
    - a query whose judgements are all 0 counts, and its value is 0;
    - if two lines have the same id, or judge the same pair, the last line counts;
    - a judged passage that the corpus lacks counts as one that is never found;
    - a judgement of a query that is not there is dropped (BEIR itself stops with an error here).

    Raises:
        UserError: a file is missing, a line is broken (named by file and line), or there is nothing relevant to find.
    """
    folder = Path(folder)
    passages, problems = read_passages(folder / CORPUS)
    queries = _read_queries(folder / QUERIES, problems)
    qrels_path = qrels_file(folder, "test")
    qrels, first_lines = _read_judgements(qrels_path, queries, problems)
    judged = passages.places(passage for scores in qrels.values() for passage in scores)
    problems += [
        f"{qrels_path}, line {line}: no passage {passage!r} in corpus.jsonl; it counts as one that is never found, "
        "as in BEIR"
        for passage, line in first_lines.items()
        if passage not in judged
    ]
    if not any(score > 0 and passage in judged for scores in qrels.values() for passage, score in scores.items()):
        raise UserError(f"{qrels_path}: no query has a relevant passage (a score of 1 or more) that is in corpus.jsonl")
    qrels = {key: qrels[key] for key in queries if key in qrels}
    _log_problems(folder, problems)
    _log_odd_queries(folder, queries, qrels, judged)
    return BeirData(list(qrels), [queries[key] for key in qrels], passages, qrels, problems)


def _read_queries(path: Path, problems: list[str]) -> dict[str, str]:
    """The queries' texts by their ids. What is wrong with a line is added to ``problems``."""
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    for each in strict(path, entries(path), STOPS):
        if each.id in found:
            problems.append(
                f"{path}, line {each.line}: a second line has the _id {each.id!r}; it counts, and line "
                f"{lines[each.id]} is dropped, as in BEIR"
            )
        found[each.id] = clean(each.text).strip()
        lines[each.id] = each.line
    if not found:
        raise UserError(f"{path}: no rows")
    return found


def _read_judgements(
    path: Path, queries: dict[str, str], problems: list[str]
) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """The judgements, and for each judged passage the first line that judges it. Adds to ``problems``."""
    qrels: dict[str, dict[str, int]] = {}
    first_lines: dict[str, int] = {}
    for line, query, passage, relevance in strict(path, judgements(path), STOPS):
        where = f"{path}, line {line}"
        if query not in queries:
            problems.append(f"{where}: no query {query!r} in queries.jsonl; the judgement is dropped")
            continue
        before = qrels.setdefault(query, {}).get(passage, relevance)
        if before != relevance:
            problems.append(
                f"{where}: {query!r} and {passage!r} were judged {before} further up; {relevance} counts, as in BEIR"
            )
        qrels[query][passage] = relevance
        first_lines.setdefault(passage, line)
    return qrels, first_lines


def _log_problems(folder: Path, problems: list[str]) -> None:
    """Log the first problems. The results name more of them."""
    for problem in problems[:_SHOWN]:
        _LOG.warning("%s", problem)
    if len(problems) > _SHOWN:
        _LOG.warning("%s: %d more such lines; the results name the first 100", folder, len(problems) - _SHOWN)


def _log_odd_queries(
    folder: Path, queries: Collection[str], qrels: dict[str, dict[str, int]], judged: Collection[str]
) -> None:
    """Log how many queries have no judgement, nothing relevant, or the id of a passage that is relevant to them.

    ``judged``: the ids of the judged passages that the corpus has.
    """
    if without := len(queries) - len(qrels):
        _LOG.info("%s: %d of %d queries have no judgement and are left out", folder, without, len(queries))
    if zero := sum(max(scores.values()) < 1 for scores in qrels.values()):
        _LOG.info("%s: %d queries have no relevant passage; each counts as 0, as in BEIR", folder, zero)
    if own := sum(scores.get(key, 0) > 0 and key in judged for key, scores in qrels.items()):
        _LOG.warning(
            "%s: %d queries have the id of a passage that is relevant to them. A passage with the query's "
            "own id is never retrieved (BEIR's rule); if ids are alike by chance, rename one kind.",
            folder,
            own,
        )
