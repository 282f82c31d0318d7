"""When two texts count as the same, for leaks between training and test and for negatives that are answers.

See docs/decisions.md, normalised-texts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_PUNCTUATION = "".join(chr(code) for code in range(128) if not chr(code).isalnum())  # of ASCII, with its spaces
_NOT_OTHER_SPACES = bytes(byte for byte in range(128) if not chr(byte).isspace() or chr(byte) == " ")


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


def normalise_all(texts: Sequence[str]) -> list[str]:
    """:func:`normalise` of each text, which takes half of the time if the texts are short, in ASCII and many.

    These are joined to one text, with NUL characters between them, and changed together. That is only right if no text
    has a NUL character, or spaces other than single ones; if one has, each text is normalised by itself.
    """
    plain = [text for text in texts if text.isascii()]
    together = "\0".join(plain)
    single_spaces = "  " not in together and not together.encode().translate(None, _NOT_OTHER_SPACES)
    parts = together.lower().split("\0") if single_spaces else []
    if len(parts) != len(plain):
        return [*map(normalise, texts)]
    found = (part.strip(_PUNCTUATION) or part.strip() for part in parts)
    return [next(found) if text.isascii() else normalise(text) for text in texts]
