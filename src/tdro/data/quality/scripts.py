"""Tells the script that most of a text is written in: Latin, Han, Cyrillic, Thai, …

A script is certain from four letters on, and cheap, so it is told of every text: it finds the query of one Russian word
in an English task, whose language (:mod:`tdro.data.quality.languages`) would not be certain. It comes from the names
that Unicode gives the letters. See docs/decisions.md, scripts-by-name.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

_READ = 100  # only so many characters at the start of a text are read
_MOST = 0.8  # the share of a text's letters that must be of one script
_NOT_LETTERS = bytes(byte for byte in range(128) if not chr(byte).isalpha())
_KANA = ("Hiragana", "Katakana", "Katakana-hiragana")


class _Scripts(dict[str, str]):
    """The script of every character seen so far; empty for a character that is not a letter."""

    def __missing__(self, character: str) -> str:
        self[character] = found = _script(character)
        return found


def _script(character: str) -> str:
    if not character.isalpha():
        return ""
    plain = unicodedata.normalize("NFKC", character)[0]  # full-width and mathematical letters become plain Latin ones
    name = unicodedata.name(plain, "").split(" ")[0]
    return {"CJK": "Han", "IDEOGRAPHIC": "Han"}.get(name, name.capitalize())


_scripts = _Scripts()


def scripts_of(texts: Sequence[str], letters: int) -> list[str]:
    """The :func:`script_of` of each text. The usual text begins with a word in ASCII, which is told without a call."""
    return [
        "Latin" if text[:letters].isalpha() and len(text) >= letters and text.isascii() else script_of(text, letters)
        for text in texts
    ]


def script_of(text: str, letters: int = 1) -> str:
    """The script of at least 80 % of the letters in a text's first 100 characters; empty if there is none.

    A text with kana is ``Japanese``, however much of it is Han.

    Args:
        text: any text.
        letters: a text with fewer letters has no script.
    """
    text = text[:_READ]
    if text.isascii():
        found = len(text.encode().translate(None, _NOT_LETTERS))
        return "Latin" if found >= letters and found else ""
    counts = Counter(map(_scripts.__getitem__, text))
    counts.pop("", None)
    kana = sum(counts.pop(script, 0) for script in _KANA)
    if kana:
        counts["Japanese"] = kana + counts.pop("Han", 0)
    total = sum(counts.values())
    if not total or total < letters:
        return ""
    script, most = counts.most_common(1)[0]
    return script if most >= _MOST * total else ""
