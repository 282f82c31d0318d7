"""Tells the script that most of a text is written in: Latin, Han, Cyrillic, Thai, …

Four letters are enough to be sure of a script, and finding it is cheap. So a check finds it for every text, and notices
a query of one Russian word in an English task, which is too short to identify its language
(:mod:`tdro.data.quality.languages`). The script is read from the names that Unicode gives to letters: ``CYRILLIC SMALL
LETTER A``. See docs/decisions.md, scripts-by-name.
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
    """Character to its script, computed when it is first asked for; empty for a character that is not a letter."""

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
    """The script of each text, as :func:`script_of` gives it. Most texts begin with a word in ASCII; these are Latin
    without a further look."""
    return [
        "Latin" if text[:letters].isalpha() and len(text) >= letters and text.isascii() else script_of(text, letters)
        for text in texts
    ]


def script_of(text: str, letters: int = 1) -> str:
    """The script that at least 80 % of the letters in a text's first 100 characters have; empty if none has so many.

    For example, ``script_of("Где метро?")`` is ``Cyrillic``. A text with kana is ``Japanese``, even if most of its
    letters are Han.

    Args:
        text: any text.
        letters: the fewest letters that a text needs to have a script.
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
