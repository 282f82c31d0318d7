"""Finds the near-duplicates among many short texts: the same question written twice, not another one of the same form.

Two texts are near-duplicates if they have the same words, apart from their order, single typing errors, spacing and
added function words, and if at least ``threshold`` of their letters agree. "captial of France" is a near-duplicate of
"capital of France"; "capital of Greece" is not. :mod:`tdro.data.neardup.same_words` compares two texts, and
:mod:`tdro.data.neardup.shared_keys` finds the pairs that are worth comparing.

See docs/decisions.md, near-duplicates.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from tdro.console import progress_bar
from tdro.data.neardup.same_words import Difference, difference, is_function_word, is_slip
from tdro.data.neardup.shared_keys import EPSILON, bags, candidate_pairs
from tdro.data.neardup.words import HashedTexts, Hashes, Ints, hash_each, hash_words, words_of

THRESHOLD = 0.9  # one slip in ten letters
_PAIRS_AT_ONCE = 1 << 17  # pairs whose words are in memory together


@dataclass(frozen=True)
class Pairs:
    """Pairs of near-duplicates, ordered by ``first`` and then ``second``.

    Of several copies of a text, only the first is in the pairs. So a thousand copies here and a thousand there make one
    pair and not a million. ``firsts`` and ``seconds`` tell which text stands for a copy: if texts 3 and 8 are copies,
    ``firsts[8]`` is 3.

    Attributes:
        first: each pair's place in the first texts, (pairs,).
        second: each pair's place in the second texts, (pairs,); in the first ones if there are no second.
        similarity: 1 − edited letters / letters of the longer text; 1 for the same words.
        firsts: for each of the first texts, the first text with the same words in the same order. Mostly it is itself.
        seconds: the same for the second texts; ``firsts`` if there are none.
    """

    first: Ints
    second: Ints
    similarity: NDArray[np.float64]
    firsts: Ints
    seconds: Ints

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[tuple[int, int, float]]:
        return zip(self.first.tolist(), self.second.tolist(), self.similarity.tolist(), strict=True)


@contextlib.contextmanager
def _no_garbage() -> Iterator[None]:
    """Switches Python's garbage collector off, which saves an eighth of the time.

    Very many small lists are made here, and none is part of a cycle. They would make the collector look at everything
    that the process holds, again and again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_no_garbage()
def near_duplicates(texts: Sequence[str], others: Sequence[str] | None = None, threshold: float = THRESHOLD) -> Pairs:
    """Find the pairs of near-duplicates.

    Which words are common is counted in the texts themselves, so the result depends on the arguments alone. Time and
    memory grow with the number of texts, not with its square (:mod:`tdro.data.neardup.shared_keys`). The price: of
    hundreds of texts that are nearly equal to each other, not all pairs are found.

    Args:
        texts: any number of texts, in any languages.
        others: if given, pairs of one of ``texts`` and one of these are found, copies included. If None, pairs within
            ``texts``, the smaller place first; copies make no pairs then, but are in ``firsts``.
        threshold: the least similarity of a pair, above 0.5 and at most 1.

    Raises:
        ValueError: the threshold is out of its range.

    Example::

        near_duplicates(["capital of France", "captial of France", "capital of Greece"])  # one pair: 0 and 1
    """
    if not 0.5 < threshold <= 1:
        raise ValueError(f"threshold must be above 0.5 and at most 1, not {threshold}")
    together = [*texts, *(others or ())]
    hashed = hash_words(together)
    same = _first_of_the_same(hashed)
    first = same[: len(texts)]
    second = first if others is None else same[len(texts) :]
    distinct = _is_among(first, len(together)), _is_among(second, len(together))
    one, other = candidate_pairs(hashed, threshold, *distinct)
    if others is None:  # each pair once, the smaller place first
        pair_numbers = np.unique(np.minimum(one, other) * len(together) + np.maximum(one, other))
        one, other = np.divmod(pair_numbers, max(len(together), 1))
    one, other, similarity = _compared(together, hashed, distinct[0] | distinct[1], one, other, threshold)
    if others is None:
        return Pairs(one, other, similarity, first, first)
    copies = np.flatnonzero(distinct[0] & distinct[1])
    place = np.zeros(len(together), np.int64)
    place[second[::-1]] = np.arange(len(second))[::-1]  # the first of the copies is written last
    one, other = np.concatenate([one, copies]), place[np.concatenate([other, copies])]
    similarity = np.concatenate([similarity, np.ones(len(copies))])
    order = np.lexsort([other, one])
    return Pairs(one[order], other[order], similarity[order], first, place[second])


def leaks(train_queries: Sequence[str], test_queries: Sequence[str]) -> Pairs:
    """Training queries that ask a test query again: in each pair, ``first`` trains and ``second`` tests."""
    return near_duplicates(train_queries, test_queries)


def _first_of_the_same(hashed: HashedTexts) -> Ints:
    """For each text, the first text with the same words in the same order; it stands for all of them."""
    content = bags(hashed) ^ (hashed.joined << np.uint64(1))
    _, first, which = np.unique(content, return_index=True, return_inverse=True)
    return first[which]


def _is_among(places: Ints, texts: int) -> NDArray[np.bool_]:
    """For each of so many texts, whether its place is one of ``places``."""
    result = np.zeros(texts, np.bool_)
    result[places] = True
    return result


def _compared(
    texts: Sequence[str], hashed: HashedTexts, distinct: NDArray[np.bool_], one: Ints, other: Ints, threshold: float
) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """Compare the candidate pairs; returns those that are near-duplicates, and how similar they are."""
    vocabulary = hashed.words[np.repeat(distinct, hashed.counts)]
    similarity = np.zeros(len(one))
    with progress_bar(total=len(one), title="comparing", unit=" pairs") as bar:
        for start in range(0, len(one), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            pairs = list(zip(one[part].tolist(), other[part].tolist(), strict=True))
            words = {text: words_of(texts[text]) for text in set(chain.from_iterable(pairs))}
            differences = {}
            for place, (left, right) in enumerate(pairs, start):
                found = difference(words[left], words[right])
                if found is not None and found.similarity >= threshold - EPSILON:
                    differences[place] = found
            for place, found in _accepted(differences, vocabulary, int(distinct.sum())):
                similarity[place] = found.similarity
            bar.update(len(pairs))
    places = np.flatnonzero(similarity)
    return one[places], other[places], similarity[places]


def _accepted(differences: dict[int, Difference], vocabulary: Hashes, texts: int) -> list[tuple[int, Difference]]:
    """The differences that make no new question of a text, by how often the words that differ come in all texts.

    A typing error must be a word that hardly anybody else writes; an added word must be a common function word.
    """
    words = sorted({word for found in differences.values() for word in found.words})
    counted = dict(zip(words, _counts(hash_each(words), vocabulary).tolist(), strict=True))
    return [
        (place, found)
        for place, found in differences.items()
        if all(is_slip(one, other, counted[one], counted[other]) for one, other in found.slips)
        and all(is_function_word(word, counted[word], texts) for word in found.added)
    ]


def _counts(wanted: Hashes, words: Hashes) -> Ints:
    """How often each of the wanted words comes among the words."""
    # First leave out, by 20 bits of their hashes, most words that are none of them: sorting all would take longer.
    seen = np.zeros(1 << 20, np.bool_)
    seen[wanted >> np.uint64(44)] = True
    found = np.sort(words[seen[words >> np.uint64(44)]])
    return np.searchsorted(found, wanted, side="right") - np.searchsorted(found, wanted, side="left")
