"""Parts of a recipe's error messages: a text shortened and quoted, the nearest known name, an error about one key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic_core import PydanticCustomError


def wrong(message: str, *key: str | int) -> PydanticCustomError:
    """An error about a value; ``key`` is the path below the model that is being checked."""
    return PydanticCustomError("tdro", "{message}", {"message": message, "key": key})


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """``; did you mean 'x'?``, or nothing where no known word is near."""
    match = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=cutoff)
    return f"; did you mean {match[0]!r}?" if match else ""


def short(value: str) -> str:
    """A text as it may stand in a message: quoted, on one line, not too long."""
    return repr(value if len(value) <= 60 else f"{value[:57]}...")
