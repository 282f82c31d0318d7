"""When two passages are the same answer in another wrapping, so that one cannot be a negative where the other is a
positive.

The same answer may come with its title before it, cut at either end, inside a longer passage, or with other spaces and
quotation marks. For the positive ``Limpets scrape algae off the rocks.`` all of these are the same answer:

    Patella vulgata: Limpets scrape algae off the rocks.     one stands in the other
    limpets scrape  algae off the ro                         … cut short
    Patella vulgata - Limpets scrape algae off th…           the end of one is the start of the other

The two must share a minimum, or every passage with "Paris" in it would be an answer wherever "Paris" is one:

- a text of 1 or 2 words, or of fewer than 12 letters ("the red lamp"), is the same answer as an equal text only;
- one of 3 to 5 words must stand in the other word for word;
- from 6 words on spaces do not count, the last word may be cut, and the end of one may be the start of the other if
  that is at least half of the shorter one (and 12 letters).

In scripts without spaces, two neighbouring characters count as a word. See docs/decisions.md, same-answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tdro.data.same_text import normalise
from tdro.data.search_words import tokens, unspaced

LETTERS = 12  # that two texts share at least, unless they are equal,
_FEWEST = 3  # and words of a text that stands in another word for word,
_LONG = 6  # or in any spacing, and perhaps cut

_QUOTES = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032`´", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033«»", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff\u200e\u200f"),  # soft hyphens, spaces of no width
    }
)


_LOWER = bytes(range(256)).lower()
_SPACES = bytes(byte for byte in range(128) if chr(byte).isspace())
_NOT_ALNUM = bytes(byte for byte in range(128) if not chr(byte).isalnum())


def count_copies(texts: Iterable[str], answers: Sequence[str]) -> int:
    """How many of the texts are the same answer as one of ``answers``. All are given as they stand in a row.

    Nearly every pair is told apart by 12 letters of texts that are cheap to make; only the others are compared by
    :func:`same_answer`.
    """
    known = [(answer, found, found[:LETTERS]) for answer in answers for found in (_compact_of(answer),)]
    count = 0
    for text in texts:
        own = _compact_of(text)
        beginning = own[:LETTERS]
        for answer, found, its_beginning in known:
            if (its_beginning in own or beginning in found) and same_answer(normalise(text), normalise(answer)):
                count += 1
                break
    return count


def same_answer(one: str, other: str) -> bool:
    """Whether two normalised texts (:func:`tdro.data.same_text.normalise`) are one answer; the rule is above."""
    shorter, longer = sorted((compact(one), compact(other)), key=len)
    if shorter == longer:
        return True
    if shorter[:LETTERS] not in longer and longer[:LETTERS] not in shorter:  # what they share begins one of them
        return False
    one, other = sorted((_plain(one), _plain(other)), key=len)
    words = len(tokens(one))
    if words < _LONG:
        return words >= _FEWEST and len(shorter) >= LETTERS and _stands_in(one, other)
    least = max((len(shorter) + 1) // 2, LETTERS)
    return shorter in longer or _continues(shorter, longer, least) or _continues(longer, shorter, least)


def _compact_of(text: str) -> str:
    """``compact(normalise(text))``, which takes a fifth of the time for a text in ASCII."""
    if not text.isascii():
        return compact(normalise(text))
    letters = text.encode().translate(_LOWER, _SPACES)
    return (letters.strip(_NOT_ALNUM) or letters).decode()


def compact(text: str) -> str:
    """A normalised text without its spaces and with plain quotation marks: what is compared of long texts."""
    return _plain(text).replace(" ", "")


def _plain(text: str) -> str:
    return text if text.isascii() else text.translate(_QUOTES)


def _stands_in(part: str, whole: str) -> bool:
    """Whether a text stands in another word for word."""
    place = whole.find(part)
    while place >= 0:
        if _parts_words(whole, place) and _parts_words(whole, place + len(part)):
            return True
        place = whole.find(part, place + 1)
    return False


def _parts_words(text: str, place: int) -> bool:
    """Whether no word goes on across a place in the text."""
    if not 0 < place < len(text):
        return True
    before, after = text[place - 1], text[place]
    return not (before.isalnum() and after.isalnum()) or unspaced(before) or unspaced(after)


def _continues(first: str, second: str, least: int) -> bool:
    """Whether the end of the first text is the start of the second, for at least so many characters."""
    start = second[:least]
    place = first.find(start) if len(start) == least else -1
    while place >= 0:
        if second.startswith(first[place:]):
            return True
        place = first.find(start, place + 1)
    return False
