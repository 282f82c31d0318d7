"""Home Assistant's user interface in many languages (``homeassistant``, Apache-2.0).

Each component has one file of strings a language, with the same keys in all of them: a string is paired with
the English one of the same key, and a title with the description beside it. The group is the component, the
same for every task, so that a test component is unseen in all languages.
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
    """A string of the interface → the English string of the same key."""
    english = dict(_files(archive, "en"))
    for component, strings in _files(archive, language):
        known = dict(_flat(english.get(component, {})))
        for key, text in _flat(strings):
            translated = known.get(key, "")
            if translated and text.strip() != translated.strip() and not _has_placeholder(text, translated):
                yield Pair(f"homeassistant {component}", text, (translated,))


def titles(archive: ZipFile, language: str) -> Iterator[Pair]:
    """A title or name of the interface → the description beside it, in one language.

    Where the text is still the English one, as in files that are not wholly translated, it is left out.
    """
    english = dict(_files(archive, "en")) if language != "en" else {}
    for component, strings in _files(archive, language):
        untranslated = {text for _, text in _flat(english.get(component, {}))}
        for title, description in _described(strings):
            if description not in untranslated and not _has_placeholder(title, description):
                yield Pair(f"homeassistant {component}", title, (description,))


def _files(archive: ZipFile, language: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in sorted(archive.namelist()):
        match = _FILE.fullmatch(name)
        if match and match[2] == language:
            yield match[1], json.loads(archive.read(name))


def _flat(strings: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in strings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}/{key}")
        elif isinstance(value, str):
            yield f"{path}/{key}", value


def _described(strings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    title = strings.get("title") or strings.get("name")
    description = strings.get("description")
    if isinstance(title, str) and isinstance(description, str):
        yield title, description
    for value in strings.values():
        if isinstance(value, dict):
            yield from _described(value)


def _has_placeholder(*texts: str) -> bool:
    return any(_PLACEHOLDER.search(text) for text in texts)
