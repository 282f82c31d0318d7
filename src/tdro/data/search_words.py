"""The words of a text that BM25 counts, by one rule for every language.

Mining of hard negatives and the BM25 baseline both use it. See docs/decisions.md, search-words.
"""

from __future__ import annotations

import re

# Scripts without spaces between words (and Hangul, whose words have endings). Pairs of neighbouring characters are
# counted in place of their words.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
# A word keeps its combining marks (Hindi, Tamil, accents that have no composed form).
_WORD = rf"[^\W{_UNSPACED}](?:[^\W{_UNSPACED}]|[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff])*"
_PIECES = re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|{_WORD}")
_OF_UNSPACED = re.compile(f"[{_UNSPACED}]")


def tokens(text: str) -> list[str]:
    """Words of a normalised text; runs of a script without spaces as overlapping pairs of characters."""
    found: list[str] = []
    for piece in _PIECES.finditer(text):
        word = piece.group()
        if piece.lastgroup and len(word) > 1:
            found += [word[place : place + 2] for place in range(len(word) - 1)]
        else:
            found.append(word)
    return found


def unspaced(character: str) -> bool:
    """Whether a character belongs to a script that is written without spaces between words."""
    return _OF_UNSPACED.match(character) is not None
