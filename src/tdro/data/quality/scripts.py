"""The script that most of a text is written in: Latin, Han, Cyrillic, Thai, by Unicode's names of the letters.

Sure from four letters on, where a language is not (:mod:`tdro.data.quality.languages`): it sees a query of one Russian
word in
an English task. Rejected: the ``regex`` package's script properties (a pattern a script, each a pass over the text).
"""

from __future__ import annotations

import unicodedata
from collections import Counter

_READ = 100  # characters of a text that are looked at
_MOST = 0.8  # share of the letters that are of one script
_NOT_LETTERS = bytes(byte for byte in range(128) if not chr(byte).isalpha())
_KANA = ("Hiragana", "Katakana", "Katakana-hiragana")


class _Scripts(dict[str, str]):
    """A character's script, looked up once; empty for what is no letter."""

    def __missing__(self, character: str) -> str:
        self[character] = found = _script(character)
        return found


def _script(character: str) -> str:
    if not character.isalpha():
        return ""
    plain = unicodedata.normalize("NFKC", character)[0]  # full-width and mathematical letters are Latin
    name = unicodedata.name(plain, "").split(" ")[0]
    return {"CJK": "Han", "IDEOGRAPHIC": "Han"}.get(name, name.capitalize())


_scripts = _Scripts()


def script_of(text: str, letters: int = 1) -> str:
    """The script of at least 80 % of a text's letters, or an empty string where there is none.

    A text with kana is ``Japanese``, whatever part of it is Han.

    Args:
        text: its first 100 characters are looked at.
        letters: it must have at least as many, else none is told.
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
