"""Candidates by BM25: passages that share rare words with a row's query or with its first positive.

A row is searched for with the words of its query *and* of its first positive. In a cross-lingual task the query shares
no word with any passage, but its answer does. Only the rarest of these words are looked up (:data:`QUERY_WORDS` and
:data:`QUERY_POSTINGS`): common words cost nearly all of the time and hardly change the ranking.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tdro.console import progress_bar
from tdro.mining.answer_copies import AnswerCopies
from tdro.mining.mining_settings import MiningSettings
from tdro.mining.task_passages import TaskPassages
from tdro.search.bm25 import BM25Index, best_first

QUERY_WORDS = 12  # at most so many words of a row are searched with, the rarest,
QUERY_POSTINGS = 2000  # and fewer once the passages that have them are this many, a passage counted for each word
PASSAGE_WORDS = 256  # words of a passage that are indexed
_ROWS_AT_ONCE = 1024


class BM25Candidates:
    """Finds candidates for the rows of a task.

    Args:
        passages: of the task.
        queries: of all rows of the task, normalised.
        copies: tells which passages are copies of a row's answers.
    """

    def __init__(self, passages: TaskPassages, queries: Sequence[str], copies: AnswerCopies) -> None:
        bar = progress_bar(passages.index, "indexing", unit=" passages", unit_scale=True)
        self._index = BM25Index(bar, PASSAGE_WORDS)
        self._passages, self._queries, self._copies = passages, queries, copies

    def candidates(
        self, rows: Sequence[int], barred: Sequence[set[int]], missing: Sequence[int], settings: MiningSettings
    ) -> list[list[int]]:
        """The passages of each row whose ranks are within ``settings.ranks``, best first.

        Equal scores are in the passages' order. A passage that has none of the searched words has no rank. The margins
        are below the score of the row's first positive. That score also counts the words that only the positive has,
        so a passage that differs from it in one telling word is still a candidate.

        Args:
            rows: places of the rows in the task.
            barred: for each of these rows, the passages that may not be its candidates.
            missing: for each of these rows, how many negatives it lacks.
            settings: margins and ranks.
        """
        ranked: list[list[int]] = []
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            ranked += self._of_some_rows(rows[part], barred[part], missing[part], settings)
        return ranked

    def _of_some_rows(
        self, rows: Sequence[int], barred: Sequence[set[int]], missing: Sequence[int], settings: MiningSettings
    ) -> list[list[int]]:
        index, (first, last) = self._index, settings.ranks
        positives = [self._passages.first[row] for row in rows]
        pairs = [query_words(index, self._queries[row], own) for row, own in zip(rows, positives, strict=True)]
        found = index.score_many([searched for searched, _ in pairs])
        limits = settings.limits(index.score_pairs([searched + own for searched, own in pairs], positives))
        ranked = []
        for place, limit in enumerate(limits):
            part = slice(found.indptr[place], found.indptr[place + 1])
            scores, passages = found.data[part], found.indices[part]
            near = scores <= limit
            scores, passages, excluded = scores[near], passages[near], barred[place]
            while True:  # until none of the candidates that matter is a copy of an answer
                best = _best(scores, passages, excluded, last)
                copies = self._copies.among(rows[place], best[: settings.compared(missing[place])])
                if not copies:
                    break
                excluded = excluded | copies
            ranked.append(best[first - 1 :])
        return ranked


def query_words(index: BM25Index, query: str, positive: int) -> tuple[list[int], list[int]]:
    """The ids of the words to search with for a row, the rarest first, and of the words that only its positive has.

    Args:
        index: of the task's passages.
        query: of the row, normalised.
        positive: the row's first positive, by its place among the passages.
    """
    frequency = index.frequency
    only_here: list[int] = []
    shared: list[int] = []
    for word in {*index.word_ids(query), *index.word_ids_of_passage(positive)}:
        (shared if frequency[word] > 1 else only_here).append(word)
    shared.sort(key=lambda word: (frequency[word], word))
    searched: list[int] = []
    postings = 0
    for word in shared[:QUERY_WORDS]:
        postings += frequency[word]
        if searched and postings > QUERY_POSTINGS:
            break
        searched.append(word)
    return searched, only_here


def _best(scores: NDArray[np.float32], passages: NDArray[np.int32], barred: set[int], count: int) -> list[int]:
    """The ``count`` best passages that are not barred; of equal scores, the one that comes first in the task."""
    found = best_first(scores, passages, passages, count + len(barred)).tolist()
    return [passage for passage in found if passage not in barred][:count]
