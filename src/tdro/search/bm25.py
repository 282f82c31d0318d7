"""BM25: scores passages by the words that they share with a query. Mining and the BM25 baseline both search with it.

The scores are those of Lucene's BM25. What a word adds to a passage's score does not depend on the query, so it is
computed once for every word of every passage and kept in a sparse matrix; a search only adds numbers up. The matrix is
in memory, twice: by passage and by word. See docs/decisions.md, own-bm25.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tdro.data.search_words import tokens

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

K1, B = 1.5, 0.75  # how soon a repeated word counts no more, and how much a long passage is marked down


class BM25Index:
    """An index of passages, numbered from 0 in the order in which they come.

    Args:
        passages: normalised texts (:func:`tdro.data.same_text.normalise`).
        words_per_passage: how many words of a passage are indexed, from its start; None for all.

    Attributes:
        vocabulary: word to its id.
        frequency: for each word id, how many passages have the word.

    Example::

        >>> index = BM25Index(["a red cat", "the red dog", "no match"])
        >>> index.score_all(index.word_ids("red cat")).round(2)
        array([0.56, 0.18, 0.  ], dtype=float32)
    """

    def __init__(self, passages: Iterable[str], words_per_passage: int | None = None) -> None:
        from scipy.sparse import csr_matrix

        self.vocabulary: dict[str, int] = {}
        known = self.vocabulary
        words, lengths = array("i"), array("i")  # the passages' word ids, one passage after the other
        for text in passages:
            own = [known.setdefault(word, len(known)) for word in tokens(text)[:words_per_passage]]
            words.extend(own)
            lengths.append(len(own))
        starts = np.concatenate([[0], np.cumsum(lengths)])
        shape = (len(lengths), max(len(known), 1))
        counts = csr_matrix((np.ones(len(words), np.float32), np.frombuffer(words, np.int32), starts), shape=shape)
        counts.sum_duplicates()
        frequency = np.bincount(counts.indices, minlength=shape[1])
        self._by_passage: csr_matrix = _word_scores(counts, frequency, np.asarray(lengths))  # (passages, words)
        self._by_word: csr_matrix = self._by_passage.T.tocsr()  # (words, passages)
        self.frequency: list[int] = frequency.tolist()

    def word_ids(self, text: str) -> list[int]:
        """The ids of a normalised text's words, as often as they are in it; words that no passage has are left out."""
        return [self.vocabulary[word] for word in tokens(text) if word in self.vocabulary]

    def word_ids_of_passage(self, passage: int) -> list[int]:
        """The ids of the different words of a passage."""
        part = slice(*self._by_passage.indptr[passage : passage + 2])
        return self._by_passage.indices[part].tolist()

    def score_all(self, query: Sequence[int]) -> NDArray[np.float32]:
        """The score of every passage for one query of word ids; 0 where no word is shared; shape (passages,).

        A word that the query has twice counts twice.
        """
        scores = np.zeros(self._by_word.shape[1], np.float32)
        for word in query:
            part = slice(*self._by_word.indptr[word : word + 2])
            scores[self._by_word.indices[part]] += self._by_word.data[part]
        return scores

    def score_many(self, queries: Sequence[Sequence[int]]) -> csr_matrix:
        """The scores of the passages that share a word with a query; sparse, shape (queries, passages).

        For queries of a few rare words: every entry of a common word takes memory.
        """
        return self._query_matrix(queries) @ self._by_word

    def score_pairs(self, queries: Sequence[Sequence[int]], passages: Sequence[int]) -> NDArray[np.float32]:
        """The score of one passage for each query; shape (queries,)."""
        product = self._query_matrix(queries).multiply(self._by_passage[np.asarray(passages)])
        return np.asarray(product.sum(axis=1), dtype=np.float32).ravel()

    def _query_matrix(self, queries: Sequence[Sequence[int]]) -> csr_matrix:
        """1 for each word of each query; sparse, shape (queries, words)."""
        from scipy.sparse import csr_matrix

        starts = np.concatenate([[0], np.cumsum([len(query) for query in queries])])
        words = np.fromiter((word for query in queries for word in query), dtype=np.int32, count=int(starts[-1]))
        return csr_matrix((np.ones(len(words), np.float32), words, starts), (len(queries), self._by_word.shape[0]))


def best_first(
    scores: NDArray[np.float32], passages: NDArray[np.integer], ties: NDArray[np.integer], count: int
) -> NDArray[np.integer]:
    """The ``count`` passages with the largest scores, largest first; of equal scores, the smaller ``ties`` first.

    All arguments but the last are arrays of one length: some passages, their scores, and how ties are broken.
    """
    if len(scores) > count:  # sort only these; every passage that ties with the last one stays
        near = scores >= np.partition(scores, -count)[-count]
        scores, passages, ties = scores[near], passages[near], ties[near]
    return passages[np.lexsort((ties, -scores))[:count]]


def _word_scores(counts: csr_matrix, frequency: NDArray[np.int64], lengths: NDArray[np.int32]) -> csr_matrix:
    """Replace how often each word is in each passage by what the word adds to the passage's score."""
    rarity = np.log(1 + (len(lengths) - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)
    relative = lengths / (lengths.mean() or 1)  # the mean is 0 where no passage has a word
    values = np.repeat(K1 * (1 - B + B * relative), np.diff(counts.indptr))  # float64: as the bm25s library computes
    values += counts.data
    np.divide(counts.data, values, out=values)
    values *= rarity[counts.indices]
    counts.data = values.astype(np.float32)
    return counts
