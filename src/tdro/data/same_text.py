"""When two texts count as the same: for leaks between training and test, and for negatives that are answers.

Rejected: comparing raw strings (a capital or a full stop hides a leak), and stemming (it makes different texts equal).
"""

from __future__ import annotations

import unicodedata


def normalise(text: str) -> str:
    """The form in which two texts count as the same: NFKC, case folded, single spaces, bare ends."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = " ".join(text.casefold().split())
    start, end = 0, len(text)  # millions of calls: a regular expression takes three times as long
    while start < end and not text[start].isalnum():
        start += 1
    while start < end and not text[end - 1].isalnum():
        end -= 1
    return text[start:end] or text
