"""The passages that negatives come from, each text once, and which of them are answers of a row.

Texts are the same if they are after normalisation (:mod:`tdro.data.same_text`). Held in memory, as strings, once
normalised and once as written.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tdro.data.same_text import normalise


@dataclass(frozen=True)
class TaskPassages:
    """Distinct passages, numbered, and what they are to each row.

    Attributes:
        texts: as first written.
        number: normalised text to index in ``texts``.
        first: each row's first positive, as index.
        answers: for each row the positives of all rows with its query. Rows of one query share the set.
        barred: for each row what is no negative of it: the answers, and the query itself.
        bare: of passages with a title, which come first, where the text begins in the normalised passage; 0 without.
    """

    texts: list[str]
    number: dict[str, int]
    first: list[int]
    answers: list[set[int]]
    barred: list[set[int]]
    bare: array[int]


def passages_of(
    queries: Sequence[str], positives: Sequence[Sequence[str]], corpus: Mapping[str, str] | None = None
) -> TaskPassages:
    """Number the passages of a corpus, then the other positives of a task's rows.

    Args:
        queries: of the rows, normalised already.
        positives: of each row, at least one.
        corpus: more passages, each with what it is without its title.
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

    bare = array("i")
    for passage, text in (corpus or {}).items():  # first: tasks of one corpus share its numbers (and embeddings)
        if numbered(passage) == len(bare):
            bare.append(_start(passage, text))
    for query, own in zip(queries, positives, strict=True):
        indices = [numbered(text) for text in own]
        first.append(indices[0])
        answers.setdefault(query, set()).update(indices)
    barred = {query: own | {number.get(query, -1)} - {-1} for query, own in answers.items()}
    per_row = [answers[query] for query in queries], [barred[query] for query in queries]
    return TaskPassages(texts, number, first, *per_row, bare)


def _start(passage: str, text: str) -> int:
    """Where a text begins in the normalised passage that has its title before it; 0 if it has no title."""
    if text in ("", passage):
        return 0
    whole, part = normalise(passage), normalise(text)
    return len(whole) - len(part) if whole.endswith(part) else 0
