"""Dictionary tasks: a word finds its definitions (``denckring-*``: WordNet, German and French Wiktionary).

A line of the file is a word, a tab, and definitions separated by `` | ``. The group is the word's normalised form, in
all languages: so *station* trains in all of them or tests in all of them.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from zipfile import ZipFile

from tdro.data.same_text import normalise
from tdro.quickstart.pairs import Pair

MOST = 3  # definitions of a word
SHORTEST = 15  # characters of a definition; shorter ones are mostly cross references


def definitions(archive: ZipFile) -> Iterator[Pair]:
    """The query is a word, the positives its first definitions.

    A definition that many words share ("French commune") is used for the first of them only.
    """
    name = next(name for name in archive.namelist() if name.endswith("/data/glosses.txt.gz"))
    seen: set[str] = set()
    for line in gzip.decompress(archive.read(name)).decode("utf-8").split("\n"):
        word, _, glosses = line.partition("\t")
        texts = [text for text in glosses.split(" | ") if len(text) >= SHORTEST and text not in seen][:MOST]
        seen.update(texts)
        if texts:
            yield Pair(f"word {normalise(word)}", word, tuple(texts))
