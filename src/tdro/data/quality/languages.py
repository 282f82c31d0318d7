"""Tells the language of a text with py3langid (naive Bayes over byte n-grams, 139 languages, works offline).

py3langid takes one text at a time, 0.15 ms each. A check or a data card therefore looks at a sample of at most
``LANGUAGE_ROWS`` rows of each task (:mod:`tdro.data.quality.even_sample`), and says so.

See docs/decisions.md, language-identification.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

LANGUAGE_ROWS = 2_000  # at most so many rows of a task have the language of their texts identified
BEGINNING = 100  # only so many characters at the start of a text are read
UNDETERMINED = "und"  # ISO 639's code for a text whose language is not known

SHARES_LEGEND = "shares of the texts whose language can be told; –: fewer than a tenth"

_FEW = 0.1  # if the language of fewer texts is known, they say nothing about the others
_LIKELY = 0.5  # the least probability at which a language counts in the shares
_SURE = 0.8  # the least probability at which a text may be called one in the wrong language
_LETTERS = 4  # a text with fewer letters ("OK", "Wi-Fi") says nothing about its language
_NO_LANGUAGE = "zxx"  # py3langid's label of numbers, markup and proper names
# Varieties that py3langid confuses with the main form of their language (Nynorsk with Bokmål, Wu and Cantonese with
# Mandarin, Moroccan and Egyptian with standard Arabic, Southern with Northern Uzbek). They are left out, so that their
# texts are counted with the main form.
_VARIETIES = {"nn", "wuu", "yue", "ary", "arz", "uzs"}


@dataclass(frozen=True)
class Languages:
    """The languages of some texts, as numbers that :func:`language_name` turns into codes.

    Attributes:
        likely: the number of each text's language, 0 where its probability is below 0.5, uint8 [n_texts].
        sure: the same, but 0 where the probability is below 0.8, uint8 [n_texts].
    """

    likely: NDArray[np.uint8]
    sure: NDArray[np.uint8]

    def shares(self) -> dict[str, float]:
        """The share of the texts in each language, by its code, largest first; ``und`` if it is not known."""
        counts = np.bincount(self.likely)
        found = np.flatnonzero(counts)
        order = found[np.argsort(-counts[found], kind="stable")]
        return {language_name(number): float(counts[number] / len(self.likely)) for number in order.tolist()}


def languages_of(texts: Sequence[str]) -> Languages:
    """Identify the language of each text by its first 100 characters.

    The language is unknown if the text has fewer than four letters, if it looks like numbers, code or names, or if the
    model is not sure.
    """
    found = [_identified(text[:BEGINNING]) for text in texts]
    return Languages(_at_least(_LIKELY, found), _at_least(_SURE, found))


def language_name(number: int) -> str:
    """The ISO 639 code of a language by its number in :class:`Languages`; ``und`` for 0."""
    return _names()[number]


def shares_text(shares: dict[str, float]) -> str:
    """The two most frequent known languages, such as ``de 98 %, en 2 %``; a dash if too few are known."""
    known = {language: share for language, share in shares.items() if language != UNDETERMINED}
    total = sum(known.values())
    if total < _FEW:
        return "–"
    told = [(language, share / total) for language, share in known.items() if share >= 0.005 * total]
    if len(told) == 1:
        return told[0][0]
    return ", ".join(f"{language} {100 * share:.0f} %" for language, share in told[:2])


def _identified(text: str) -> tuple[int, float]:
    """The number of a text's likeliest language, and its probability."""
    if len([*islice(filter(str.isalpha, text), _LETTERS)]) < _LETTERS:
        return 0, 0.0
    label, probability = _identifier().classify(text)
    return _numbers()[label], probability


def _at_least(probability: float, found: Iterable[tuple[int, float]]) -> NDArray[np.uint8]:
    return np.array([number if share >= probability else 0 for number, share in found], dtype=np.uint8)


@functools.cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([label for label in identifier.labels if label not in _VARIETIES])
    # set_languages leaves this table in columns and in float16, but classify reads some fifty rows of it for a text and
    # computes in float32. Kept so, a text takes half of the time, with the same result.
    identifier.nb_ptc = np.ascontiguousarray(identifier.nb_ptc, dtype=np.float32)
    return identifier


@functools.cache
def _names() -> tuple[str, ...]:
    """The codes of the languages that can be identified, in the order of their numbers."""
    return (UNDETERMINED, *sorted(set(_identifier().labels) - {_NO_LANGUAGE}))


@functools.cache
def _numbers() -> dict[str, int]:
    """py3langid's labels to the numbers of their languages."""
    return {label: _names().index(label) if label != _NO_LANGUAGE else 0 for label in _identifier().labels}
