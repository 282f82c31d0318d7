"""Which test queries the weights of a run were learned on: ``weights/gain/target.json``.

Whoever compares models later, in whatever way, leaves these queries out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdro.errors import UserError
from tdro.files import read_json, write_json

TARGET = Path("weights", "gain", "target.json")  # in a run's folder
FORMAT = "tdro-target/1"


@dataclass(frozen=True)
class LookedAt:
    """The queries of one test set that weights were learned on.

    Attributes:
        test: the test set's name.
        queries: their ids; possibly none.
    """

    test: str
    queries: tuple[str, ...]


def write_looked_at(path: Path, found: Mapping[str, LookedAt]) -> None:
    """Write ``target.json``, or remove it where nothing was looked at.

    Args:
        path: of the file.
        found: by the first 16 digits of a test set's checksum, which its results have as ``data``.
    """
    if not found:
        path.unlink(missing_ok=True)
        return
    sets = {data: {"test": each.test, "queries": list(each.queries)} for data, each in found.items()}
    write_json(path, {"format": FORMAT, "looked_at": sets})


def read_looked_at(path: Path) -> dict[str, LookedAt]:
    """What :func:`write_looked_at` wrote; empty if there is no such file.

    Raises:
        UserError: the file is broken.
    """
    if not path.is_file():
        return {}
    content: Any = read_json(path)
    try:
        if content["format"] != FORMAT:
            raise ValueError
        return {
            data: LookedAt(str(each["test"]), tuple(map(str, each["queries"])))
            for data, each in content["looked_at"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: does not say which test queries the weights were learned on; run `tdro learn RECIPE --force`"
        ) from error
