"""Near-duplicates among many short texts: the same question written twice, and not another question of the same form.

Two texts are near-duplicates if they have the same words, but for their order, slips of the pen, spacing and added
function words (:mod:`tdro.data.same_words` says which), and ``threshold`` of their letters agree. A similarity of
n-grams alone cannot tell "captial of France" from "capital of Greece"; looking at the words that differ can. Comparing
all pairs is out of the question: :mod:`tdro.data.shared_keys` finds those that may be.

Rejected, each measured by ``benchmarks/dedup.py``: SimHash (one typo in a short text moves more than two of its bits, a
changed number in a long one does not), and MinHash with LSH by datasketch or rensa (it finds changed names with the
typos, and takes longer).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from tdro.data.same_words import Difference, difference, is_function_word, is_slip
from tdro.data.shared_keys import EPSILON, bags, meeting
from tdro.data.words import HashedTexts, Hashes, Ints, hash_each, hash_words, words_of

THRESHOLD = 0.9  # one slip in ten letters
_PAIRS_AT_ONCE = 1 << 17  # whose words are in memory


@dataclass(frozen=True)
class Pairs:
    """Pairs of near-duplicates, ordered by ``first`` and then ``second``; arrays of one length.

    Attributes:
        first: indices in the first texts.
        second: indices in the second texts, or in the first ones if there are no second.
        similarity: 1 − edited letters / letters of the longer text; 1 for the same words.
    """

    first: Ints
    second: Ints
    similarity: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[tuple[int, int, float]]:
        return zip(self.first.tolist(), self.second.tolist(), self.similarity.tolist(), strict=True)


def near_duplicates(texts: Sequence[str], others: Sequence[str] | None = None, threshold: float = THRESHOLD) -> Pairs:
    """The pairs of near-duplicates, copies among them. A pure function; what counts as common is counted in the texts.

    Args:
        texts: any number, in any languages.
        others: pairs between ``texts`` and these. None: pairs within ``texts``, the smaller index first; of n copies
            of a text, the first stands for all (n - 1 pairs for the copies, one for a near-duplicate).
        threshold: the least similarity, above 0.5 and at most 1.

    Raises:
        ValueError: a threshold out of its range.
    """
    if not 0.5 < threshold <= 1:
        raise ValueError(f"threshold must be above 0.5 and at most 1, not {threshold}")
    together = [*texts, *(others or ())]
    hashed = hash_words(together)
    same = _first_of_the_same(hashed)
    first = same[: len(texts)]
    second = first if others is None else same[len(texts) :]
    one, other = meeting(hashed, threshold, _among(first, len(together)), _among(second, len(together)))
    if others is None:
        one, other = one[one < other], other[one < other]
    one, other, similarity = _compared(together, hashed, _among(same, len(together)), one, other, threshold)
    if others is None:
        copies = np.flatnonzero(same != np.arange(len(same)))
        one, other = np.concatenate([one, same[copies]]), np.concatenate([other, copies])
        return _ordered(one, other, np.concatenate([similarity, np.ones(len(copies))]))
    return _between(first, second, one, other, similarity)


def leaks(train_queries: Sequence[str], test_queries: Sequence[str], threshold: float = THRESHOLD) -> Pairs:
    """The pairs of a training query and a test query that are near-duplicates: ``first`` trains, ``second`` tests."""
    return near_duplicates(train_queries, test_queries, threshold)


def _first_of_the_same(hashed: HashedTexts) -> Ints:
    """For each text the first one with the same words and the same letters in a row; that one stands for all."""
    _, first, number = np.unique(bags(hashed) ^ (hashed.joined << np.uint64(1)), return_index=True, return_inverse=True)
    return first[number]


def _among(numbers: Ints, texts: int) -> NDArray[np.bool_]:
    """Whether each text is one of these."""
    result = np.zeros(texts, np.bool_)
    result[numbers] = True
    return result


def _compared(
    texts: Sequence[str], hashed: HashedTexts, distinct: NDArray[np.bool_], one: Ints, other: Ints, threshold: float
) -> tuple[Ints, Ints, NDArray[np.float64]]:
    """The candidates that are near-duplicates, and how similar they are."""
    vocabulary = hashed.words[np.repeat(distinct, hashed.counts)]
    similarity = np.zeros(len(one))
    with tqdm(total=len(one), desc="comparing", unit=" pairs", leave=False, delay=5) as bar:
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
    """Which differences the texts' own vocabulary allows: slips are words nobody else writes, added words common."""
    asked = sorted({word for found in differences.values() for word in found.words})
    counted = dict(zip(asked, _counts(hash_each(asked), vocabulary).tolist(), strict=True))
    return [
        (place, found)
        for place, found in differences.items()
        if all(is_slip(one, other, counted[one], counted[other]) for one, other in found.slips)
        and all(is_function_word(word, counted[word], texts) for word in found.added)
    ]


def _counts(wanted: Hashes, words: Hashes) -> Ints:
    """How often each of the wanted words comes."""
    seen = np.zeros(1 << 20, np.bool_)
    seen[wanted >> np.uint64(44)] = True
    found = np.sort(words[seen[words >> np.uint64(44)]])
    return np.searchsorted(found, wanted, side="right") - np.searchsorted(found, wanted, side="left")


def _between(first: Ints, second: Ints, one: Ints, other: Ints, similarity: NDArray[np.float64]) -> Pairs:
    """All pairs of rows whose texts are the same or make a pair; ``first`` and ``second`` are the rows' texts."""
    texts = int(max(first.max(initial=0), second.max(initial=0))) + 1
    same = np.flatnonzero(_among(first, texts) & _among(second, texts))
    one, other = np.concatenate([one, same]), np.concatenate([other, same])
    similarity = np.concatenate([similarity, np.ones(len(same))])
    left, right = _Rows(first, _among(one, texts)), _Rows(second, _among(other, texts))
    sizes, others = left.sizes[one], right.sizes[other]
    # Every row of the one text, each followed by all rows of the other.
    pair = np.repeat(np.arange(len(one)), sizes * others)
    place = np.arange(len(pair)) - np.repeat(np.cumsum(sizes * others) - sizes * others, sizes * others)
    rows = left.rows[left.starts[one][pair] + place // others[pair]]
    other_rows = right.rows[right.starts[other][pair] + place % others[pair]]
    return _ordered(rows, other_rows, similarity[pair])


class _Rows:
    """The rows that have each of the wanted texts."""

    def __init__(self, numbers: Ints, wanted: NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(wanted[numbers])
        self.rows = rows[np.argsort(numbers[rows], kind="stable")]
        self.sizes = np.bincount(numbers[rows], minlength=len(wanted))
        self.starts = np.cumsum(self.sizes) - self.sizes


def _ordered(first: Ints, second: Ints, similarity: NDArray[np.float64]) -> Pairs:
    order = np.lexsort([second, first])
    return Pairs(first[order], second[order], similarity[order])
