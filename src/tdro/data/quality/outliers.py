"""Decides which rows do not fit their task: a repeated query, another script or language, or an extreme length.

It works on arrays with one number a row, after the last row was read. The rules are cautious: nobody should have to
look at rows that are right. See docs/decisions.md, outliers-at-the-end.
"""

from __future__ import annotations

import numpy as np

_MAJORITY = 0.98  # others are odd if this share of the task's texts is in one script or language
_DEVIATIONS = 8.0  # a length is odd if its logarithm is so many robust standard deviations from the median,
_FACTOR = 8.0  # and it is also so many times longer or shorter than the median
_ENOUGH = 50  # in fewer rows nothing is odd
_MAD_TO_DEVIATION = 1.4826  # the standard deviation of a normal distribution / its median absolute deviation


def repeated(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows whose hash an earlier row has too, in order.

    For example, hashes of 7, 5, 7, 7 give rows 2 and 3, and row 0 for both as the first with that hash.

    Returns:
        The numbers of these rows, int64 [n_repeated]; and for each the first row with its hash, int64 [n_repeated].
    """
    order = np.argsort(hashes, kind="stable")
    new = np.ones(len(hashes), dtype=bool)
    new[1:] = hashes[order][1:] != hashes[order][:-1]
    first = order[new][np.cumsum(new) - 1]
    rows, first = order[~new], first[~new]
    by_row = np.argsort(rows)
    return rows[by_row], first[by_row]


def odd_ones(numbers: np.ndarray) -> tuple[np.ndarray, int]:
    """The rows in another script or language than nearly all other rows of the task.

    At least 98 % must be in the same script or language; in a task of many languages no row is odd.

    Args:
        numbers: the number of the script or language of each row's text, 0 where it is not known, [n_rows].

    Returns:
        The odd rows, int64 [n_odd]; and the number of the usual script or language, 0 if there are too few rows.
    """
    known = numbers[numbers > 0]
    if len(known) < _ENOUGH:
        return np.empty(0, dtype=np.int64), 0
    counts = np.bincount(known)
    usual = int(counts.argmax())
    if counts[usual] < _MAJORITY * len(known):
        return np.empty(0, dtype=np.int64), usual
    return np.flatnonzero((numbers > 0) & (numbers != usual)), usual


def odd_lengths(lengths: np.ndarray) -> np.ndarray:
    """The rows whose text is far longer or shorter than the task's median, int64 [n_odd].

    Far means 8 times as long (or as short), and also 8 robust standard deviations of the logarithms away from their
    median.

    Args:
        lengths: characters of each row's text, at least 1, [n_rows].
    """
    if len(lengths) < _ENOUGH:
        return np.empty(0, dtype=np.int64)
    logs = np.log(lengths)
    distance = np.abs(logs - np.median(logs))
    deviation = _MAD_TO_DEVIATION * np.median(distance)
    return np.flatnonzero(distance > max(_DEVIATIONS * deviation, np.log(_FACTOR)))
