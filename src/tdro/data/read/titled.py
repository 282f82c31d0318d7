"""A passage's title and text as one text. Everything that joins them does it here, so that all mean the same text."""

from __future__ import annotations


def titled(title: str | None, text: str | None) -> str:
    """``"title text"``, as mteb and BEIR join them; the one alone where the other is missing or blank."""
    return " ".join(bare for part in (title, text) if part and (bare := part.strip()))
