"""When two texts count as the same, for leaks between training and test and for negatives that are answers.

See docs/decisions.md, normalised-texts.
"""

from __future__ import annotations

import unicodedata

_PUNCTUATION = "".join(chr(code) for code in range(128) if not chr(code).isalnum())  # of ASCII, with its spaces


def normalise(text: str) -> str:
    """The form by which texts are compared: NFKC, lower case, single spaces, no punctuation at the ends.

    So ``“The  Red Lamp.”`` and ``the red lamp`` are the same text. One of punctuation alone keeps it.
    """
    if text.isascii():
        text = " ".join(text.lower().split())
        return text.strip(_PUNCTUATION) or text
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    start, end = 0, len(text)  # called for millions of texts; a regular expression takes three times as long
    while start < end and not text[start].isalnum():
        start += 1
    while start < end and not text[end - 1].isalnum():
        end -= 1
    return text[start:end] or text
