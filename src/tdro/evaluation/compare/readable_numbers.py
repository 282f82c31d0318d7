"""Writes numbers the same way in the terminal, the report and the model card.

A missing or non-finite number is an en dash. See docs/decisions.md, numbers-without-locale.
"""

from __future__ import annotations

import math
from typing import Any

NOTHING = "–"


def as_number(value: Any) -> float:
    """``value`` as a float; NaN if it is None, text, or anything else that is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    return float(value)


def nested(data: Any, *keys: str) -> Any:
    """``data[keys[0]][keys[1]]…``; None if a key is missing on the way."""
    for key in keys:
        if not isinstance(data, dict) or key not in data:
            return None
        data = data[key]
    return data


def fixed(value: Any, digits: int = 1) -> str:
    """``value`` with so many decimals and a true minus sign: ``−1.5``."""
    value = as_number(value)
    if not math.isfinite(value):
        return NOTHING
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def points(value: Any, digits: int = 1) -> str:
    """A fraction times 100: 0.215 is ``21.5``."""
    return fixed(100 * as_number(value), digits)


def signed(value: Any, digits: int = 2) -> str:
    """A difference of fractions times 100, always with its sign: 0.0098 is ``+0.98``."""
    text = points(value, digits)
    return text if text == NOTHING or text.startswith("−") or float(text) == 0 else f"+{text}"


def p_value(value: Any) -> str:
    """A p-value: ``< 0.001``, ``0.034``, ``0.21``."""
    value = as_number(value)
    if not math.isfinite(value):
        return NOTHING
    if value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def p_phrase(value: Any) -> str:
    """A p-value in a sentence: ``p < 0.001``, ``p = 0.034``, or ``p unknown``."""
    text = p_value(value)
    return "p unknown" if text == NOTHING else f"p {text}" if text.startswith("<") else f"p = {text}"


def plural(n: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``, ``2 queries``."""
    many = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
    return f"{n} {noun if n == 1 else many}"
