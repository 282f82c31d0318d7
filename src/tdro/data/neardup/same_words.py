"""Decides whether the words in which two texts differ make two questions of them.

The letters alone cannot say it: "capital of Iran" and "capital of Iraq" agree as much as a text and its typing error.
So the words of the texts are paired, and those that are left over decide:

- a word against one that is a single slip away (a letter more, less, other, or two exchanged) may be a typing error.
  It is one if hardly anybody else writes it: both words known means two words (:func:`is_slip`);
- words left over on one side were added. Only function words may be, common and short ones before another word
  (:func:`is_function_word`), and no negation: most languages have few, and here they are listed;
- words that differ by their spacing alone ("e mail", "email") are the same;
- a number or a symbol ("c#", "<=") differs: another question. A word exchanged for another: another question;
- the order does not count ("remaining time", "time remaining"), but two words that changed places around others do
  ("from Rome to Oslo", "from Oslo to Rome");
- in a script without spaces a word is a character. One may be missing or double, and one letter of an alphabet (kana
  but no katakana, Thai, Khmer, …) another; one Han character for another is another word.

Letters are compared decomposed (NFD), so that an accent, or one of the letters in a Korean syllable, is one slip.
See docs/decisions.md, same-words.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from rapidfuzz.distance import OSA

from tdro.data.neardup.words import unspaced

# A word is a typing error of another one if at most _RARE texts have it, _SURE times as many have the other, and the
# longer of the two has at least _SHORTEST_SURE letters. Otherwise only one text may have it, and the longer must have
# at least _SHORTEST letters, for many words are one letter away from a shorter one.
_RARE, _SURE, _SHORTEST_SURE = 2, 100, 3
_SHORTEST = 5
_KNOWN = 4  # a word that so many texts have is known: a rare word may be its slip even in the first letter
_COMMON, _COMMON_TEXTS = 0.005, 20  # a function word is in at least this share of the texts, and in so many of them
_FUNCTION_LETTERS = 4  # a function word has at most so many letters
_LONGEST_EXCHANGED = 8  # runs of at most so many words are recognised when they change places


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NOT = _set(
    "no not non never without nor cannot nicht kein keine nie ohne ne pas sans jamais sin nunca jamás sem não senza "
    "mai niet geen zonder inte ej ikke ikkje bez не нет ни без ні немає δεν μη μην χωρίς لا لم لن ليس غير بدون "
    "לא אין בלי नहीं मत बिना 안 못 değil không chưa tidak bukan tanpa 不 未 非 没 沒 無 无 否 別 别 勿 莫"
)
_EITHER_WAY = _set("and or und oder et ou y e och og и или і ve vs versus 和 与 與 或 と や 및")


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
    middle, other_middle = _between_common_ends(one, other)
    left, right = _left_over(middle, other_middle)
    if not left and not right and _changed_places(middle, other_middle):
        return None
    characters: int | None = 0
    plain = joined.isascii() and other_joined.isascii()
    if not plain:
        characters = _characters(left, right)
        left, right = ([word for word in words if not unspaced(word)] for words in (left, right))
    if characters is None or not all(map(_lettered, left)) or not all(map(_lettered, right)):
        return None
    slips, added = _paired(left, right)
    if added and (one if len(one) > len(other) else other)[-1] in added:
        return None  # an article or a preposition stands before a word; "hepatitis A" has another letter
    if slips is None or (not plain and any(map(unspaced, one)) and _overlap(one, other) < 0.5):
        return None
    return Difference(slips, added, characters + len(slips) + sum(map(len, added)), letters)


def is_slip(one: str, other: str, count: int, other_count: int) -> bool:
    """Whether one of two words, a slip apart, is no word of its own, judged by the number of texts that have each."""
    rare, known = sorted((count, other_count))
    letters = max(len(_decomposed(one)), len(_decomposed(other)))
    if rare <= _RARE and known >= _SURE * rare:
        return letters >= _SHORTEST_SURE
    # Where both are rare, the first letter must agree: few slips are there, and many other words begin otherwise.
    return rare == 1 and letters >= _SHORTEST and (known >= _KNOWN or one[0] == other[0])


def is_function_word(word: str, count: int, texts: int) -> bool:
    """Whether a word that ``count`` of the texts have can be left out, so that the question stays."""
    common = count >= max(_COMMON * texts, _COMMON_TEXTS)
    return common and len(word) <= _FUNCTION_LETTERS and word not in _NOT


def _between_common_ends(one: Sequence[str], other: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The words of each between those with which both begin and those with which both end."""
    start, end, other_end = 0, len(one), len(other)
    shorter = min(end, other_end)
    while start < shorter and one[start] == other[start]:
        start += 1
    while end > start and other_end > start and one[end - 1] == other[other_end - 1]:
        end, other_end = end - 1, other_end - 1
    return one[start:end], other[start:other_end]


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


def _changed_places(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two words, or runs of words, of the one stand exchanged in the other, around others that stay.

    So do numbers in another order ("version 1.0", "version 0.1"). The two have the same words, none of them in common
    at the beginning or the end.
    """
    if [word for word in one if word[0].isdigit()] != [word for word in other if word[0].isdigit()]:
        return True
    for first in range(1, min(_LONGEST_EXCHANGED, len(one) - 2) + 1):
        if one[:first] == other[-first:]:
            for last in range(1, min(_LONGEST_EXCHANGED, len(one) - first - 1) + 1):
                if one[-last:] == other[:last] and one[first:-last] == other[last:-first]:
                    return _EITHER_WAY.isdisjoint(one[first:-last])
    return False


def _lettered(word: str) -> bool:
    """Whether a word has no number or symbol in it; one that has allows no slip."""
    return word.isalpha() or all(unicodedata.category(character)[0] in "LM" for character in word)


def _characters(left: Sequence[str], right: Sequence[str]) -> int | None:
    """How many characters of scripts without spaces are slips, or None if they are more than that."""
    one, other = [w for w in left if unspaced(w)], [w for w in right if unspaced(w)]
    if len(one) + len(other) <= 1:
        return None if one + other and (one + other)[0] in _NOT else len(one) + len(other)
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
    one, other = _decomposed(one), _decomposed(other)
    if abs(len(one) - len(other)) > 1 or (one[0] != other[0] and one[-1] != other[-1]):
        return False  # a slip leaves one of the two ends alone
    return OSA.distance(one, other, score_cutoff=1) <= 1


def _decomposed(word: str) -> str:
    return word if word.isascii() else unicodedata.normalize("NFD", word)
