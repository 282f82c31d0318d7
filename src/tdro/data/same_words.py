"""How the words of two texts differ, and whether that makes another question of one.

A similarity of letters says 0.9 to "capital of Iran" and "capital of Iraq" as to a typing error. So the words are
paired, and what is left over on either side decides:

- a word against one that is a single slip away (a letter more, less, other, or two exchanged) may be a typing error.
  It is one if nobody else writes it: both words known means two words (:func:`is_slip`);
- words left over on one side were added. Only function words may be, which the caller counts;
- words that differ by their spacing alone ("e mail", "email") are the same;
- a number or a symbol ("c#", "<=") differs: another question. A word exchanged for another: another question;
- in a script without spaces a word is a character. One may be missing or double, and one letter of an alphabet (kana
  but no katakana, Thai, Khmer, …) another; one Han character for another is another word.

The order of the words does not count: "flights from Rome to Oslo" and "from Oslo to Rome" are held for the same.
Letters are compared decomposed (NFD), so that an accent, or one of the letters in a Korean syllable, is one slip.
Rejected: lists of stop words and names (languages without end), a language model (another model's mistakes, and
minutes), rapidfuzz's token ratios (they weigh a changed name by its letters).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from rapidfuzz.distance import OSA

from tdro.data.words import unspaced

_RARE = 2  # how often a slip is written at most; who writes it more often means it
_KNOWN = 4  # how much more often the right word is, to be known as such
_SHORTEST = 5  # letters of a word with a slip; of a shorter one too many others are a slip away


class Difference(NamedTuple):
    """What remains of two texts without the words that they share.

    Attributes:
        slips: words of the one and of the other text that are a slip apart.
        added: words that one text has more.
        edits: letters to change, add or take away.
        letters: of the longer text.
    """

    slips: tuple[tuple[str, str], ...]
    added: tuple[str, ...]
    edits: int
    letters: int

    @property
    def similarity(self) -> float:
        """The share of the letters that agree."""
        return 1 - self.edits / max(self.letters, 1)

    @property
    def words(self) -> tuple[str, ...]:
        """All words that the judgement depends on."""
        return (*(word for slip in self.slips for word in slip), *self.added)


def difference(one: Sequence[str], other: Sequence[str]) -> Difference | None:
    """The difference of two texts' words, or None where it makes two questions of them."""
    joined, other_joined = "".join(one), "".join(other)
    letters = max(len(joined), len(other_joined))
    if joined == other_joined and len(one) != len(other):
        return Difference((), (), 1, letters)
    left, right = _left_over(one, other)
    characters: int | None = 0
    plain = joined.isascii() and other_joined.isascii()
    if not plain:
        characters = _characters(left, right)
        left, right = ([word for word in words if not unspaced(word)] for words in (left, right))
    if characters is None or not all(map(_lettered, left)) or not all(map(_lettered, right)):
        return None
    slips, added = _paired(left, right)
    if slips is None or (not plain and any(map(unspaced, one)) and _overlap(one, other) < 0.5):
        return None
    return Difference(slips, added, characters + len(slips) + sum(map(len, added)), letters)


def is_slip(one: str, other: str, count: int, other_count: int) -> bool:
    """Whether one of two words, a slip apart, is no word of its own, judged by how often both are written."""
    rare, common = sorted((count, other_count))
    if rare > _RARE or max(len(_decomposed(one)), len(_decomposed(other))) < _SHORTEST:
        return False
    # Where both are rare, the first letter must agree: few slips are there, and many other words begin otherwise.
    return common >= _KNOWN * rare or one[0] == other[0]


def _left_over(one: Sequence[str], other: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that the one has more than the other, and the other way round."""
    if len(one) > 50:
        count, other_count = Counter(one), Counter(other)
        return list((count - other_count).elements()), list((other_count - count).elements())
    left, right = list(one), []
    for word in other:  # ten times as fast as the counters for a few words
        if word in left:
            left.remove(word)
        else:
            right.append(word)
    return left, right


def _lettered(word: str) -> bool:
    """Whether a word has no number or symbol in it; one that has allows no slip."""
    return word.isalpha() or all(unicodedata.category(character)[0] in "LM" for character in word)


def _characters(left: Sequence[str], right: Sequence[str]) -> int | None:
    """How many characters of scripts without spaces are slips, or None if they are more than that."""
    one, other = [w for w in left if unspaced(w)], [w for w in right if unspaced(w)]
    if len(one) + len(other) <= 1:
        return len(one) + len(other)
    phonetic = all(not unicodedata.name(word, "").startswith(("CJK", "KATAKANA")) for word in one + other)
    return 1 if len(one) == len(other) == 1 and phonetic else None


def _overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """The share of neighbouring words that both have (Dice). Of characters, the order must count for something."""
    pairs, others = Counter(pairwise(one)), Counter(pairwise(other))
    total = pairs.total() + others.total()
    return 2 * (pairs & others).total() / total if total else 1.0


def _paired(left: list[str], right: list[str]) -> tuple[tuple[tuple[str, str], ...] | None, tuple[str, ...]]:
    """Each word of the shorter side with one of the longer, and what is left of that; None if a word has no partner."""
    turned = len(left) > len(right)
    short, long = (right, list(left)) if turned else (left, list(right))
    slips: list[tuple[str, str]] = []
    for word in short:
        partner = next((candidate for candidate in long if _one_slip(word, candidate)), None)
        if partner is None:
            return None, ()
        long.remove(partner)
        slips.append((partner, word) if turned else (word, partner))
    return tuple(slips), tuple(long)


def _one_slip(one: str, other: str) -> bool:
    if abs(len(one) - len(other)) > 1 and one.isascii() and other.isascii():
        return False
    return OSA.distance(_decomposed(one), _decomposed(other), score_cutoff=1) <= 1


def _decomposed(word: str) -> str:
    return word if word.isascii() else unicodedata.normalize("NFD", word)
