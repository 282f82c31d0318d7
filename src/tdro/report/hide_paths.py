"""Takes this machine's paths out of whatever is shown.

A report is mailed and a card is pushed to a hub; in whose home folder a data set was is nobody's business there.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from tdro.console import visible
from tdro.recipe.yaml_lines import RecipeDumper

# The folders of an absolute path, without its last part. The path begins the text, or stands after a space, quote or
# bracket, after "file:", or after another word and a colon if only one slash follows ("json:/data", not "https://…").
_ABSOLUTE = re.compile(
    r"""(?:\bfile:(?=[/\\])|(?<![^\s"'(\[=,;])|(?<=\w:)(?![/\\]{2}))(?:~|[A-Za-z]:)?[/\\]+(?:[^\s"'/\\]+[/\\]+)*(?=[^\s/\\])"""
)
# The same, but with at least one folder: an instruction may say "and /or", which is no path.
_FOLDERS = re.compile(_ABSOLUTE.pattern.replace("[/\\\\]+)*(?=", "[/\\\\]+)+(?="))


def hide_paths(value: str) -> str:
    """A text as it may be shown: absolute paths are cut to their last part, and invisible characters are escaped.

    Example::

        hide_paths("tokens of /home/me/models/mini")  # "tokens of mini"
    """
    return visible(_ABSOLUTE.sub("", value))


def recipe_without_paths(recipe: dict[str, Any]) -> str:
    """The recipe as YAML, without the run's folder and with absolute paths cut to their last part."""
    shown = without_paths({key: value for key, value in recipe.items() if key != "folder"})
    return yaml.dump(shown, Dumper=RecipeDumper, sort_keys=False, allow_unicode=True, width=110)


def without_paths(value: Any) -> Any:
    """A value of a recipe, whatever lists and mappings it is made of, with absolute paths cut to their last part."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if isinstance(value, str) and re.match(r"[/\\~]|[A-Za-z]:[/\\]", value):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return _FOLDERS.sub("", value) if isinstance(value, str) else value
