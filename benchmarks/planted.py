"""Planted pairs: a real question written otherwise (a near-duplicate), or changed into another question (none).

Made without a look at the rules that are measured: a slip of the pen hits any letter of any word and may make a word
that exists, and another entity is any word of the corpus, were it there only once. Each function takes a question and
gives the changed one, or None where the change does not apply.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rapidfuzz import process
from rapidfuzz.distance import OSA

_KEYBOARDS = (  # rows of keys, each a little to the right of the one above
    ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    ("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"),
    (" ςερτυθιοπ", "ασδφγηξκλ", "ζχψωβνμ"),
    ("  קראטוןםפ", "שדגכעיחלךף", "זסבהנמצתץ"),
    ("ضصثقفغعهخحج", "شسيبلاتنمك", "ئءؤرلىةوز"),
    ("ๆไำพะัีรนยบล", "ฟหกดเ้่าสวง", "ผปแอิืทมใฝ"),
    ("たていすかんなにらせ", "ちとしはきくまのりれ", "つさそひこみもねるめ"),
)
_FUNCTION_WORDS = {
    "en": "the a an of in on to for is are and with at by from that this",
    "de": "der die das den ein eine einer im in auf zu für ist und mit von",
    "fr": "le la les un une des de du à en est et pour dans sur",
    "es": "el la los las un una de del en es y para con por",
    "ru": "и в на с по для от из к о у за",
}
_NOT = {"en": "not", "de": "nicht", "fr": "pas", "es": "no", "ru": "не"}
_UNSPACED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u4e00-\u9fff]")
_HAN = re.compile("[\u4e00-\u9fff]")
_WORD = re.compile(r"[^\W\d_]+")


def _neighbours() -> dict[str, str]:
    """The keys around a key."""
    found: dict[str, str] = {}
    for rows in _KEYBOARDS:
        for number, row in enumerate(rows):
            for at, key in enumerate(row):
                beside = [(number, at - 1), (number, at + 1), (number + 1, at - 1), (number + 1, at)]
                beside += [(number - 1, at), (number - 1, at + 1)]
                near = [rows[y][x] for y, x in beside if 0 <= y < len(rows) and 0 <= x < len(rows[y])]
                found[key] = "".join(near).replace(" ", "")
    return found


_NEIGHBOURS = _neighbours()


class Vocabulary:
    """The words of many texts, each once however often it comes."""

    def __init__(self, texts: Sequence[str]) -> None:
        known = {word for text in texts for word in _WORD.findall(text.lower())}
        function_words = {word for words in _FUNCTION_WORDS.values() for word in words.split()}
        self.known = sorted(word for word in known - function_words if len(word) >= 4 and not _UNSPACED.search(word))
        self.by_script: dict[str, list[str]] = {}
        for word in self.known:
            self.by_script.setdefault(_script(word), []).append(word)
        self.by_start: dict[str, list[str]] = {}
        for word in self.known:
            self.by_start.setdefault(word[0], []).append(word)
        self.han = "".join(_HAN.findall("".join(texts)))
        self.katakana = sorted({run for text in texts for run in re.findall("[\u30a1-\u30fc]{3,}", text)})

    def alike(self, word: str, draw: random.Random) -> str | None:
        """A word that is one letter away, else two, and is no inflection (another ending) nor accented otherwise."""
        found = process.extract(word, self.by_start.get(word[0], []), scorer=OSA.distance, score_cutoff=2, limit=50)
        others = [(other, away) for other, away, _ in found if away and not _inflected(word, other)]
        least = min((away for _, away in others), default=0)
        return draw.choice([other for other, away in others if away == least]) if others else None


def _script(word: str) -> str:
    return unicodedata.name(word[0], "").split(" ")[0]


def _inflected(word: str, other: str) -> bool:
    size = min(len(word), len(other)) - 2
    return word[:size] == other[:size] or _bare(word) == _bare(other)


def _bare(word: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFD", word) if not unicodedata.combining(letter))


Change = Callable[[str, random.Random, Vocabulary], "str | None"]


def _put(text: str, match: re.Match[str], word: str) -> str:
    return text[: match.start()] + word + text[match.end() :]


def _slip(text: str, at: int, draw: random.Random) -> str:
    """A letter dropped, doubled, exchanged with the next, or with the key beside it."""
    ways = [text[:at] + text[at + 1 :], text[: at + 1] + text[at:]]
    if text[at + 1 : at + 2].isalpha():
        ways.append(text[:at] + text[at + 1] + text[at] + text[at + 2 :])
    if beside := _NEIGHBOURS.get(text[at].lower()):
        ways.append(text[:at] + draw.choice(beside) + text[at + 1 :])
    return draw.choice(ways)


def _typo(text: str, draw: random.Random) -> str | None:
    """One slip at any letter; in Korean, at any letter of a syllable."""
    korean = re.search("[\uac00-\ud7a3]", text)
    written = unicodedata.normalize("NFD", text) if korean else text
    places = [place for place, character in enumerate(written) if character.isalpha()]
    if not places:
        return None
    changed = _slip(written, draw.choice(places), draw)
    return unicodedata.normalize("NFC", changed) if korean else changed


def typo_latin(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """A typing error in a text of Latin letters."""
    return _typo(text, draw) if all(_script(letter) == "LATIN" for letter in text if letter.isalpha()) else None


def typo_other(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """A typing error in Cyrillic, Greek, Korean, Arabic, and what else has spaces."""
    if _UNSPACED.search(text) or typo_latin(text, random.Random(0), words):
        return None
    return _typo(text, draw)


def two_typos(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Two of them, in a text of 30 characters or more, in any script with spaces."""
    if len(text) < 30 or _UNSPACED.search(text):
        return None
    return _typo(_typo(text, draw) or text, draw)


