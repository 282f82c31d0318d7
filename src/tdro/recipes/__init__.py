"""The recipes that come with tdro, by name; and finding the file that a command line means."""

from __future__ import annotations

import difflib
from pathlib import Path

from tdro.errors import UserError

_FOLDER = Path(__file__).parent


def built_in() -> list[str]:
    """Names of the recipes that come with tdro."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def built_in_file(name: str) -> Path:
    """The file of a recipe that comes with tdro. Raises :class:`UserError` for an unknown name."""
    name = name.removesuffix(".yaml")
    if name not in built_in():
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
    if path.is_file() or path.suffix or len(path.parts) > 1:
        return path  # a missing file is reported when it is read
    try:
        return built_in_file(name_or_path)
    except UserError as error:
        raise UserError(f"{name_or_path}: no such file, and {error}") from None
