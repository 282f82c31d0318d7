"""Read a BEIR folder: passages, queries, and which passage is how relevant to which query.

``corpus.jsonl`` has ``{"_id", "title", "text"}`` a line, ``queries.jsonl`` ``{"_id", "text"}``, and
``qrels/test.tsv`` query id, passage id and relevance, parted by tabs. Everything is checked before a model is
loaded: a judgement of a passage that is not there would silently lower every model's scores. Rejected: the
``beir`` package, which skips such lines. The checksum of a folder is :func:`tdro.data.mixture.beir_sha256`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdro.errors import UserError
from tdro.files import read_jsonl

_LOG = logging.getLogger(__name__)
_COLUMNS = "query-id, corpus-id and score, parted by tabs"


@dataclass(frozen=True)
class BeirData:
    """A test set in memory.

    Attributes:
        query_ids: of the queries that have a relevant passage, in the order of the file.
        queries: their texts.
        passage_ids: in the order of the file.
        passages: title and text, joined by a space.
        qrels: query id to passage id to relevance; relevant is 1 or more.
    """

    query_ids: list[str]
    queries: list[str]
    passage_ids: list[str]
    passages: list[str]
    qrels: dict[str, dict[str, int]]


def read_beir(folder: Path | str) -> BeirData:
    """Read a BEIR folder. Queries without a relevant passage are left out, and the log says how many.

    Raises:
        UserError: a missing file, a broken line, an id given twice, or a judgement of a query or passage that
            is not there; named by file and line.
    """
    folder = Path(folder)
    passages = {
        key: " ".join(part for part in (_text(row, "title"), _text(row, "text")) if part)
        for key, row in _by_id(folder / "corpus.jsonl", ("title", "text")).items()
    }
    queries = {key: _text(row, "text") for key, row in _by_id(folder / "queries.jsonl", ("text",)).items()}
    qrels = _read_qrels(folder / "qrels" / "test.tsv", queries, passages)
    qrels = {key: qrels[key] for key in queries if any(score > 0 for score in qrels.get(key, {}).values())}
    if not qrels:
        raise UserError(f"{folder / 'qrels' / 'test.tsv'}: no query has a relevant passage (a score of 1 or more)")
    if without := len(queries) - len(qrels):
        _LOG.info("%s: %d of %d queries have no relevant passage and are left out", folder, without, len(queries))
    if own := sum(scores.get(key, 0) > 0 for key, scores in qrels.items()):
        _LOG.warning(
            "%s: %d queries have the id of a passage that is relevant to them. A passage with the query's "
            "own id is never retrieved (BEIR's rule); if ids are alike by chance, rename one kind.",
            folder,
            own,
        )
    return BeirData(list(qrels), [queries[key] for key in qrels], list(passages), list(passages.values()), qrels)


def _text(row: dict[str, Any], key: str) -> str:
    return (row.get(key) or "").strip()


def _by_id(path: Path, texts: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The rows of a JSONL file by their ``_id``; the last of the keys ``texts`` is required."""
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(read_jsonl(path)):
        key = row.get("_id")
        if not isinstance(key, str) or not key:
            raise UserError(f"{path}, line {_line(path, number)}: key '_id' must be a non-empty string, found {key!r}")
        if key in found:
            raise UserError(
                f"{path}, line {_line(path, number)}: a second line has the _id {key!r}; remove one of them"
            )
        for name in texts:
            value = row.get(name, None if name == texts[-1] else "")
            if not isinstance(value, str) and not (name == "title" and value is None):
                kind = "missing" if name not in row else type(value).__name__
                raise UserError(f"{path}, line {_line(path, number)}: key {name!r} must be a string, it is {kind}")
        found[key] = row
    if not found:
        raise UserError(f"{path}: no rows")
    return found


def _line(path: Path, row: int) -> int:
    """The line of a row: empty lines count as lines and not as rows. Only errors need it."""
    with path.open(encoding="utf-8") as file:
        return [number for number, line in enumerate(file, 1) if line.strip()][row]


def _read_qrels(path: Path, queries: dict[str, str], passages: dict[str, str]) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    for number, line in enumerate(lines, 1):
        parts = line.split("\t")
        if not line.strip() or (number == 1 and parts[0] == "query-id"):
            continue
        where = f"{path}, line {number}"
        if len(parts) != 3:
            raise UserError(f"{where}: expected 3 columns ({_COLUMNS}), found {len(parts)}")
        query, passage, score = parts
        try:
            relevance = int(score)
        except ValueError as error:
            raise UserError(f"{where}: the score must be a whole number, found {score!r}") from error
        if query not in queries:
            raise UserError(f"{where}: no query {query!r} in queries.jsonl; remove the line or add the query")
        if passage not in passages:
            raise UserError(f"{where}: no passage {passage!r} in corpus.jsonl; remove the line or add the passage")
        if qrels.setdefault(query, {}).setdefault(passage, relevance) != relevance:
            before = qrels[query][passage]
            raise UserError(f"{where}: {query!r} and {passage!r} were judged {before} further up; keep one judgement")
    return qrels
