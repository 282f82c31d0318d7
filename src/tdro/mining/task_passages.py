"""The passages of a task that negatives are chosen from, and which of them are answers of which row.

The passages are the positives of the task's rows, and those of a corpus if one is given. Two texts that are equal once
normalised (:mod:`tdro.data.same_text`) are one passage. All texts are in memory twice: as written, and normalised.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tdro.data.same_text import normalise


@dataclass(frozen=True)
class TaskPassages:
    """The different passages of a task, each known by its place in ``texts``.

    Attributes:
        texts: the passages, each as it was written where it came first.
        index: normalised text to the passage's place in ``texts``.
        first: for each row, its first positive.
        answers: for each row, the positives of all rows with the same query. Rows of one query share one set.
        barred: for each row, the passages that cannot be its negatives: the answers, and the query itself.
        title_ends: for each passage of the corpus (these come first), where its text begins in the normalised passage,
            after the title; 0 without a title.
    """

    texts: list[str]
    index: dict[str, int]
    first: list[int]
    answers: list[set[int]]
    barred: list[set[int]]
    title_ends: array[int]


def passages_of(
    queries: Sequence[str], positives: Sequence[Sequence[str]], corpus: Mapping[str, str] | None = None
) -> TaskPassages:
    """Collect the passages of a corpus, then those positives of a task's rows that are not among them.

    Args:
        queries: of the rows, normalised.
        positives: of each row, at least one.
        corpus: more passages; each passage to its text without the title.
    """
    texts: list[str] = []
    index: dict[str, int] = {}
    answers: dict[str, set[int]] = {}
    first: list[int] = []

    def add(text: str) -> int:
        place = index.setdefault(normalise(text), len(texts))
        if place == len(texts):
            texts.append(text)
        return place

    title_ends = array("i")
    # The corpus comes first: its passages have the same places in every task, so the tasks share their embeddings.
    for passage, text in (corpus or {}).items():
        if add(passage) == len(title_ends):
            title_ends.append(_title_end(passage, text))
    for query, own in zip(queries, positives, strict=True):
        places = [add(text) for text in own]
        first.append(places[0])
        answers.setdefault(query, set()).update(places)
    barred = {query: own | {index.get(query, -1)} - {-1} for query, own in answers.items()}
    per_row = [answers[query] for query in queries], [barred[query] for query in queries]
    return TaskPassages(texts, index, first, *per_row, title_ends)


def _title_end(passage: str, text: str) -> int:
    """Where a text begins in the normalised passage, after its title; 0 without a title."""
    if text in ("", passage):
        return 0
    whole, part = normalise(passage), normalise(text)
    return len(whole) - len(part) if whole.endswith(part) else 0
