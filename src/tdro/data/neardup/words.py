"""The words of a text: as strings to compare two texts, as 64-bit hashes to find pairs among millions.

Both ways read the normalised text (:mod:`tdro.data.same_text`). Letters, marks, numbers and the symbols of
mathematics and money make words ("c++", "a <= b", "$5"); everything else separates them. In a script without spaces
every character is a word of its own, because only a dictionary of the language could tell where a word ends. In a text
without any letter ("???") the code of each character is a word, so that every text has words.
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

# What a character does: it parts words, is a letter or a digit of a word, or is a word alone. _INSIDE is added for
# marks and symbols, which do so only inside a text and part words at its ends. _UNKNOWN: not looked up yet.
_PART, _LETTER, _ALONE, _NUMBER, _INSIDE, _UNKNOWN = 0, 1, 2, 3, 4, 255
_ROLES = np.full(0x110000, _UNKNOWN, np.uint8)  # of each code point
# Han, kana, Thai, Lao, Tibetan, Myanmar, Khmer. Korean has spaces.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)
_KATAKANA = 0x30A0  # from here on, a script without spaces is katakana or Han
_SYMBOLS = ("Sm", "Sc")  # Unicode's categories of mathematics and money
_MORE_SYMBOLS = "%#^"  # symbols that are in neither
_BLOCK = 1 << 16  # characters hashed at once: their arrays fit into the processor's cache, which is twice as fast
_ODD_1, _ODD_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class HashedTexts:
    """The words of many texts; text i has those from ``starts[i]`` to ``starts[i + 1]``.

    Attributes:
        words: the hash of each word, from the pairs of its neighbouring letters, (words,).
        heads: the hash of each word's first two letters, (words,); some other value for a word of one letter.
        tails: the hash of each word's last two letters, (words,); likewise.
        sizes: how many letters each word has, (words,).
        unspaced: whether each word is a character of a script without spaces, (words,).
        starts: where each text's words start, and where the last one's end, (texts + 1,).
        letters: how many letters each text has, (texts,).
        joined: the hash of each text's letters as if it had no spaces, (texts,).
        digits: the hash of each text's runs of digits, in any order, (texts,); 0 if it has none.
        logograms: the hash of each text's Han characters and katakana, in any order, (texts,); 0 if it has none.
        parity: 64 bits for each text, (texts,). Each of its letters turns one bit over, so a text with one letter
            exchanged for another differs in at most two bits.
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
    """The words of a text, in order; at least one. Example: "What's C++?" gives ``what``, ``s``, ``c++``."""
    if text.isascii():  # five times as fast
        words = text.encode().translate(_ASCII).decode().split()
    else:
        words = _folded(text).translate(_SPACED).split()
    if words and words[0][0].isalnum() and words[-1][-1].isalnum():
        return words
    read = normalise(text)  # takes the marks and symbols at the ends away
    if read[:1].isalnum():
        return read.translate(_SPACED).split()
    return [f"u{ord(character):x}" for character in read if not character.isspace()] or ["u0000"]


def unspaced(word: str) -> bool:
    """Whether a word is a character of a script without spaces."""
    return len(word) == 1 and word >= "\u0e00" and len(_SPACED[ord(word)]) > 1


def hash_words(texts: Sequence[str]) -> HashedTexts:
    """The words of many texts as hashes: the same words as :func:`words_of` gives.

    It takes time in proportion to the letters, 40 bytes of memory for each word, and some megabytes.
    """
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
    """The hash of each word, as it is inside a text."""
    surrounded = hash_words([f"a {word} a" for word in words])  # at the end of a text, it would lose its symbols
    return surrounded.words[surrounded.starts[:-1] + 1]


def _folded(text: str) -> str:
    """The text in one Unicode form (NFKC) and without capitals."""
    return unicodedata.normalize("NFKC", text).casefold()


def _role(character: str) -> int:
    """What a character does: see :data:`_PART` and the others."""
    category = unicodedata.category(character)
    inside = 0 if character.isalnum() else _INSIDE
    if category[0] not in "LMN":
        return _LETTER | inside if category in _SYMBOLS or character in _MORE_SYMBOLS else _PART
    if _UNSPACED.match(character):
        return _ALONE | inside
    return (_NUMBER if category[0] == "N" else _LETTER) | inside


class _Spacing(dict[int, str]):
    """A table for ``str.translate`` that fills itself: it puts spaces in place of, or around, what parts words."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = {_PART: " ", _ALONE: f" {character} "}.get(_role(character) & 3, character)
        return self[code]


_SPACED = _Spacing()
_ASCII = bytes(ord(_SPACED[ord(chr(code).lower())]) if code < 128 else 32 for code in range(256))


def _mix(before: NDArray[np.uint32], code: NDArray[np.uint32]) -> Hashes:
    """A hash of each pair of neighbouring letters. Before a word's first letter stands 0; two zeros have the hash 0."""
    value = before.astype(np.uint64)
    value <<= np.uint64(21)
    value |= code
    value *= _ODD_1
    value ^= value >> np.uint64(32)
    value *= _ODD_2
    return value


