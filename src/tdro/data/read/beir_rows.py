"""A BEIR folder as training rows: each query with the passages that the qrels of a split judge relevant.

``corpus.jsonl`` may be as large as it likes: it is streamed once, and only the passages that some judgement names are
kept in memory. A judgement that names a query or passage which is not there becomes a problem with its line. Where an
id is there twice, or a pair is judged twice, the last line counts, as in BEIR.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path

from tdro.data.read.beir import CORPUS, QUERIES, entries, judgements, qrels_file, splits
from tdro.data.read.problem import Problem
from tdro.errors import UserError

_Texts = dict[str, tuple[int, object, object]]  # id to line, title and text


def beir_files(folder: Path, split: str) -> list[Path]:
    """Corpus, queries and qrels of a split. Raises :class:`UserError` naming the one that is missing."""
    files = [folder / CORPUS, folder / QUERIES, qrels_file(folder, split)]
    for file in files:
        if not file.is_file():
            others = splits(folder)
            hint = f"; there are the splits {', '.join(others)}" if others and file == files[-1] else ""
            raise UserError(f"{file}: no such file{hint}")
    return files


def beir_rows(folder: Path, split: str, start: int = 0) -> Iterator[tuple[int, int, object]]:
    """The line in ``queries.jsonl``, how many values came so far, and a row in the released schema or a
    :class:`Problem`.

    A passage is relevant if its score is above 0. A query without a relevant passage makes no row. The first ``start``
    values are skipped. Memory: the judgements, and the queries and passages that they name.
    """
    for count, (line, value) in enumerate(_rows(folder, split), 1):
        if count > start:
            yield line, count, value


def _rows(folder: Path, split: str) -> Iterator[tuple[int, object]]:
    corpus, queries, qrels = beir_files(folder, split)
    scores: dict[str, dict[str, tuple[int, int]]] = {}  # query id to passage id to score, and line of the judgement
    for each in judgements(qrels):
        if isinstance(each, Problem):
            yield each.line or 1, each
        else:
            scores.setdefault(each.query, {})[each.passage] = (each.score, each.line)
    relevant = {
        query: [(passage, line) for passage, (score, line) in judged.items() if score > 0]
        for query, judged in scores.items()
    }
    passages: _Texts = {}
    yield from _find(corpus, {passage for pairs in relevant.values() for passage, _ in pairs}, passages)
    asked: _Texts = {}
    yield from _find(queries, {query for query, pairs in relevant.items() if pairs}, asked)
    for query, (line, _, text) in asked.items():
        for passage, judged_in in relevant[query]:
            if passage not in passages:
                yield judged_in, _missing(qrels, judged_in, "passage", passage, CORPUS)
        positives = [
            {"docid": passage, "title": passages[passage][1], "text": passages[passage][2]}
            for passage, _ in relevant[query]
            if passage in passages
        ]
        if positives:
            yield line, {"query_id": query, "query": text, "positive_passages": positives}
    for query, pairs in relevant.items():
        if pairs and query not in asked:
            yield pairs[0][1], _missing(qrels, pairs[0][1], "query", query, QUERIES)


def _find(path: Path, wanted: Container[str], found: _Texts) -> Iterator[tuple[int, Problem]]:
    """Put the title and text of each wanted id into ``found``, and yield a problem for each line that is wrong."""
    for each in entries(path, wanted):
        if isinstance(each, Problem):
            yield each.line or 1, each
            continue
        if each.id in found:
            message = f"a second line has the _id {_shown(each.id)}; it counts, and line {found[each.id][0]} does not"
            yield each.line, Problem(str(path), each.line, "duplicate-id", message, "kept")
        found[each.id] = (each.line, each.title, each.text)


def _missing(path: Path, line: int, what: str, name: str, where: str) -> Problem:
    return Problem(str(path), line, "no-such-id", f"there is no {what} {_shown(name)} in {where}", "dropped")


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 40 else f"{name[:37]}...")
