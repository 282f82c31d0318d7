"""Tell fast whether rows need no cleaning, by looking at the texts of all of them together.

Nearly all rows need none, and a training set has millions. So :mod:`tdro.data.read.rows` first asks here, for 64 rows
at once, and cleans text by text only where the answer is no. The answer may be no for rows that are fine, but
never yes if one is not. See docs/decisions.md, clean-at-a-glance.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

from tdro.data.read.cells import LONGEST_NOTHING, NOTHING, is_nothing
from tdro.data.same_text import normalise

# All control characters but tab, LF and CR; half of a surrogate pair; a BOM, which belongs at the start of a file.
_CONTROLS = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff"
NO_TEXT = re.compile(f"[{_CONTROLS}]")
# UTF-8 that was read as Latin-1 or Windows-1252, as no language writes; and U+FFFD, which stands for lost text.
MOJIBAKE = re.compile("Ã[¡-ºŒœŠšŽžŸƒ€‰¼-¿]|Â[¡-ª¬-¶¸-º¼-¿]|â€|(?:[ÐÑ][\u00a0-¿€-™Œ-ƒ]){3}|ï¿½|ï»¿|\ufffd")
# Every match of the two patterns above has one of these characters, so a text without them matches neither. Searching
# for them takes a tenth of the time.
_SUSPECT = re.compile(f"[{_CONTROLS}ÃÂ€ÐÑï\ufffd]")
# Faster still is this table, which turns suspect bytes into 0. They are the control characters of ASCII; the bytes C2,
# C3 and EF, with which every other suspect begins in UTF-8 (of "â€" it is the "â"); and the opening brackets, with
# which a list begins that was written as text.
_SUSPECT_BYTES = {*filter(NO_TEXT.match, map(chr, range(128))), "\xc2", "\xc3", "\xef", *"[({"}
_GLANCE = bytes(0 if chr(byte) in _SUSPECT_BYTES else byte for byte in range(256))
_NOT_ALNUM = bytes(byte for byte in range(128) if not chr(byte).isalnum())
_LOWER = bytes(range(256)).lower()
_OPENING = set("[({")
_NOT_ALNUM_OR_LINE = _NOT_ALNUM.replace(b"\n", b"")
# For short texts in ASCII, one table does both: it marks suspects (control characters by 0, opening brackets by 1), and
# leaves of all others the letters and digits.
_BRACKET = b"\1"
_MARKS = bytes(1 if chr(byte) in _OPENING else _GLANCE[byte] and _LOWER[byte] for byte in range(256))
_UNMARKED = bytes(byte for byte in _NOT_ALNUM_OR_LINE if _MARKS[byte] > 1)
_NOTHING_LETTERS = {word.encode().translate(_LOWER, _NOT_ALNUM) for word in ("", *NOTHING)}
_SHORT = 600  # bytes of a row's texts together, up to which it is fastest to compare all their letters
_FIRST = 20  # else so many letters of each text are compared; more than any word for an empty cell has
_BEGINNING = 32  # bytes; texts that differ in their first letters so far are different
_HEAD = 60  # characters among which these letters are usually found


def are_clean(rows: Sequence[Sequence[Any]], longest: int) -> bool:
    """Whether the texts of some rows are certainly fine.

    That is: there is nothing to repair or to report, and no two texts of a row are the same (those of different rows
    may be). For example, ``are_clean([["what purrs", "A cat."], ["what barks", "A dog."]], 100)`` is True.

    Args:
        rows: all texts of each row.
        longest: a text of more characters is not fine.
    """
    texts = [*chain.from_iterable(rows)]
    try:
        together = "\n".join(texts)
        encoded = together.encode()
    except (TypeError, UnicodeEncodeError):  # one is not a text, or has half of a surrogate pair
        return False
    if max(map(len, texts)) > longest or [*map(str.strip, texts)] != texts:
        return False
    if len(encoded) <= _SHORT * len(rows) and together.isascii():
        marked = encoded.translate(_MARKS, _UNMARKED)
        if 0 in marked or (1 in marked and _begins_with_bracket(texts)):
            return False
        letters = marked.replace(_BRACKET, b"").split(b"\n")  # not as many as texts, if one has several lines
    else:
        if 0 in encoded.translate(_GLANCE) and (_begins_with_bracket(texts) or _SUSPECT.search(together)):
            return False
        letters = _first_letters(texts) if together.isascii() else []
    if len(letters) == len(texts) and _NOTHING_LETTERS.isdisjoint(letters) and _all_differ(letters, rows):
        return True
    shortest = min(map(len, texts))
    if shortest <= LONGEST_NOTHING and (not shortest or any(map(is_nothing, texts))):
        return False
    return all(map(surely_differ, rows))


def _all_differ(letters: Sequence[bytes], rows: Sequence[Sequence[str]]) -> bool:
    """Whether no two texts of a row have the same letters, which are given for all texts of all rows."""
    if len({*letters}) == len(letters):
        return True
    place = iter(letters)
    return all(len({*islice(place, len(texts))}) == len(texts) for texts in rows)


def _begins_with_bracket(texts: list[str]) -> bool:
    """Whether one of the texts may be a list that was written as text."""
    return not _OPENING.isdisjoint([text[:1] for text in texts])


def _first_letters(texts: list[str]) -> list[bytes]:
    """The first 20 letters and digits of each text, in lower case, which are looked for in its first 60 characters.

    Normalisation changes only the case of these letters, so texts with other letters are different. The list has
    another length than ``texts`` if the letters do not show that: a text has several lines there, or too few letters
    (``* * * * …``).

    Args:
        texts: all in ASCII.
    """
    heads = "\n".join([text[:_HEAD] for text in texts]).encode()
    letters = [found[:_FIRST] for found in heads.translate(_LOWER, _NOT_ALNUM_OR_LINE).split(b"\n")]
    if min(map(len, letters)) < _FIRST and any(map(_is_undecided, texts, letters)):
        return []
    return letters


def _is_undecided(text: str, letters: bytes) -> bool:
    """Whether a text may have more letters than the too few that were found in its first characters."""
    return len(letters) < _FIRST and len(text) > _HEAD


def surely_differ(texts: Sequence[str]) -> bool:
    """Whether it is certain that no two of the texts are the same after normalisation; if not, compare them."""
    # Usually the beginnings differ. But the passages of one page may all begin with its title.
    return any(len({*map(key, texts)}) == len(texts) for key in (_beginning, _letters))


def _beginning(text: str) -> bytes:
    """A text's first 32 bytes without ASCII's case, spaces and punctuation. Equal if the normalised texts are equal."""
    end = text.find(" ", _HEAD)  # what comes after a space does not change how the text before it is normalised
    letters = _letters(text[:end]) if end > 0 else b""
    return (letters if len(letters) >= _BEGINNING else _letters(text))[:_BEGINNING]


def _letters(text: str) -> bytes:
    """A text's letters, digits and non-ASCII characters as bytes, in lower case; empty if it has no letter or digit."""
    if not text.isascii():
        text = normalise(text)
        if not text[:1].isalnum():
            return b""
    return text.encode().translate(_LOWER, _NOT_ALNUM)
