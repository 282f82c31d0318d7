"""A BEIR folder as training rows: a query, and the passages that its qrels judge relevant.

``corpus.jsonl`` may be as large as it likes: it is streamed once, and only the passages that some judgement of the
split names are kept. Judgements that name what is not there become problems, each with its line.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tdro.data.jsonl import raw_rows
from tdro.data.rows import Problem
from tdro.errors import UserError

Qrels = dict[str, list[tuple[str, int]]]  # query id to (passage id, line of the judgement)


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

    Relevant is a score above 0. Queries without a relevant passage are no rows of this split. Memory: the judgements
    and the passages that they name. The first ``start`` values are skipped.
    """
    for number, (line, value) in enumerate(_rows(folder, split), 1):
        if number > start:
            yield line, number, value


def _rows(folder: Path, split: str) -> Iterator[tuple[int, object]]:
    corpus, queries, judged = beir_files(folder, split)
    qrels: Qrels = {}
    for line, problem in _judgements(judged, qrels):
        yield line, problem
    wanted = {passage for passages in qrels.values() for passage, _ in passages}
    texts: dict[str, dict[str, object]] = {}
    for line, _, value in raw_rows(corpus):
        if isinstance(value, Problem):
            yield line, value
        elif isinstance(value, dict) and isinstance(value.get("_id"), str) and value["_id"] in wanted:
            texts[value["_id"]] = {"docid": value["_id"], "title": value.get("title"), "text": value.get("text")}
    for line, _, value in raw_rows(queries):
        if isinstance(value, Problem):
            yield line, value
        elif isinstance(value, dict) and isinstance(value.get("_id"), str) and value["_id"] in qrels:
            passages = qrels.pop(value["_id"])
            for passage, place in passages:
                if passage not in texts:
                    yield place, _missing(judged, place, "passage", passage, "corpus.jsonl")
            positives = [texts[passage] for passage, _ in passages if passage in texts]
            if positives:
                yield line, {"query_id": value["_id"], "query": value.get("text"), "positive_passages": positives}
    for query, passages in qrels.items():
        yield passages[0][1], _missing(judged, passages[0][1], "query", query, "queries.jsonl")


def _judgements(path: Path, qrels: Qrels) -> Iterator[tuple[int, Problem]]:
    """Fill ``qrels`` with the judgements above 0; yields what is wrong with a line."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            cells = line.rstrip("\r\n").split("\t")
            if not line.strip() or (number == 1 and cells[0] == "query-id"):
                continue
            try:
                query, passage, score = cells
                relevant = int(score) > 0
            except ValueError:
                message = "expected query-id, corpus-id and a whole number, parted by tabs"
                yield number, Problem(str(path), number, "wrong-judgement", message, "dropped")
                continue
            if relevant and all(passage != other for other, _ in qrels.setdefault(query, [])):
                qrels[query].append((passage, number))


def _missing(path: Path, line: int, what: str, name: str, where: str) -> Problem:
    shown = ascii(name if len(name) <= 40 else f"{name[:37]}...")
    return Problem(str(path), line, "no-such-id", f"there is no {what} {shown} in {where}", "dropped")
