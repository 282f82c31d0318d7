"""The recipes that come with tdro, by name; and finding the file that a command line means.

``sources/`` holds what several recipes share: mappings of task names to data, for the key ``data.sources``.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from tdro.errors import UserError

_FOLDER = Path(__file__).parent


def built_in() -> list[str]:
    """Names of the recipes that come with tdro."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def built_in_file(name: str) -> Path:
    """The file of a recipe that comes with tdro, or of its sources (``sources/paper``).

    Raises :class:`UserError` for an unknown name.
    """
    name = name.removesuffix(".yaml")
    if name not in built_in() and name != "sources/paper":
        near = difflib.get_close_matches(name, built_in(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(built_in())}"
        raise UserError(f"no built-in recipe {name!r}; {hint}")
    return _FOLDER / f"{name}.yaml"


def find(name_or_path: str) -> Path:
    """The recipe file at a path, or the built-in one of that name; a file of the user's own comes first.

    Raises:
        UserError: there is neither.
    """
    path = Path(name_or_path).expanduser()
    names_a_path = path.suffix or len(path.parts) > 1
    if path.is_file() or (names_a_path and name_or_path not in built_in()):  # qwen1.5-0.5b looks like a suffix
        return path  # a missing file is reported when it is read
    try:
        return built_in_file(name_or_path)
    except UserError as error:
        raise UserError(f"{name_or_path}: no such file, and {error}") from None


def sources_file(name_or_path: str) -> Path | None:
    """The YAML file of sources at a path, or the one of the paper for ``paper``; None if there is none."""
    path = Path(name_or_path).expanduser()
    try:
        if path.is_file():
            return path
    except (OSError, ValueError):
        return None
    return built_in_file("sources/paper") if name_or_path == "paper" else None