def slip_unspaced(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """In a script without spaces, a character dropped, doubled, exchanged with the next, or (kana, Thai) the key's."""
    found = [match.start() for match in _UNSPACED.finditer(text)]
    return _slip(text, draw.choice(found), draw) if len(found) >= 10 else None


def order(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """The last words first, or a word moved to another place."""
    parts = text.rstrip(".?!").split()
    if len(parts) < 3 or _UNSPACED.search(text):
        return None
    at = draw.randrange(1, len(parts))
    if draw.random() < 0.5:
        return " ".join([*parts[at:], *parts[:at]])
    parts.insert(draw.randrange(len(parts)), parts.pop(at))
    return " ".join(parts)


def punctuation(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Marks at the end and between words, a word in quotes or brackets; or all marks taken away."""
    marks = "。、！？…" if _UNSPACED.search(text) else ",.!?;:-"
    bare = re.sub(r"[,.!?;:。、！？](?!\w)", "", text)
    way = draw.randrange(3)
    if way == 0:
        return bare
    if way == 1 and (found := [match for match in _WORD.finditer(bare) if not _UNSPACED.search(match[0])]):
        match, (left, right) = draw.choice(found), draw.choice(("()", '""', "“”", "«»", "[]"))
        return _put(bare, match, f"{left}{match[0]}{right}")
    at = [match.start() for match in re.finditer(" ", bare)]
    if at:
        place = draw.choice(at)
        bare = bare[:place] + draw.choice(marks) + bare[place:]
    return f"{bare} {draw.choice(marks)}"


def case(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Capitals, small letters, or a capital for each word."""
    return draw.choice((text.upper(), text.lower(), text.title()))


def spacing(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """A space too many or too few."""
    if len(text.split()) < 3 or _UNSPACED.search(text):
        return None
    between = [match.start() for match in re.finditer(r"(?<=\w) (?=\w)", text)]
    inside = [match.start() for match in re.finditer(r"(?<=[^\W\d])(?=[^\W\d])", text)]
    if between and (draw.random() < 0.5 or not inside):
        at = draw.choice(between)
        return text[:at] + text[at + 1 :]
    at = draw.choice(inside or [0])
    return f"{text[:at]} {text[at:]}"


def width_unspaced(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Chinese, Japanese, Thai: spaces (also of no width) somewhere, or Latin letters and digits in full width."""
    found = [match.start() for match in _UNSPACED.finditer(text)][1:]
    if len(found) < 6:
        return None
    if draw.random() < 0.5 and (wide := re.sub("[!-~]", lambda match: chr(ord(match[0]) + 0xFEE0), text)) != text:
        return wide
    for at in sorted(draw.sample(found, draw.randrange(1, 4)), reverse=True):
        text = text[:at] + draw.choice((" ", "\u3000", "\u200b")) + text[at:]
    return text


def _language(text: str) -> str | None:
    """The language with the most function words in the text, if there is one."""
    parts = text.lower().split()
    scores = sorted((sum(word in words.split() for word in parts), name) for name, words in _FUNCTION_WORDS.items())
    return scores[-1][1] if scores[-1][0] > scores[-2][0] else None


def function_word(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """An article or a preposition more, before any word."""
    language = _language(text)
    return _inserted(text, draw.choice(_FUNCTION_WORDS[language].split()), draw) if language else None


def _inserted(text: str, word: str, draw: random.Random) -> str:
    parts = text.split()
    parts.insert(draw.randrange(len(parts)), word)
    return " ".join(parts)


def _content_words(text: str, words: Vocabulary) -> list[re.Match[str]]:
    """Words of four letters and more that are no function words, in a script with spaces."""
    functions = {word for listed in _FUNCTION_WORDS.values() for word in listed.split()}
    found = [match for match in _WORD.finditer(text) if len(match[0]) >= 4 and match[0].lower() not in functions]
    return [match for match in found if not _UNSPACED.search(match[0])]


def entity(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Another question: a word exchanged for any other of the corpus, mostly a rare one."""
    if not (found := _content_words(text, words)):
        return None
    match = draw.choice(found)
    other = draw.choice(words.by_script.get(_script(match[0].lower()), [match[0]]))
    return None if _inflected(match[0].lower(), other) else _put(text, match, other)


def alike_entity(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Another question: a word exchanged for one that looks like it (Iran, Iraq), were it there only once."""
    for match in draw.sample(found := _content_words(text, words), len(found)):
        if other := words.alike(match[0].lower(), draw):
            return _put(text, match, other)
    return None


def exchanged(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Another question: two words around others have changed places (from Oslo to Rome), and not around an "and"."""
    found = _content_words(text, words)
    if len(found) < 2 or _UNSPACED.search(text):
        return None
    one, other = sorted(draw.sample(found, 2), key=lambda match: match.start())
    between = set(_WORD.findall(text[one.end() : other.start()].lower()))
    if not between or one[0].lower() == other[0].lower() or between & {"and", "or", "und", "oder", "et", "y", "и"}:
        return None
    return text[: one.start()] + other[0] + text[one.end() : other.start()] + one[0] + text[other.end() :]


def number(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Another question: one digit is another."""
    if not (found := list(re.finditer("[0-9]", text))):
        return None
    match = draw.choice(found)
    return _put(text, match, str((int(match[0]) + draw.randrange(1, 10)) % 10))


def negation(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Another question: a "not" in it, in five languages."""
    language = _language(text)
    if not language or _NOT[language] in text.lower().split():
        return None
    return _inserted(text, _NOT[language], draw)


def negation_unspaced(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Another question: a Chinese, Japanese or Thai "not" in it."""
    found = [match.start() for match in _UNSPACED.finditer(text)][1:]
    if len(found) < 6:
        return None
    thai, kana = re.search("[\u0e00-\u0e7f]", text), re.search("[\u3040-\u30ff]", text)
    at, word = draw.choice(found), "ไม่" if thai else draw.choice(("ない", "不", "未", "非")) if kana else "不"
    return text[:at] + word + text[at:]


def entity_unspaced(text: str, draw: random.Random, words: Vocabulary) -> str | None:
    """Another question: one Han character is another, or two in a row, or a run of katakana is."""
    found = list(re.finditer("[\u30a1-\u30fc]{3,}|[\u4e00-\u9fff]{1,2}", text))
    if not found or len(text) < 8:
        return None
    match, at = draw.choice(found), draw.randrange(len(words.han) - 1)
    other = words.han[at : at + len(match[0])] if _HAN.match(match[0]) else draw.choice(words.katakana)
    return None if set(other) & set(match[0]) else _put(text, match, other)


SAME: dict[str, Change] = {
    "one typo, Latin": typo_latin,
    "one typo, other scripts": typo_other,
    "two typos": two_typos,
    "slip, no spaces": slip_unspaced,
    "word order": order,
    "punctuation": punctuation,
    "case": case,
    "spacing": spacing,
    "spaces and width, no spaces": width_unspaced,
    "added function word": function_word,
}
OTHER: dict[str, Change] = {
    "changed entity": entity,
    "look-alike entity": alike_entity,
    "entity, no spaces": entity_unspaced,
    "words exchanged": exchanged,
    "changed number": number,
    "negation": negation,
    "negation, no spaces": negation_unspaced,
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
    """``each`` pairs of every kind, from questions of at least two words; fewer where there are not as many.

    Args:
        questions: the test queries.
        texts: where the words of other questions come from: queries and passages.
        each: pairs of a kind.
        seed: of all random choices.
    """
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
