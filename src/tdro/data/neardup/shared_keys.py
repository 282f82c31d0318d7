"""Finds the pairs of texts that may be near-duplicates: those that share a key. Not all pairs are compared.

The keys of a text are hashes of these parts of it, each for one way in which two texts may differ:

- all its words: finds the same words in another order;
- all its letters in a row: finds another spacing;
- all words but one of four letters or more, and the first (or the last) two letters of that one: finds a typing error,
  which leaves one of a word's two ends alone;
- all words but one of four letters or fewer (a function word, or a character of a script without spaces): finds the
  text that lacks this word, or has it with a typing error;
- two of its rarest words, if it has four words or more: finds a text in which two words differ, or three if it has nine
  words or more.

The digits of a text are part of each key, so texts with other numbers do not meet. Texts of one template ("turn on the
light in the kitchen", "… in the hall") share few keys. A pair with too many different letters is dropped at once. All
of it is NumPy on arrays of 64-bit hashes. If two different keys have the same hash, two texts are compared in vain, and
nothing else happens.

Time and memory grow with the number of texts, not with its square. If very many texts share a key, each of them meets
only a few of the others; and a text is compared only with the closest of those it meets. Among 200,000 real queries
this last rule loses no near-duplicate.

See docs/decisions.md, shared-keys.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tdro.data.neardup.words import HashedTexts, Hashes, Ints

_LOG = logging.getLogger(__name__)

# In the keys of all words but one: a word of at least so many letters is replaced by its first or last two letters, and
# a word of at most so many letters is left out.
_FROM_ENDS = 4
_LONGEST = 32  # words; a longer text has no keys of all words but one
_CROWD = 50  # if more texts than that share a key, they most likely come from one template:
_FEW = 5  # then each of them meets only so many of the others
_MOST = 12  # a text is compared with at most so many others
_ODD = np.uint64(0xD6E8FEB86659FD93)  # a hash times this number is another hash
_PAIRS_AT_ONCE = 1 << 22  # pairs in memory
Owners = NDArray[np.int32]
EPSILON = 1e-9  # because 1 - 0.9 is a little less than 0.1 in floating point


@dataclass(frozen=True)
class Keys:
    """Keys of texts: ``keys[i]`` is a key of the text ``owners[i]``. A text has many keys."""

    keys: Hashes
    owners: Owners

    def of(self, texts: NDArray[np.bool_]) -> Keys:
        """The keys of those texts for which ``texts`` is true."""
        chosen = texts[self.owners]
        return Keys(self.keys[chosen], self.owners[chosen])


def bags(hashed: HashedTexts) -> Hashes:
    """A hash of each text's words, the same for any order of the words."""
    return np.add.reduceat(np.append(hashed.words, np.uint64(0)), hashed.starts[:-1]) + hashed.digits * _ODD


def make_keys(hashed: HashedTexts, threshold: float) -> Keys:
    """All keys of all texts. The threshold says how many letters may differ, and so which keys are needed."""
    counts = hashed.counts
    texts = np.arange(len(counts), dtype=np.int32)
    bag = bags(hashed)
    keys, owners = [bag, hashed.joined + hashed.digits], [texts, texts]

    owner = np.repeat(texts, counts)
    rest = np.repeat(bag, counts)
    rest -= hashed.words
    short = np.repeat((counts > 1) & (counts <= _LONGEST), counts)
    linked = _linked(hashed)
    frequency = _frequency(linked)
    places = np.flatnonzero(short & (hashed.sizes >= _FROM_ENDS))
    for ends, odd in ((hashed.heads, np.uint64(1)), (hashed.tails, _ODD)):
        keys.append(rest[places] + ends[places] * odd)
        owners.append(owner[places])
    places = np.flatnonzero(short & (hashed.sizes <= _FROM_ENDS))
    keys.append(rest[places])
    owners.append(owner[places])
    for rows, rarest in _rarest(hashed, linked, frequency, threshold):
        for one, other in itertools.combinations(range(rarest.shape[1]), 2):
            keys.append(rarest[:, one] * _ODD + rarest[:, other] + hashed.digits[rows])
            owners.append(rows.astype(np.int32))
    return Keys(np.concatenate(keys), np.concatenate(owners))


def candidate_pairs(
    hashed: HashedTexts, threshold: float, first: NDArray[np.bool_], second: NDArray[np.bool_]
) -> tuple[Ints, Ints]:
    """The pairs of one of the first texts and one of the second texts that may be near-duplicates.

    No text is paired with itself. A text of the first has at most about ``_MOST`` partners. If a text is among the
    first and the second, it may have more, and a pair may come in either direction or in both.
    """
    keys = make_keys(hashed, threshold)
    others = keys.of(second)
    order = np.argsort(others.keys, kind="stable")
    other_keys, other_owners = others.keys[order], others.owners[order]
    for shift in (42, 20):  # most keys meet no other, and looking into a table is quicker than searching
        seen = np.zeros(1 << 22, np.bool_)
        seen[_slots(other_keys, shift)] = True
        here = seen[_slots(keys.keys, shift)]
        keys = Keys(keys.keys[here], keys.owners[here])
    keys = keys.of(first)
    firsts = np.flatnonzero(np.diff(other_keys, prepend=~other_keys[:1]))  # of each run of equal keys
    run = np.minimum(np.searchsorted(other_keys[firsts], keys.keys), len(firsts) - 1)
    start = firsts[run]
    many = np.where(other_keys[start] == keys.keys, np.diff(firsts, append=len(other_keys))[run], 0)
    if crowded := int((many > _CROWD).sum()):
        _LOG.info("%d keys are shared by more than %d texts; of each, the first %d count", crowded, _CROWD, _FEW)
    meets = np.flatnonzero(many > second[keys.owners])  # more than the text itself
    meets = meets[np.argsort(keys.owners[meets], kind="stable")]
    owners, start, many = keys.owners[meets], start[meets], many[meets]
    many[many > _CROWD] = _FEW
    found = [np.zeros(0, np.int64)]
    for part in _parts(many):
        times = many[part]
        offset = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        one, other = np.repeat(owners[part], times), other_owners[np.repeat(start[part], times) + offset]
        kept = _may_be_similar(hashed, one, other, threshold)
        found.append(_closest(hashed, one[kept].astype(np.int64), other[kept]))
    return np.divmod(np.unique(np.concatenate(found)), max(len(first), 1))


