"""The recipes that come with tdro, and how the file is found that a command line names.

``sources/paper.yaml`` holds the paper's 25 tasks with where their data are. Several recipes share it, through the key
``data.sources``.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from tdro.errors import UserError
from tdro.files import exists

_FOLDER = Path(__file__).parent


def built_in() -> list[str]:
    """The names of the recipes that come with tdro."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def built_in_file(name: str) -> Path:
    """The file of a recipe that comes with tdro, or of the paper's sources (``sources/paper``).

    Raises:
        UserError: there is no recipe of that name.
    """
    name = name.removesuffix(".yaml")
    if name not in built_in() and name != "sources/paper":
        near = difflib.get_close_matches(name, built_in(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(built_in())}"
        raise UserError(f"no built-in recipe {name!r}; {hint}")
    return _FOLDER / f"{name}.yaml"


def names_recipe(path: str) -> bool:
    """Whether a command line names a recipe where it could name data: a YAML file, or a built-in recipe."""
    return Path(path).suffix in (".yaml", ".yml") or (path in built_in() and not exists(path))


def find(name_or_path: str) -> Path:
    """The recipe file that a command line names: a file at that path, else the built-in recipe of that name.

    Raises:
        UserError: it is neither. (A missing file that is clearly meant as a path is returned: reading it reports it.)
    """
    path = Path(name_or_path).expanduser()
    names_a_path = path.suffix or len(path.parts) > 1
    if path.is_file() or (names_a_path and name_or_path not in built_in()):  # ".5-0.5b" of a recipe looks like a suffix
        return path
    try:
        return built_in_file(name_or_path)
    except UserError as error:
        raise UserError(f"{name_or_path}: no such file, and {error}") from None


def sources_file(name_or_path: str) -> Path | None:
    """The YAML file that ``data.sources`` names: a file at that path, or the paper's for ``paper``; None if neither."""
    path = Path(name_or_path).expanduser()
    try:
        if path.is_file():
            return path
    except (OSError, ValueError):
        return None
    return built_in_file("sources/paper") if name_or_path == "paper" else None
