"""Dictionaries: a word becomes its definitions (``denckring-*``: WordNet, German and French Wiktionary).

A line is a word, a tab, and definitions separated by `` | ``. The group is the word's normalised form and the
same in every language, so that *station* is on one side in all of them.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from zipfile import ZipFile

from tdro.data.same_text import normalise
from tdro.quickstart.pairs import Pair

MOST = 3  # definitions a word
SHORTEST = 15  # characters: shorter ones are mostly cross references


def definitions(archive: ZipFile) -> Iterator[Pair]:
    """A word → its first definitions. A definition that many words share ("French commune") is taken once."""
    name = next(name for name in archive.namelist() if name.endswith("/data/glosses.txt.gz"))
    seen: set[str] = set()
    for line in gzip.decompress(archive.read(name)).decode("utf-8").split("\n"):
        word, _, glosses = line.partition("\t")
        texts = [text for text in glosses.split(" | ") if len(text) >= SHORTEST and text not in seen][:MOST]
        seen.update(texts)
        if texts:
            yield Pair(f"word {normalise(word)}", word, tuple(texts))
