"""Small parts of a recipe's error messages: a quoted text, "did you mean …?", an error about one key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic_core import PydanticCustomError


def wrong(message: str, *key: str | int) -> PydanticCustomError:
    """The error that a check raises; ``key`` is the path to the key it is about, below the section being checked."""
    return PydanticCustomError("tdro", "{message}", {"message": message, "key": key})


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """``; did you mean 'x'?`` for the known word that is spelt most alike; empty if none is near."""
    match = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=cutoff)
    return f"; did you mean {match[0]!r}?" if match else ""


def short(value: str) -> str:
    """A text quoted for a message: on one line, and cut after 60 characters."""
    return repr(value if len(value) <= 60 else f"{value[:57]}...")
