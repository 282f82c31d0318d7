"""The words of a text: as strings to compare two texts, as 64-bit hashes to find pairs among millions.

Both ways read the normalised text (:mod:`tdro.data.same_text`). Letters, marks, numbers and the symbols of
mathematics and money make words ("c++", "a <= b", "$5"); everything else separates them. In a script without spaces
every character is a word of its own, since only a dictionary of the language says where a word ends. A text without any
letter ("???") has the numbers of its characters for words, so that it has some.
See docs/decisions.md, hashed-words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tdro.console import progress_bar
from tdro.data.same_text import normalise

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]

# What a character does: it parts words, belongs to one, is one; and a number belongs to one. Marks and symbols do so
# only inside a text, not at its ends. 255: not yet looked up.
_PART, _LETTER, _ALONE, _NUMBER, _INSIDE, _UNKNOWN = 0, 1, 2, 3, 4, 255
_KINDS = np.full(0x110000, _UNKNOWN, np.uint8)
# Han, kana, Thai, Lao, Tibetan, Myanmar, Khmer. Korean has spaces.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)
_KATAKANA = 0x30A0  # from here on, such a script is katakana or Han
_SYMBOLS = ("Sm", "Sc")  # mathematics and money,
_MORE_SYMBOLS = "%#^"  # and what Unicode does not count among them
_BLOCK = 1 << 16  # characters at once: their arrays stay in the processor's cache, twice as fast as all at once
_ODD_1, _ODD_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class HashedTexts:
    """The words of many texts; text i has those from ``starts[i]`` to ``starts[i + 1]``.

    Attributes:
        words: hash of each word, from the pairs of its neighbouring letters.
        heads: hash of its first two letters; of something else for a word of one.
        tails: hash of its last two letters, likewise.
        sizes: its letters.
        unspaced: whether it is a character of a script without spaces.
        starts: shape (texts + 1,).
        letters: letters of each text, shape (texts,).
        joined: hash of each text's letters as if it had no spaces, shape (texts,).
        digits: hash of each text's runs of digits, in any order, shape (texts,); 0 where it has none.
        logograms: hash of each text's Han characters and katakana, in any order, shape (texts,); 0 where it has none.
        parity: 64 bits a text, shape (texts,): a letter turns one over. Another letter in its place turns two.
    """

    words: Hashes
    heads: Hashes
    tails: Hashes
    sizes: Ints
    unspaced: NDArray[np.bool_]
    starts: Ints
    letters: Ints
    joined: Hashes
    digits: Hashes
    logograms: Hashes
    parity: Hashes

    @property
    def counts(self) -> Ints:
        """How many words each text has."""
        return np.diff(self.starts)


def words_of(text: str) -> list[str]:
    """The words of a text, in order; at least one."""
    if text.isascii():  # five times as fast
        words = text.encode().translate(_ASCII).decode().split()
    else:
        words = _folded(text).translate(_SPACED).split()
    if words and words[0][0].isalnum() and words[-1][-1].isalnum():
        return words
    read = normalise(text)  # without the marks and symbols at the ends
    if read[:1].isalnum():
        return read.translate(_SPACED).split()
    return [f"u{ord(character):x}" for character in read if not character.isspace()] or ["u0000"]


def unspaced(word: str) -> bool:
    """Whether a word is a character of a script without spaces."""
    return len(word) == 1 and word >= "\u0e00" and len(_SPACED[ord(word)]) > 1


def hash_words(texts: Sequence[str]) -> HashedTexts:
    """The words of texts as of :func:`words_of`, in linear time; 40 bytes a word, and some megabytes."""
    folded = [text if text.isascii() else _folded(text) for text in texts]
    lengths = np.fromiter(map(len, folded), np.int64, len(folded))
    cuts = np.flatnonzero(np.diff(np.cumsum(lengths) // _BLOCK, prepend=0)).tolist()
    slices = [slice(start, end) for start, end in pairwise([0, *cuts, len(texts)]) if start < end or not len(texts)]
    bar = progress_bar(slices, "reading words", unit=" blocks")
    blocks = [_hash_block(folded[part], lengths[part]) for part in bar]
    columns = [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
    words, heads, tails, sizes, alone, counts, *of_texts = columns
    return HashedTexts(words, heads, tails, sizes, alone, np.append(0, np.cumsum(counts)), *of_texts)


def hash_each(words: Sequence[str]) -> Hashes:
    """The hash of each word, as in a text."""
    surrounded = hash_words([f"a {word} a" for word in words])  # at the end of a text it would lose its marks
    return surrounded.words[surrounded.starts[:-1] + 1]


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _kind(character: str) -> int:
    category = unicodedata.category(character)
    inside = 0 if character.isalnum() else _INSIDE
    if category[0] not in "LMN":
        return _LETTER | inside if category in _SYMBOLS or character in _MORE_SYMBOLS else _PART
    if _UNSPACED.match(character):
        return _ALONE | inside
    return (_NUMBER if category[0] == "N" else _LETTER) | inside


class _Spacing(dict[int, str]):
    """What ``str.translate`` puts for a character, remembered."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = {_PART: " ", _ALONE: f" {character} "}.get(_kind(character) & 3, character)
        return self[code]