def _closest(hashed: HashedTexts, one: Ints, other: Owners) -> Ints:
    """The pairs without repetition, and of each ``one`` only the ``_MOST`` closest. A pair is ``one * texts + other``.

    A pair is given once for each key that the two texts share. The closest are those whose letters agree most, and
    among equal ones those that share most keys.
    """
    texts = len(hashed.letters)
    pairs, shared = np.unique(one * texts + other, return_counts=True)
    one, other = np.divmod(pairs, max(texts, 1))
    firsts = np.flatnonzero(np.diff(one, prepend=-1))
    sizes = np.diff(firsts, append=len(one))
    if sizes.max(initial=0) <= _MOST:
        return pairs
    turned = np.bitwise_count(hashed.parity[one] ^ hashed.parity[other])
    rank = np.arange(len(one)) - np.repeat(firsts, sizes)
    return pairs[np.lexsort([-shared, turned, one])[rank < _MOST]]


def _slots(keys: Hashes, shift: int) -> Ints:
    """The 22 bits of each key from bit ``shift`` on, as a place in a table."""
    return ((keys >> np.uint64(shift)) & np.uint64((1 << 22) - 1)).astype(np.int64)


def _may_be_similar(hashed: HashedTexts, one: Owners, other: Owners, threshold: float) -> Ints:
    """Which pairs can be as similar as the threshold asks for, judged by their letters' parities.

    An edit turns at most two bits of the parity over. It never makes another Han character of one.
    """
    edits = (1 - threshold) * np.maximum(hashed.letters[one], hashed.letters[other]) + EPSILON
    turned = np.bitwise_count(hashed.parity[one] ^ hashed.parity[other])
    fewer = np.abs(hashed.letters[one] - hashed.letters[other])
    kept = np.flatnonzero((one != other) & (turned <= 2 * np.floor(edits)) & (fewer <= edits))
    one, other, counts = one[kept], other[kept], hashed.counts
    return kept[(hashed.logograms[one] == hashed.logograms[other]) | (counts[one] != counts[other])]


def _parts(many: Ints) -> Iterator[slice]:
    """Slices of the keys that have about ``_PAIRS_AT_ONCE`` pairs each; ``many`` tells how many pairs each key has."""
    ends = np.cumsum(many)
    start = 0
    while start < len(many):
        before = ends[start - 1] if start else 0
        end = max(int(np.searchsorted(ends, before + _PAIRS_AT_ONCE, side="right")), start + 1)
        yield slice(start, end)
        start = end


def _frequency(words: Hashes) -> NDArray[np.int32]:
    """How often each word comes.

    It is counted by 20 bits of the words' hashes, so a few words are taken for more common than they are.
    """
    slots = (words >> np.uint64(44)).astype(np.int32)
    return np.bincount(slots, minlength=1).astype(np.int32)[slots]


def _rarest(
    hashed: HashedTexts, words: Hashes, frequency: NDArray[np.int32], threshold: float
) -> Iterator[tuple[Ints, Hashes]]:
    """Groups of texts with equally many words, and the rarest words of each, rarest first; shape (texts, 4 to 6).

    Only texts in which two letters may differ are there; if only one may, the other keys are enough. Take n = 2, 3 from
    nine words on, and 4 from 33 words on: among a text's n + 2 rarest words are the two rarest that it shares with any
    text that lacks at most n of its words. So two such texts have a pair of rare words in common.
    """
    counts = hashed.counts
    chosen = np.flatnonzero((counts >= 4) & ((1 - threshold) * hashed.letters + EPSILON >= 2 * threshold))
    chosen = chosen[np.argsort(counts[chosen], kind="stable")]
    # The rank of a word: its frequency, and then its hash, so that a word has the same rank in every text.
    rank = (np.minimum(frequency, 0xFFFFFF).astype(np.uint64) << np.uint64(40)) | (words >> np.uint64(24))
    for rows in np.split(chosen, np.flatnonzero(np.diff(counts[chosen])) + 1):
        if not len(rows):
            return
        size = int(counts[rows[0]])
        ranks = rank[hashed.starts[rows][:, None] + np.arange(size)]
        ranks.sort(axis=1)
        again = ranks[:, 1:] == ranks[:, :-1]
        if again.any():  # a word that comes twice counts once; what fills its place is a word that no other text has
            fill = rows[:, None].astype(np.uint64) + np.uint64(0xFF << 56)
            ranks[:, 1:] = np.where(again, fill, ranks[:, 1:])
            ranks.sort(axis=1)
        yield rows, ranks[:, : 4 if size < 9 else 5 if size <= _LONGEST else 6]


def _linked(hashed: HashedTexts) -> Hashes:
    """The words, but a character of a script without spaces together with the one before it: alone it says little."""
    result = hashed.words.copy()
    places = np.flatnonzero(hashed.unspaced)
    before = hashed.words[places - 1]
    before[np.isin(places, hashed.starts)] = 0
    result[places] = result[places] * _ODD + before
    return result
