"""The passages that negatives come from, each text once, and which of them are answers of a row.

Texts are the same if they are after normalisation (:mod:`tdro.data.same_text`). Held in memory, as strings, once
normalised and once as written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tdro.data.same_text import normalise


@dataclass(frozen=True)
class Passages:
    """Distinct passages, numbered, and what they are to each row.

    Attributes:
        texts: as first written.
        number: normalised text to index in ``texts``.
        first: each row's first positive, as index.
        answers: for each row the positives of all rows with its query. Rows of one query share the set.
        barred: for each row what is no negative of it: the answers, and the query itself.
    """

    texts: list[str]
    number: dict[str, int]
    first: list[int]
    answers: list[set[int]]
    barred: list[set[int]]


def passages_of(queries: Sequence[str], positives: Sequence[Sequence[str]], corpus: Iterable[str] = ()) -> Passages:
    """Number the passages of a corpus, then the other positives of a task's rows.

    Args:
        queries: of the rows, normalised already.
        positives: of each row, at least one.
        corpus: more passages.
    """
    texts: list[str] = []
    number: dict[str, int] = {}
    answers: dict[str, set[int]] = {}
    first: list[int] = []

    def numbered(text: str) -> int:
        index = number.setdefault(normalise(text), len(texts))
        if index == len(texts):
            texts.append(text)
        return index

    for text in corpus:  # first, so that the tasks of one corpus have its numbers (and embeddings) in common
        numbered(text)
    for query, own in zip(queries, positives, strict=True):
        indices = [numbered(text) for text in own]
        first.append(indices[0])
        answers.setdefault(query, set()).update(indices)
    barred = {query: own | {number.get(query, -1)} - {-1} for query, own in answers.items()}
    return Passages(texts, number, first, [answers[query] for query in queries], [barred[query] for query in queries])
