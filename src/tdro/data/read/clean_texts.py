"""Whether the texts of a row are as they should be, at one look at all of them together.

Nearly all rows are, and a training set has millions: what is wrong with a text is only looked for where this look is
not sure that nothing is (:mod:`tdro.data.read.rows`). It may err in one way only, by doubting a row that is sound.
Rejected:
regular expressions over every text (six times the time of a table of bytes), and ``str.isprintable`` (four times, and a
line end fails it).
"""

from __future__ import annotations

import re
from typing import Any

from tdro.data.read.cells import LONGEST_NOTHING, is_nothing
from tdro.data.same_text import normalise

# All controls but tab, LF and CR; half a surrogate pair, which is no text; a BOM, which belongs before a file.
_CONTROLS = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff"
NO_TEXT = re.compile(f"[{_CONTROLS}]")
# UTF-8 that was read as Latin-1 or Windows-1252, where no language writes so; or text that was lost before.
MOJIBAKE = re.compile("Ã[¡-ºŒœŠšŽžŸƒ€‰¼-¿]|Â[¡-ª¬-¶¸-º¼-¿]|â€|(?:[ÐÑ][\u00a0-¿€-™Œ-ƒ]){3}|ï¿½|ï»¿|\ufffd")
_SUSPECT = re.compile(f"[{_CONTROLS}ÃÂ€ÐÑï\ufffd]")  # a character of each, in a tenth of the time of the two
# The same at a glance: controls, all that begins with C2, C3 or EF in UTF-8 (the "â" of "â€" does), and the brackets
# with which the text of a list begins, become 0.
_SUSPECT_BYTES = {*filter(NO_TEXT.match, map(chr, range(128))), "\xc2", "\xc3", "\xef", *"[({"}
_GLANCE = bytes(0 if chr(byte) in _SUSPECT_BYTES else byte for byte in range(256))
_NOT_ALNUM = bytes(byte for byte in range(128) if not chr(byte).isalnum())
_LOWER = bytes(range(256)).lower()
_OPENING = set("[({")
_BEGINNING = 32  # bytes of a text by which it is told from another
_HEAD = 60  # characters in which so many letters are looked for


def sound(texts: list[Any], longest: int) -> bool:
    """Whether a row's texts surely have nothing to mend or to tell: nearly always, in one look at all of them."""
    try:
        together = "\n".join(texts)
        encoded = together.encode()
    except (TypeError, UnicodeEncodeError):  # not a text; half a surrogate pair
        return False
    if len(together) > longest or [*map(str.strip, texts)] != texts:
        return False
    shortest = min(map(len, texts))
    if shortest <= LONGEST_NOTHING and (not shortest or any(map(is_nothing, texts))):
        return False
    if 0 in encoded.translate(_GLANCE):
        if not _OPENING.isdisjoint([text[0] for text in texts]):  # the text of a list?
            return False
        if _SUSPECT.search(together):
            return False
    return _begin_differently(texts, together) or different(texts)


def _begin_differently(texts: list[str], together: str) -> bool:
    """Whether the first three characters of the texts, all of which are ASCII, show that no two are the same.

    Of letters and digits, normalisation changes the case only.
    """
    first = {text[:3].lower() for text in texts}
    return len(first) == len(texts) and together.isascii() and "".join(first).isalnum()


def different(texts: list[str]) -> bool:
    """Whether no two of the texts are the same once they are normalised; surely so, if true."""
    # Mostly their beginnings tell them apart; but those of one page may all begin with its title.
    return any(len({*map(key, texts)}) == len(texts) for key in (_beginning, _letters))


def _beginning(text: str) -> bytes:
    """A text's first 32 bytes without ASCII's case, spaces and punctuation: equal wherever the normalised texts are."""
    end = text.find(" ", _HEAD)  # what comes after a space does not change how the text before it is normalised
    letters = _letters(text[:end]) if end > 0 else b""
    return (letters if len(letters) >= _BEGINNING else _letters(text))[:_BEGINNING]


def _letters(text: str) -> bytes:
    """A text's letters and digits, and what is not ASCII between them; nothing of a text that has none."""
    if not text.isascii():
        text = normalise(text)
        if not text[:1].isalnum():
            return b""
    return text.encode().translate(_LOWER, _NOT_ALNUM)
