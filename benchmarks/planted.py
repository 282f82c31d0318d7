"""Planted pairs: a real question written otherwise (a near-duplicate), or changed into another question (none).

Each function takes a question and gives the changed one, or None where the change does not apply. Random choices come
from the ``random.Random`` that is handed over; ``words`` are the questions' own, by how often they come.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rapidfuzz import process
from rapidfuzz.distance import OSA

_UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u4e00-\u9fff]")
_HAN = re.compile("[\u4e00-\u9fff]")


class Vocabulary:
    """The words of many texts: other words as common as one, and words that look like one."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.counts = Counter(word for text in texts for word in text.lower().split() if word.isalpha())
        self.known = sorted((count, word) for word, count in self.counts.items() if count >= 3 and len(word) >= 4)
        self.han = "".join(_HAN.findall("".join(texts)))
        self.by_start: dict[str, list[str]] = {}
        for _, word in self.known:
            self.by_start.setdefault(word[0], []).append(word)

    def as_common(self, word: str, draw: random.Random) -> str:
        """Another word that comes about as often."""
        at = bisect_left(self.known, (self.counts[word.lower()], ""))
        near = self.known[max(at - 200, 0) : at + 200]
        return draw.choice([other for _, other in near if other != word.lower()])

    def alike(self, word: str) -> str | None:
        """A known word that is one or two letters away and no inflection (another ending)."""
        word = word.lower()
        found = process.extract(word, self.by_start.get(word[0], []), scorer=OSA.distance, score_cutoff=2, limit=6)
        others = [other for other, away, _ in found if away and other[:-2] != word[:-2] and other[-1] == word[-1]]
        return others[0] if others else None


Change = Callable[[str, random.Random, Vocabulary], "str | None"]


def _long_words(text: str, least: int = 5) -> list[re.Match[str]]:
    return [m for m in re.finditer(r"[^\W\d_]+", text) if len(m[0]) >= least and not _UNSPACED.search(m[0])]


def _put(text: str, match: re.Match[str], word: str) -> str:
    return text[: match.start()] + word + text[match.end() :]


def typo(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """One letter of a word of five or more dropped, doubled, changed, or exchanged with the next."""
    if not (found := _long_words(text)):
        return None
    match = draw.choice(found)
    word = match[0]
    at = draw.randrange(len(word) - 1)
    kinds = (
        word[:at] + word[at + 1 :],
        word[: at + 1] + word[at:],
        word[:at] + draw.choice([letter for letter in "aeioustrn" if letter != word[at].lower()]) + word[at + 1 :],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
    )
    changed = draw.choice(kinds)
    return None if changed.lower() == word.lower() or changed.lower() in words.counts else _put(text, match, changed)


def two_typos(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Two of them, in two words of a text of 30 letters or more."""
    changed = typo(text, draw, words) if len(text) >= 30 else None
    changed = changed and typo(changed, draw, words)
    pairs = zip(text.split(), (changed or "").split(), strict=False)
    return changed if sum(one != other for one, other in pairs) == 2 else None


def order(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """The last words first."""
    parts = text.rstrip(".?!").split()
    if len(parts) < 3 or _UNSPACED.search(text):
        return None
    at = draw.randrange(1, len(parts))
    return " ".join([*parts[at:], *parts[:at]])


def punctuation(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Marks added at the end and between words, or taken away."""
    marks = "。、！？" if _UNSPACED.search(text) else ",.!?;:"
    bare = re.sub(r"[,.!?;:。、！？](?!\w)", "", text)
    at = [m.start() for m in re.finditer(" ", bare)]
    if at:
        place = draw.choice(at)
        bare = bare[:place] + draw.choice(marks) + bare[place:]
    return f"{bare} {draw.choice(marks)}"


def case(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Upper case."""
    return text.upper() if text.upper() != text else None


def spacing(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """A space too many or too few."""
    if len(text.split()) < 3 or _UNSPACED.search(text) or not (found := _long_words(text, 6)):
        return None
    match = draw.choice(found)
    if draw.random() < 0.5:
        at = draw.randrange(2, len(match[0]) - 1)
        return _put(text, match, f"{match[0][:at]} {match[0][at:]}")
    parts = text.split()
    at = draw.randrange(len(parts) - 1)
    if not (parts[at].isalpha() and parts[at + 1].isalpha()):
        return None
    return " ".join([*parts[:at], parts[at] + parts[at + 1], *parts[at + 2 :]])


def slip_unspaced(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """In a script without spaces: a character dropped, doubled, or exchanged with the next."""
    found = [m.start() for m in _UNSPACED.finditer(text[:-1])]
    if len(found) < 10:
        return None
    at = draw.choice(found)
    kinds = (
        text[:at] + text[at + 1 :],
        text[: at + 1] + text[at:],
        text[:at] + text[at + 1] + text[at] + text[at + 2 :],
    )
    changed = draw.choice(kinds)
    return changed if changed != text else None


def entity(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Another question: a word exchanged for one that is about as common."""
    found = [m for m in _long_words(text, 4) if words.counts[m[0].lower()] >= 2]
    return _put(text, match := draw.choice(found), words.as_common(match[0], draw)) if found else None


def alike_entity(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Another question: a word exchanged for a known one that looks like it (Iran, Iraq; angel, angle)."""
    for match in draw.sample(found := _long_words(text, 4), len(found)):
        if words.counts[match[0].lower()] >= 3 and (other := words.alike(match[0])):
            return _put(text, match, other)
    return None


def number(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Another question: one digit is another."""
    found = list(re.finditer(r"[0-9]", text))
    if not found:
        return None
    match = draw.choice(found)
    return _put(text, match, str((int(match[0]) + draw.randrange(1, 10)) % 10))


def entity_unspaced(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Another question: two Han characters next to each other are others."""
    found = list(re.finditer("[\u4e00-\u9fff]{2}", text))
    if not found or len(text) < 8:
        return None
    match, at = draw.choice(found), draw.randrange(len(words.han) - 1)
    other = words.han[at : at + 2]
    return _put(text, match, other) if not set(other) & set(match[0]) else None


SAME: dict[str, Change] = {
    "one typo": typo,
    "two typos": two_typos,
    "word order": order,
    "punctuation": punctuation,
    "case": case,
    "spacing": spacing,
    "slip, no spaces": slip_unspaced,
}
OTHER: dict[str, Change] = {
    "changed entity": entity,
    "look-alike entity": alike_entity,
    "changed number": number,
    "entity, no spaces": entity_unspaced,
}


@dataclass(frozen=True)
class Planted:
    """One pair: the place of the question in the tests, and the changed text."""

    kind: str
    same: bool
    test: int
    text: str


def _is_phrase(text: str) -> bool:
    return len(_UNSPACED.findall(text)) >= 8 or (len(text) >= 12 and len(text.split()) >= 2)


def plant(questions: Sequence[str], texts: Sequence[str], each: int, seed: int = 0) -> list[Planted]:
    """``each`` pairs of every kind, from questions of at least two words; fewer where there are not as many."""
    draw = random.Random(seed)
    words = Vocabulary(texts)
    long = [number for number, text in enumerate(questions) if _is_phrase(text)]
    planted = []
    for same, kinds in ((True, SAME), (False, OTHER)):
        for kind, change in kinds.items():
            count = 0
            for place in draw.sample(long, len(long)):
                if count == each:
                    break
                changed = change(questions[place], draw, words)
                if changed is not None and changed != questions[place]:
                    planted.append(Planted(kind, same, place, changed))
                    count += 1
    return planted
