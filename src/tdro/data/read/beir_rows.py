"""A BEIR folder as training rows: a query, and the passages that its qrels judge relevant.

``corpus.jsonl`` may be as large as it likes: it is streamed once, and only the passages that some judgement of the
split names are kept. Judgements that name what is not there become problems, each with its line. Of two lines with one
id, and of two judgements of one pair, the last counts, as in BEIR and in :mod:`tdro.data.testsets.beir`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path

from tdro.data.read.beir_ids import id_text, judgements, wrong_id
from tdro.data.read.jsonl import raw_rows
from tdro.data.read.rows import Problem
from tdro.errors import UserError

_Texts = dict[str, tuple[int, object, object]]  # id to line, title and text


def beir_files(folder: Path, split: str) -> list[Path]:
    """Corpus, queries and qrels of a split. Raises :class:`UserError` naming the one that is missing."""
    files = [folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels" / f"{split}.tsv"]
    for file in files:
        if not file.is_file():
            others = sorted(path.stem for path in folder.glob("qrels/*.tsv"))
            hint = f"; there are the splits {', '.join(others)}" if others and file == files[-1] else ""
            raise UserError(f"{file}: no such file{hint}")
    return files


def beir_rows(folder: Path, split: str, start: int = 0) -> Iterator[tuple[int, int, object]]:
    """Line in ``queries.jsonl``, values so far, and a row in the released schema or a :class:`Problem`.

    Relevant is a score above 0. Queries without a relevant passage are no rows of this split. Memory: the judgements,
    and the queries and passages that they name. The first ``start`` values are skipped.
    """
    for number, (line, value) in enumerate(_rows(folder, split), 1):
        if number > start:
            yield line, number, value


def _rows(folder: Path, split: str) -> Iterator[tuple[int, object]]:
    corpus, queries, judged = beir_files(folder, split)
    scores: dict[str, dict[str, tuple[int, int]]] = {}  # query id to passage id to score, and line of the judgement
    for each in judgements(judged):
        if isinstance(each, Problem):
            yield each.line or 1, each
        else:
            scores.setdefault(each.query, {})[each.passage] = (each.score, each.line)
    relevant = {
        query: [(passage, line) for passage, (score, line) in passages.items() if score > 0]
        for query, passages in scores.items()
    }
    passages: _Texts = {}
    yield from _texts(corpus, {passage for found in relevant.values() for passage, _ in found}, passages)
    asked: _Texts = {}
    yield from _texts(queries, {query for query, found in relevant.items() if found}, asked)
    for query, (line, _, asks) in asked.items():
        for passage, place in relevant[query]:
            if passage not in passages:
                yield place, _missing(judged, place, "passage", passage, "corpus.jsonl")
        positives = [
            {"docid": passage, "title": passages[passage][1], "text": passages[passage][2]}
            for passage, _ in relevant[query]
            if passage in passages
        ]
        if positives:
            yield line, {"query_id": query, "query": asks, "positive_passages": positives}
    for query, found in relevant.items():
        if found and query not in asked:
            yield found[0][1], _missing(judged, found[0][1], "query", query, "queries.jsonl")


def _texts(path: Path, wanted: Container[str], texts: _Texts) -> Iterator[tuple[int, Problem]]:
    """Fill ``texts`` with the lines whose ids are wanted; yields what is wrong with a line."""
    for line, _, value in raw_rows(path):
        if isinstance(value, Problem):
            yield line, value
            continue
        if not isinstance(value, dict):
            yield line, Problem(str(path), line, "not-an-object", "expected an object with an '_id'", "dropped")
            continue
        key = id_text(value.get("_id"))
        if not key:
            yield line, Problem(str(path), line, "wrong-id", wrong_id(value.get("_id")), "dropped")
        elif key in wanted:
            if key in texts:
                message = f"a second line has the _id {_shown(key)}; it counts, and line {texts[key][0]} does not"
                yield line, Problem(str(path), line, "duplicate-id", message, "kept")
            texts[key] = (line, value.get("title"), value.get("text"))


def _missing(path: Path, line: int, what: str, name: str, where: str) -> Problem:
    return Problem(str(path), line, "no-such-id", f"there is no {what} {_shown(name)} in {where}", "dropped")


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 40 else f"{name[:37]}...")
