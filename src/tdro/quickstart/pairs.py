"""Text of the sample mixture: a pair, how it is cleaned, and when two texts count as the same.

Every parser yields pairs of raw text; :func:`cleaned` is the one place where they are brought into shape.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tdro.data.same_text import normalise

MAX_CHARACTERS = 1000

_TAG = re.compile(r"<[^<>]*>")


class Pair(NamedTuple):
    """A query and the passages that answer it, with the group that goes whole to training or to test."""

    group: str
    query: str
    positives: tuple[str, ...]


def tidy(text: str) -> str:
    """Collapse whitespace and cut to :data:`MAX_CHARACTERS`."""
    return " ".join(text.split())[:MAX_CHARACTERS].rstrip()


def without_tags(html: str) -> str:
    """The text of a simple HTML fragment: tags become spaces. Entities are left to ``html.unescape``."""
    return _TAG.sub(" ", html)


def digest(*texts: str) -> str:
    """16 hex digits that depend only on the texts: the order of rows, identities, and sides come from it."""
    return hashlib.blake2b("\x1f".join(texts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def cleaned(
    pairs: Iterable[Pair],
    shortest_query: int = 2,
    shortest_positive: int = 3,
    keep_lines: bool = False,
    share: float = 1.0,
) -> Iterator[Pair]:
    """Tidy pairs without empty, too short, self-answering and repeated ones.

    Args:
        pairs: raw pairs of one task.
        shortest_query: fewest characters of a query.
        shortest_positive: fewest characters of a positive.
        keep_lines: positives keep their line breaks (source code).
        share: of the groups that are kept, chosen by their digest: a task far larger than its cap need not be
            cleaned as a whole.
    """
    limit = int(share * 2**64)
    seen: set[tuple[str, str]] = set()
    for pair in pairs:
        if share < 1 and int(digest("share", pair.group), 16) >= limit:
            continue
        query = tidy(pair.query)
        if len(query) < shortest_query:
            continue
        same = normalise(query)
        positives = []
        for text in pair.positives:
            positive = text[:MAX_CHARACTERS].rstrip() if keep_lines else tidy(text)
            answer = normalise(positive)
            if len(positive) < shortest_positive or answer == same or (same, answer) in seen:
                continue
            seen.add((same, answer))
            positives.append(positive)
        if positives:
            yield Pair(pair.group, query, tuple(positives))
