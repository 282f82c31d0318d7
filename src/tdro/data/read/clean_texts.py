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

import numpy as np

from tdro.data.read.cells import LONGEST_NOTHING, is_nothing
from tdro.data.same_text import normalise

# All control characters but tab, LF and CR; half of a surrogate pair; a BOM, which belongs at the start of a file.
_CONTROLS = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff"
NO_TEXT = re.compile(f"[{_CONTROLS}]")
# UTF-8 that was read as Latin-1 or Windows-1252, as no language writes; and U+FFFD, which stands for lost text.
MOJIBAKE = re.compile("Ã[¡-ºŒœŠšŽžŸƒ€‰¼-¿]|Â[¡-ª¬-¶¸-º¼-¿]|â€|(?:[ÐÑ][\u00a0-¿€-™Œ-ƒ]){3}|ï¿½|ï»¿|\ufffd")
# Every match of the two patterns above has one of these characters, so a text without them matches neither. Searching
# for them takes a tenth of the time.
_SUSPECT = re.compile(f"[{_CONTROLS}ÃÂ€ÐÑï\ufffd]")
# Every match has one of these bytes in UTF-8 (of "â€" it is that of the "â"), or is a control character below the
# space. To look for bytes is faster still.
_SUSPECT_BYTES = (b"\xc2", b"\xc3", b"\xef", b"\x7f")
_LOWER = bytes(range(256)).lower()
_NOT_ALNUM = bytes(byte for byte in range(128) if not chr(byte).isalnum())
_NOT_ALNUM_OR_NUL = _NOT_ALNUM.replace(b"\0", b"")
_OPENING = set("[({")  # with which a list begins that was written as text
_SPACE = 32  # smaller bytes are control characters, of which these three are fine in a text
_WHITESPACE = b"\n\t\r"
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
    if [*map(str.strip, texts)] != texts or (len(together) > longest and max(map(len, texts)) > longest):
        return False
    shortest = min(map(len, texts))
    if shortest <= LONGEST_NOTHING and (not shortest or any(map(is_nothing, texts))):
        return False
    if _has_control(encoded, len(texts) - 1):
        return False
    if (b"[" in encoded or b"(" in encoded or b"{" in encoded) and _begins_with_bracket(texts):
        return False
    if any(map(encoded.__contains__, _SUSPECT_BYTES)) and _SUSPECT.search(together):
        return False
    return (together.isascii() and _begin_differently(texts, rows)) or all(map(surely_differ, rows))


def _has_control(encoded: bytes, lines: int) -> bool:
    """Whether there is a control character of ASCII below the space, other than a tab or the end of a line.

    ``lines`` is how many ends of lines are certainly there. If there are no more such characters, none is another.
    """
    array = np.frombuffer(encoded, np.uint8)
    controls = array < _SPACE
    if np.count_nonzero(controls) == lines:
        return False
    return bool(array[controls].tobytes().translate(None, _WHITESPACE))


def _begins_with_bracket(texts: list[str]) -> bool:
    """Whether one of the texts may be a list that was written as text."""
    return not _OPENING.isdisjoint([text[:1] for text in texts])


def _begin_differently(texts: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first 32 letters and digits, in the first 60 characters, tell all texts of each row apart.

    Normalisation changes only the case of these letters, so texts with other letters are different.

    Args:
        texts: those of all rows, all in ASCII and without NUL characters.
        rows: the same, row by row.
    """
    heads = "\0".join([text[:_HEAD] for text in texts]).encode()
    letters = [head[:_BEGINNING] for head in heads.translate(_LOWER, _NOT_ALNUM_OR_NUL).split(b"\0")]
    if min(map(len, letters)) < _BEGINNING and any(map(_is_undecided, texts, letters)):
        return False
    if len({*letters}) == len(letters):
        return True
    place = iter(letters)
    return all(len({*islice(place, len(row))}) == len(row) or surely_differ(row) for row in rows)


def _is_undecided(text: str, letters: bytes) -> bool:
    """Whether a text may have more letters than the too few that were found in its first characters."""
    return len(letters) < _BEGINNING and len(text) > _HEAD


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
