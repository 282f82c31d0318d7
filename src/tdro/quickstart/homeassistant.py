"""Tasks from Home Assistant's user interface, in many languages (``homeassistant``, Apache-2.0).

Each component has one file of strings for each language, with the same keys in all of them. So a string can be paired
with the English one of the same key, and a title with the description beside it. The group is the component, in every
task: a component that is tested has not been trained on in any language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from zipfile import ZipFile

from tdro.quickstart.pairs import Pair

_FILE = re.compile(r"homeassistant/components/([^/]+)/translations/([A-Za-z-]+)\.json")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}|\[%|%\]")


def translations(archive: ZipFile, language: str) -> Iterator[Pair]:
    """The query is a string of the interface, the positive the English string of the same key."""
    english = dict(_components(archive, "en"))
    for component, strings in _components(archive, language):
        known = dict(_flat(english.get(component, {})))
        for key, text in _flat(strings):
            translated = known.get(key, "")
            if translated and text.strip() != translated.strip() and not _has_placeholder(text, translated):
                yield Pair(f"homeassistant {component}", text, (translated,))


def titles(archive: ZipFile, language: str) -> Iterator[Pair]:
    """The query is a title or name of the interface, the positive the description beside it, in the same language.

    A description that is still English, because the file is not wholly translated, is left out.
    """
    english = dict(_components(archive, "en")) if language != "en" else {}
    for component, strings in _components(archive, language):
        untranslated = {text for _, text in _flat(english.get(component, {}))}
        for title, description in _titles_with_descriptions(strings):
            if description not in untranslated and not _has_placeholder(title, description):
                yield Pair(f"homeassistant {component}", title, (description,))


def _components(archive: ZipFile, language: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each component that has a file in a language, with what the file holds."""
    for name in sorted(archive.namelist()):
        match = _FILE.fullmatch(name)
        if match and match[2] == language:
            yield match[1], json.loads(archive.read(name))


def _flat(strings: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """All strings of nested objects, each with its path: ``{"a": {"b": "text"}}`` gives ``("/a/b", "text")``."""
    for key, value in strings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}/{key}")
        elif isinstance(value, str):
            yield f"{path}/{key}", value


def _titles_with_descriptions(strings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The title (or name) and the description of each of the nested objects that has both."""
    title = strings.get("title") or strings.get("name")
    description = strings.get("description")
    if isinstance(title, str) and isinstance(description, str):
        yield title, description
    for value in strings.values():
        if isinstance(value, dict):
            yield from _titles_with_descriptions(value)


def _has_placeholder(*texts: str) -> bool:
    """Whether a text has a gap that the program fills in, such as ``{name}``."""
    return any(_PLACEHOLDER.search(text) for text in texts)
