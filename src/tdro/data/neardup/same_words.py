"""Decides whether the words in which two texts differ make two questions of them.

The letters alone cannot tell: "capital of Iran" and "capital of Iraq" agree as much as a text and its typing error. So
the words that both texts have are taken away, and the others decide.

It is the same question if the texts differ only by

- typing errors: a word and one that is a single slip away, that is with one letter more, fewer or other, or two letters
  exchanged ("capital", "captial"). One of the two must be a word that hardly anybody else writes; if both are known,
  they are two words (:func:`is_slip`);
- added function words: common and short ones before another word (:func:`is_function_word`), and no negation. Most
  languages have few negations; they are listed here;
- spacing ("e mail", "email");
- the order of the words ("remaining time", "time remaining");
- in a script without spaces, where each character counts as a word: one character that is missing or double, or one
  letter of an alphabet for another (hiragana, Thai, Khmer, …).

It is another question if

- a number or a symbol differs ("c#", "<=");
- a word is exchanged for another one, or one Han character or katakana for another;
- two words changed places around others ("from Rome to Oslo", "from Oslo to Rome").

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

# A word is a typing error of another word if at most _RARE texts have it, _SURE times as many have the other word, and
# the longer of the two has at least _SHORTEST_SURE letters. If the other word is not so frequent, only one text may
# have the typing error, and the longer of the two must have at least _SHORTEST letters, because many short words are
# one letter away from another.
_RARE, _SURE, _SHORTEST_SURE = 2, 100, 3
_SHORTEST = 5
_KNOWN = 4  # if so many texts have a word, a rare word may be its typing error even in the first letter
_COMMON, _COMMON_TEXTS = 0.005, 20  # a function word is in at least this share of the texts, and in so many of them
_FUNCTION_LETTERS = 4  # a function word has at most so many letters
_LONGEST_EXCHANGED = 8  # runs of at most so many words are recognised when they change places


def _words(listed: str) -> frozenset[str]:
    """The words of a list that is written as one string."""
    return frozenset(listed.split())


_NEGATIONS = _words(
    "no not non never without nor cannot nicht kein keine nie ohne ne pas sans jamais sin nunca jamás sem não senza "
    "mai niet geen zonder inte ej ikke ikkje bez не нет ни без ні немає δεν μη μην χωρίς لا لم لن ليس غير بدون "
    "לא אין בלי नहीं मत बिना 안 못 değil không chưa tidak bukan tanpa 不 未 非 没 沒 無 无 否 別 别 勿 莫"
)
# Words around which an exchange changes nothing: "cats and dogs", "dogs and cats".
_EITHER_WAY = _words("and or und oder et ou y e och og и или і ve vs versus 和 与 與 或 と や 및")


class Difference(NamedTuple):
    """What remains of two texts without the words that they share.

    Attributes:
        slips: pairs of a word of the one text and a word of the other, which are one slip apart.
        added: the words that only one of the texts has.
        edits: how many letters must be changed, added or taken away.
        letters: how many letters the longer text has.
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
        """All words whose frequency matters."""
        return (*(word for slip in self.slips for word in slip), *self.added)


def difference(one: Sequence[str], other: Sequence[str]) -> Difference | None:
    """The difference of two texts, given as their words; None if it makes two questions of them.

    Whether slips and added words are allowed depends on how frequent they are, which the caller must check:
    :func:`is_slip` and :func:`is_function_word`.
    """
    joined, other_joined = "".join(one), "".join(other)
    letters = max(len(joined), len(other_joined))
    if joined == other_joined and len(one) != len(other):
        return Difference((), (), 1, letters)
    middle, other_middle = _between_common_ends(one, other)
    left, right = _left_over(middle, other_middle)
    if not left and not right and _changed_places(middle, other_middle):
        return None
    character_slips: int | None = 0
    plain = joined.isascii() and other_joined.isascii()
    if not plain:
        character_slips = _character_slips(left, right)
        left, right = ([word for word in words if not unspaced(word)] for words in (left, right))
    if character_slips is None or not all(map(_has_letters_only, left)) or not all(map(_has_letters_only, right)):
        return None
    slips, added = _paired(left, right)
    if added and (one if len(one) > len(other) else other)[-1] in added:
        return None  # a function word stands before another word; the last word of "hepatitis A" is none
    if slips is None or (not plain and any(map(unspaced, one)) and _overlap(one, other) < 0.5):
        return None
    return Difference(slips, added, character_slips + len(slips) + sum(map(len, added)), letters)


