"""How a command prints its answer: as text, or with ``--json`` as the numbers that the text is made of."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json`` to a command that prints a table."""
    parser.add_argument(
        "--json", action="store_true", help="print the numbers as JSON instead, and nothing else to the output"
    )


def print_answer(options: argparse.Namespace, value: Any, text: Callable[[], str]) -> None:
    """Print what a command found.

    Args:
        options: of the command; with ``json``, the value is printed.
        value: what the text is made of: dataclasses, arrays and paths may be in it.
        text: makes the text; called if it is printed.
    """
    from tdro.console import show

    if options.json:
        print(as_json(value))
    else:
        show(text())


def as_json(value: Any) -> str:
    """A value as indented JSON without NaN and infinity, which become null.

    Example::

        as_json({"a": math.nan, "b": Path("x")})  # '{"a": null, "b": "x"}', on four lines
    """
    return json.dumps(plain(value), ensure_ascii=False, indent=1, allow_nan=False)


def plain(value: Any) -> Any:
    """A value made of nothing but what JSON has. A dataclass becomes a dict of its fields, a path a text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy's arrays and numbers
        return plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in value]
    raise TypeError(f"{type(value).__name__}: not a value that JSON has")