_SPACED = _Spacing()
_ASCII = bytes(ord(_SPACED[ord(chr(code).lower())]) if code < 128 else 32 for code in range(256))


def _mix(before: NDArray[np.uint32], code: NDArray[np.uint32]) -> Hashes:
    """A hash of two neighbouring letters; 0 stands before the first. Of two zeros it is 0."""
    value = before.astype(np.uint64)
    value <<= np.uint64(21)
    value |= code
    value *= _ODD_1
    value ^= value >> np.uint64(32)
    value *= _ODD_2
    return value


def _hash_block(texts: Sequence[str], lengths: Ints) -> tuple[NDArray[np.generic], ...]:
    """The columns of :class:`HashedTexts`, with the texts' numbers of words in place of the starts."""
    ends = np.cumsum(lengths + 2)
    codes = np.frombuffer(("  ".join(texts) + "  ").encode("utf-32-le", "surrogatepass"), np.uint32)
    if not len(texts):
        none, zeros = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        return none, none, none, zeros, none.astype(np.bool_), zeros, zeros, none, none, none, none
    codes = codes + np.uint32(32) * ((codes - np.uint32(65)) < 26)  # A to Z; the others are case folded
    kind = _kinds(codes)
    _trim(kind, ends, lengths, texts)
    code = codes * (kind != _PART)
    continued = kind & 1  # a letter or a number, and after another one
    continued[1:] &= continued[:-1].copy()
    continued[:1] = 0
    before = np.zeros_like(code)
    np.multiply(code[:-1], continued[1:], out=before[1:])
    pairs = _mix(before, code)
    starts = np.flatnonzero((kind != _PART) & (continued == 0))
    turned = np.uint64(1) << (code & 63).astype(np.uint64)
    parity = np.bitwise_xor.reduceat(turned, np.append(0, ends[:-1])) & ~np.uint64(1)  # what parts words is 0
    words = np.add.reduceat(pairs, starts)  # what parts words adds 0
    sizes = np.add.reduceat(kind != _PART, starts, dtype=np.int64)
    heads, tails = pairs[starts + 1], pairs[starts + sizes - 1]
    word_ends = np.searchsorted(starts, ends)
    letter_ends = np.append(0, np.cumsum(sizes))[word_ends]
    counts, letters = np.diff(word_ends, prepend=0), np.diff(letter_ends, prepend=0)
    firsts = code[starts]
    lasts = np.append(0, code[starts + sizes - 1][:-1]).astype(np.uint32)  # of the word before,
    lasts[word_ends[:-1]] = 0  # which the first word of a text has not
    joined = np.add.reduceat(words - _mix(np.zeros_like(firsts), firsts) + _mix(lasts, firsts), word_ends - counts)
    alone = kind[starts] & 3 == _ALONE
    logograms = np.add.reduceat(words * (alone & (firsts >= _KATAKANA)), word_ends - counts)
    return words, heads, tails, sizes, alone, counts, letters, joined, _digits(kind, code, ends), logograms, parity


def _trim(kind: NDArray[np.uint8], ends: Ints, lengths: Ints, texts: Sequence[str]) -> None:
    """Marks and symbols at the ends of a text part words, too; of a text with nothing else, each character is a word.

    ``kind`` is changed in place.
    """
    inner = np.flatnonzero(kind >= _INSIDE)
    others = np.flatnonzero((kind != _PART) & (kind < _INSIDE))
    first, last = np.searchsorted(others, ends - lengths - 2), np.searchsorted(others, ends)
    text, place = np.searchsorted(ends, inner, side="right"), np.searchsorted(others, inner)
    kind[inner[(place == first[text]) | (place == last[text])]] = _PART
    for number in np.flatnonzero(first == last).tolist():
        start = int(ends[number] - lengths[number] - 2)
        stay = [start + at for at, character in enumerate(texts[number]) if not character.isspace()]
        kind[stay or start] = _ALONE


def _kinds(codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
    kinds = _KINDS.take(codes)
    unknown = kinds == _UNKNOWN
    if unknown.any():
        for code in np.unique(codes[unknown]).tolist():
            _KINDS[code] = _kind(chr(code))
        return _KINDS.take(codes)
    return kinds


def _digits(kind: NDArray[np.uint8], code: NDArray[np.uint32], ends: Ints) -> Hashes:
    """Per text a hash of its runs of digits, whatever letters they stand next to."""
    where = np.flatnonzero(kind & 3 == _NUMBER)
    result = np.zeros(len(ends), np.uint64)
    if len(where):
        before = code[where - 1] * (kind[where - 1] & 3 == _NUMBER)  # before the first stands the last, a space
        np.add.at(result, np.searchsorted(ends, where, side="right"), _mix(before, code[where]))
    return result
