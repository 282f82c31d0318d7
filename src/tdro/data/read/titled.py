"""Join a passage's title and text. Everything that joins them does it here, so that all mean the same text."""

from __future__ import annotations


def titled(title: str | None, text: str | None) -> str:
    """``"title text"``, as mteb and BEIR join them. Where one of the two is missing or blank, it is the other alone."""
    return " ".join(bare for part in (title, text) if part and (bare := part.strip()))