def _hash_block(texts: Sequence[str], lengths: Ints) -> tuple[NDArray[np.generic], ...]:
    """The columns of :class:`HashedTexts` for some texts, but how many words each has instead of ``starts``.

    All texts are put end to end, with spaces between them, and their characters are handled as arrays.
    """
    ends = np.cumsum(lengths + 2)
    codes = np.frombuffer(("  ".join(texts) + "  ").encode("utf-32-le", "surrogatepass"), np.uint32)
    if not len(texts):
        none, zeros = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        return none, none, none, zeros, none.astype(np.bool_), zeros, zeros, none, none, none, none
    codes = codes + np.uint32(32) * ((codes - np.uint32(65)) < 26)  # A to Z; the others are case folded
    role = _roles(codes)
    _part_at_ends(role, ends, lengths, texts)
    code = codes * (role != _PART)
    continued = role & 1  # whether it is a letter or a digit that comes after another one
    continued[1:] &= continued[:-1].copy()
    continued[:1] = 0
    before = np.zeros_like(code)
    np.multiply(code[:-1], continued[1:], out=before[1:])
    pairs = _mix(before, code)
    starts = np.flatnonzero((role != _PART) & (continued == 0))
    turned = np.uint64(1) << (code & 63).astype(np.uint64)
    parity = np.bitwise_xor.reduceat(turned, np.append(0, ends[:-1])) & ~np.uint64(1)  # what parts words is 0
    words = np.add.reduceat(pairs, starts)  # what parts words adds 0
    sizes = np.add.reduceat(role != _PART, starts, dtype=np.int64)
    heads, tails = pairs[starts + 1], pairs[starts + sizes - 1]
    word_ends = np.searchsorted(starts, ends)
    letter_ends = np.append(0, np.cumsum(sizes))[word_ends]
    counts, letters = np.diff(word_ends, prepend=0), np.diff(letter_ends, prepend=0)
    firsts = code[starts]
    lasts = np.append(0, code[starts + sizes - 1][:-1]).astype(np.uint32)  # the last letter of the word before
    lasts[word_ends[:-1]] = 0  # the first word of a text has none before it
    joined = np.add.reduceat(words - _mix(np.zeros_like(firsts), firsts) + _mix(lasts, firsts), word_ends - counts)
    alone = role[starts] & 3 == _ALONE
    logograms = np.add.reduceat(words * (alone & (firsts >= _KATAKANA)), word_ends - counts)
    return words, heads, tails, sizes, alone, counts, letters, joined, _digits(role, code, ends), logograms, parity


def _part_at_ends(role: NDArray[np.uint8], ends: Ints, lengths: Ints, texts: Sequence[str]) -> None:
    """Let the marks and symbols at a text's ends part words. If a text has nothing else, each becomes a word.

    ``role`` is changed in place.
    """
    inner = np.flatnonzero(role >= _INSIDE)
    others = np.flatnonzero((role != _PART) & (role < _INSIDE))
    first, last = np.searchsorted(others, ends - lengths - 2), np.searchsorted(others, ends)
    text, place = np.searchsorted(ends, inner, side="right"), np.searchsorted(others, inner)
    role[inner[(place == first[text]) | (place == last[text])]] = _PART
    for without_letters in np.flatnonzero(first == last).tolist():
        start = int(ends[without_letters] - lengths[without_letters] - 2)
        stay = [start + at for at, character in enumerate(texts[without_letters]) if not character.isspace()]
        role[stay or start] = _ALONE


def _roles(codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """What each character does. Characters that come for the first time are looked up in Unicode's tables."""
    roles = _ROLES.take(codes)
    unknown = roles == _UNKNOWN
    if unknown.any():
        for code in np.unique(codes[unknown]).tolist():
            _ROLES[code] = _role(chr(code))
        return _ROLES.take(codes)
    return roles


def _digits(role: NDArray[np.uint8], code: NDArray[np.uint32], ends: Ints) -> Hashes:
    """For each text a hash of its runs of digits, whatever letters they stand next to."""
    where = np.flatnonzero(role & 3 == _NUMBER)
    result = np.zeros(len(ends), np.uint64)
    if len(where):
        # The digit before each digit, or 0. Place -1, before the very first character, is a space.
        before = code[where - 1] * (role[where - 1] & 3 == _NUMBER)
        np.add.at(result, np.searchsorted(ends, where, side="right"), _mix(before, code[where]))
    return result
