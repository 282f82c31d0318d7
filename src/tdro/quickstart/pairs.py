"""A pair of the sample mixture, and how pairs are cleaned.

Every parser yields pairs of raw text. :func:`cleaned` then brings all of them into shape.
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
    """A query and the passages that answer it. All pairs of a ``group`` train, or all of them test."""

    group: str
    query: str
    positives: tuple[str, ...]


def tidy(text: str) -> str:
    """The text with single spaces, cut after :data:`MAX_CHARACTERS`."""
    return " ".join(text.split())[:MAX_CHARACTERS].rstrip()


def without_tags(html: str) -> str:
    """The text of a simple HTML fragment: tags become spaces. Entities such as ``&amp;`` stay as they are."""
    return _TAG.sub(" ", html)


def digest(*texts: str) -> str:
    """16 hex digits that depend on the texts alone. Ids and the order of rows come from it, and which groups test."""
    return hashlib.blake2b("\x1f".join(texts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def cleaned(
    pairs: Iterable[Pair],
    shortest_query: int = 2,
    shortest_positive: int = 3,
    keep_lines: bool = False,
    share: float = 1.0,
) -> Iterator[Pair]:
    """Tidy the texts of pairs. Pairs that are empty, too short, repeated, or answer a query with itself are left out.

    Args:
        pairs: the raw pairs of one task.
        shortest_query: the fewest characters that a query may have.
        shortest_positive: the fewest characters that a positive may have.
        keep_lines: whether positives keep their line breaks, as source code must.
        share: the share of the groups that is used, 0 to 1. A task with far more pairs than are written need not be
            cleaned as a whole. The groups' digests decide which are used.
    """
    limit = int(share * 2**64)
    seen: set[tuple[str, str]] = set()
    for pair in pairs:
        if share < 1 and int(digest("share", pair.group), 16) >= limit:
            continue
        query = tidy(pair.query)
        if len(query) < shortest_query:
            continue
        question = normalise(query)
        positives = []
        for text in pair.positives:
            positive = text[:MAX_CHARACTERS].rstrip() if keep_lines else tidy(text)
            answer = normalise(positive)
            if len(positive) < shortest_positive or answer == question or (question, answer) in seen:
                continue
            seen.add((question, answer))
            positives.append(positive)
        if positives:
            yield Pair(pair.group, query, tuple(positives))
