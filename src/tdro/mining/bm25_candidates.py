"""Candidates by BM25: searched with the row's query *and* its first positive.

In a cross-lingual task the query shares no word with any passage, but its answer does. A search looks at the rarest
words only (:data:`QUERY_TOKENS` and :data:`QUERY_POSTINGS`); common words cost nearly all of the time and decide nearly
nothing. Rejected: bm25s, whose scores these are: for a million passages of 20 words its index takes 34 s and 1 GB, the
same matrix by scipy 1.5 s and 0.4 GB (words not counted); and its ``retrieve`` scores every passage for every query,
about four times slower than a sparse product, on 30,000 rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tdro.console import progress_bar
from tdro.data.search_words import tokens
from tdro.mining.answer_copies import AnswerCopies
from tdro.mining.mining_settings import MiningSettings
from tdro.mining.task_passages import TaskPassages

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

K1, B = 1.5, 0.75
QUERY_TOKENS = 12  # a search takes so many of its rarest tokens,
QUERY_POSTINGS = 2000  # or fewer, once they stand in so many passages together
PASSAGE_TOKENS = 256  # of a longer passage the rest is not indexed
_ROWS_AT_ONCE = 1024


class Searcher:
    """BM25 (Lucene's) over the distinct passages of a task.

    Attributes:
        vocabulary: token to its number.
        by_passage: what a token of a query adds to a passage's score; sparse, (passages, tokens).
        by_token: the same, (tokens, passages).
        frequency: how many passages have each token.
    """

    def __init__(self, normalised: Collection[str]) -> None:
        from scipy.sparse import csr_matrix

        self.vocabulary: dict[str, int] = {}
        known = self.vocabulary
        flat, lengths = array("i"), array("i")
        bar = progress_bar(normalised, "indexing", unit=" passages", unit_scale=True)
        for text in bar:
            own = [known.setdefault(token, len(known)) for token in tokens(text)[:PASSAGE_TOKENS]]
            flat.extend(own)
            lengths.append(len(own))
        starts = np.concatenate([[0], np.cumsum(lengths)])
        shape = (len(lengths), max(len(known), 1))
        counts = csr_matrix((np.ones(len(flat), np.float32), np.frombuffer(flat, np.int32), starts), shape=shape)
        counts.sum_duplicates()
        frequency = np.bincount(counts.indices, minlength=shape[1])
        self.by_passage: csr_matrix = _weighed(counts, frequency, np.asarray(lengths))
        self.by_token: csr_matrix = self.by_passage.T.tocsr()
        self.frequency: list[int] = frequency.tolist()

    def query(self, text: str, positive: int) -> tuple[list[int], list[int]]:
        """The tokens to search with, rarest first, and those that only the positive has."""
        wanted = {self.vocabulary[token] for token in tokens(text) if token in self.vocabulary}
        part = slice(*self.by_passage.indptr[positive : positive + 2])
        wanted.update(self.by_passage.indices[part].tolist())
        frequency = self.frequency
        own: list[int] = []
        shared: list[int] = []
        for token in wanted:
            (shared if frequency[token] > 1 else own).append(token)
        shared.sort(key=lambda token: (frequency[token], token))
        searched: list[int] = []
        postings = 0
        for token in shared[:QUERY_TOKENS]:
            postings += frequency[token]
            if searched and postings > QUERY_POSTINGS:
                break
            searched.append(token)
        return searched, own

    def scores(self, queries: Sequence[Sequence[int]]) -> csr_matrix:
        """BM25 of every passage with a common token, sparse, shape (queries, passages)."""
        return self._matrix(queries) @ self.by_token

    def own_scores(self, queries: Sequence[Sequence[int]], positives: Sequence[int]) -> NDArray[np.float32]:
        """BM25 of each query's own positive, shape (queries,)."""
        product = self._matrix(queries).multiply(self.by_passage[np.asarray(positives)])
        return np.asarray(product.sum(axis=1), dtype=np.float32).ravel()

    def _matrix(self, queries: Sequence[Sequence[int]]) -> csr_matrix:
        from scipy.sparse import csr_matrix

        starts = np.concatenate([[0], np.cumsum([len(query) for query in queries])])
        flat = np.fromiter((token for query in queries for token in query), dtype=np.int32, count=int(starts[-1]))
        ones = np.ones(len(flat), dtype=np.float32)
        return csr_matrix((ones, flat, starts), shape=(len(queries), self.by_token.shape[0]))


def _weighed(counts: csr_matrix, frequency: NDArray[np.int64], lengths: NDArray[np.int32]) -> csr_matrix:
    """BM25 of each token of each passage, in place of how often it is there."""
    rarity = np.log(1 + (len(lengths) - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)
    relative = lengths / (lengths.mean() or 1)  # 0: not one has a word
    damping = (K1 * (1 - B + B * relative)).astype(np.float32)
    counts.data *= rarity[counts.indices] / (counts.data + np.repeat(damping, np.diff(counts.indptr)))
    return counts


class BM25Candidates:
    """Searches the passages of a task.

    Args:
        passages: of the task.
        queries: of all rows, normalised.
        wrappings: tells which passages are an answer, too.
    """

    def __init__(self, passages: TaskPassages, queries: Sequence[str], wrappings: AnswerCopies) -> None:
        self._searcher, self._passages, self._queries = Searcher(passages.number), passages, queries
        self._wrappings = wrappings

    def candidates(
        self, rows: Sequence[int], barred: Sequence[set[int]], missing: Sequence[int], settings: MiningSettings
    ) -> list[list[int]]:
        """Passages of each row in the ranks of the settings, best first, equal scores in the passages' order.

        Passages that share no searched word have no rank. The margins are against the first positive, which also
        scores with the words that only it has, so a passage that differs in one telling word stays a candidate.

        Args:
            rows: numbers of rows.
            barred: for each of them what is no candidate.
            missing: how many negatives each of them lacks.
            settings: margins and ranks.
        """
        ranked: list[list[int]] = []
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            ranked += self._some(rows[part], barred[part], missing[part], settings)
        return ranked

    def _some(
        self, rows: Sequence[int], barred: Sequence[set[int]], missing: Sequence[int], settings: MiningSettings
    ) -> list[list[int]]:
        searcher, (first, last) = self._searcher, settings.ranks
        positives = [self._passages.first[row] for row in rows]
        pairs = [searcher.query(self._queries[row], positive) for row, positive in zip(rows, positives, strict=True)]
        found = searcher.scores([searched for searched, _ in pairs])
        limits = settings.limits(searcher.own_scores([searched + own for searched, own in pairs], positives))
        ranked = []
        for place, limit in enumerate(limits):
            part = slice(found.indptr[place], found.indptr[place + 1])
            scores, indices = found.data[part], found.indices[part]
            near = scores <= limit
            scores, indices, never = scores[near], indices[near], barred[place]
            while True:
                best = _best(scores, indices, never, last)
                answers = self._wrappings.among(rows[place], best[: settings.looked_at(missing[place])])
                if not answers:
                    break
                never = never | answers
            ranked.append(best[first - 1 :])
        return ranked


def _best(scores: NDArray[np.float32], indices: NDArray[np.int32], barred: set[int], count: int) -> list[int]:
    """The best passages that are not barred."""
    depth = count + len(barred)
    if len(scores) > depth:  # all that tie with the last stay, so that their order cannot matter
        best = scores >= np.partition(scores, -depth)[-depth]
        scores, indices = scores[best], indices[best]
    best_first = indices[np.lexsort((indices, -scores))].tolist()
    return [index for index in best_first if index not in barred][:count]