def is_slip(one: str, other: str, count: int, other_count: int) -> bool:
    """Whether one of two words, which are one slip apart, is a typing error of the other.

    Args:
        one: a word.
        other: a word that is one slip away.
        count: how many texts have ``one``.
        other_count: how many texts have ``other``.
    """
    rare, known = sorted((count, other_count))
    letters = max(len(_decomposed(one)), len(_decomposed(other)))
    if rare <= _RARE and known >= _SURE * rare:
        return letters >= _SHORTEST_SURE
    # If both are rare, the first letter must agree: typing errors are seldom there, and other words often are.
    return rare == 1 and letters >= _SHORTEST and (known >= _KNOWN or one[0] == other[0])


def is_function_word(word: str, count: int, texts: int) -> bool:
    """Whether a word, which ``count`` of the texts have, can be left out without changing the question."""
    common = count >= max(_COMMON * texts, _COMMON_TEXTS)
    return common and len(word) <= _FUNCTION_LETTERS and word not in _NEGATIONS


def _between_common_ends(one: Sequence[str], other: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What is left of both when their common beginning and their common end are taken away."""
    start, end, other_end = 0, len(one), len(other)
    shorter = min(end, other_end)
    while start < shorter and one[start] == other[start]:
        start += 1
    while end > start and other_end > start and one[end - 1] == other[other_end - 1]:
        end, other_end = end - 1, other_end - 1
    return one[start:end], other[start:other_end]


def _left_over(one: Sequence[str], other: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that only the one has, and those that only the other has. A word that comes twice counts twice."""
    if len(one) > 50:
        count, other_count = Counter(one), Counter(other)
        return list((count - other_count).elements()), list((other_count - count).elements())
    left, right = list(one), []
    for word in other:  # for a few words ten times as fast as the counters
        if word in left:
            left.remove(word)
        else:
            right.append(word)
    return left, right


def _changed_places(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two words, or runs of words, of the one stand exchanged in the other, around words that stay.

    Numbers in another order count too ("version 1.0", "version 0.1"). Both have the same words, and neither a common
    beginning nor a common end.
    """
    if [word for word in one if word[0].isdigit()] != [word for word in other if word[0].isdigit()]:
        return True
    for first in range(1, min(_LONGEST_EXCHANGED, len(one) - 2) + 1):
        if one[:first] == other[-first:]:
            for last in range(1, min(_LONGEST_EXCHANGED, len(one) - first - 1) + 1):
                if one[-last:] == other[:last] and one[first:-last] == other[last:-first]:
                    return _EITHER_WAY.isdisjoint(one[first:-last])
    return False


def _has_letters_only(word: str) -> bool:
    """Whether a word has no number and no symbol in it. A word that has some is never a typing error."""
    return word.isalpha() or all(unicodedata.category(character)[0] in "LM" for character in word)


def _character_slips(left: Sequence[str], right: Sequence[str]) -> int | None:
    """How many characters of scripts without spaces are typing errors: 0 or 1; None if they make another question."""
    one, other = [w for w in left if unspaced(w)], [w for w in right if unspaced(w)]
    if len(one) + len(other) <= 1:
        return None if one + other and (one + other)[0] in _NEGATIONS else len(one) + len(other)
    phonetic = all(not unicodedata.name(word, "").startswith(("CJK", "KATAKANA")) for word in one + other)
    return 1 if len(one) == len(other) == 1 and phonetic else None


def _overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """The share of pairs of neighbouring words that both have (Dice).

    It is for scripts without spaces: a character says little alone, so the order must count.
    """
    pairs, others = Counter(pairwise(one)), Counter(pairwise(other))
    total = pairs.total() + others.total()
    return 2 * (pairs & others).total() / total if total else 1.0


def _paired(left: list[str], right: list[str]) -> tuple[tuple[tuple[str, str], ...] | None, tuple[str, ...]]:
    """Pair each word of the shorter side with a word of the longer side that is one slip away.

    Returns:
        The pairs (None if a word has no partner), and the words of the longer side that are left.
    """
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
    """Whether two words are a single slip apart."""
    one, other = _decomposed(one), _decomposed(other)
    if abs(len(one) - len(other)) > 1 or (one[0] != other[0] and one[-1] != other[-1]):
        return False  # a slip leaves one of the two ends alone
    return OSA.distance(one, other, score_cutoff=1) <= 1


def _decomposed(word: str) -> str:
    """The word with its accents as characters of their own (NFD)."""
    return word if word.isascii() else unicodedata.normalize("NFD", word)
