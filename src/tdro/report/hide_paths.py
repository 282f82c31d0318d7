"""What a page or card may show to everybody: no path of the machine that made it, and no characters that hide others.

A report is mailed and a card is pushed to a hub; whose home a data set lay in is nobody's business there.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from tdro.console import visible
from tdro.recipe.yaml_lines import RecipeDumper

# At the start of a text, after a space, quote or bracket, after "file:", or after another word with one slash behind it
# ("json:/data"); the slashes of other URLs stand after other signs.
_ABSOLUTE = re.compile(
    r"""(?:\bfile:(?=[/\\])|(?<![^\s"'(\[=,;])|(?<=\w:)(?![/\\]{2}))(?:~|[A-Za-z]:)?[/\\]+(?:[^\s"'/\\]+[/\\]+)*(?=[^\s/\\])"""
)
# The same with a folder at least, for texts such as instructions, which may say "and /or".
_FOLDERS = re.compile(_ABSOLUTE.pattern.replace("[/\\\\]+)*(?=", "[/\\\\]+)+(?="))


def public(value: str) -> str:
    """A text in which absolute paths are cut to their last part.

    Example::

        public("tokens of /home/me/models/mini")  # "tokens of mini"
    """
    return visible(_ABSOLUTE.sub("", value))


def public_recipe(recipe: dict[str, Any]) -> str:
    """The recipe in YAML without the run's folder and without absolute paths."""
    shown = without_paths({key: value for key, value in recipe.items() if key != "folder"})
    return yaml.dump(shown, Dumper=RecipeDumper, sort_keys=False, allow_unicode=True, width=110)


def without_paths(value: Any) -> Any:
    """A value of a recipe with absolute paths, in whatever depth, cut to their last part."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if isinstance(value, str) and re.match(r"[/\\~]|[A-Za-z]:[/\\]", value):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return _FOLDERS.sub("", value) if isinstance(value, str) else value
