"""Biomedical terms: a synonym becomes the definition (``cellxgene-ontology-guide``, MIT).

Diseases, anatomy, cell types and experimental factors; the newest file of each. The group is the term's
label, so that a term that two ontologies share is on one side.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from zipfile import ZipFile

from tdro.data.same_text import normalise
from tdro.quickstart.pairs import Pair, digest

ONTOLOGIES = ("MONDO", "UBERON", "CL", "EFO")


def definitions(archive: ZipFile) -> Iterator[Pair]:
    """One synonym of a term (or its label, where it has none) → the definition.

    One a term, so that no two rows share a passage; which one is arbitrary, by digest.
    """
    for ontology in ONTOLOGIES:
        start = f"cellxgene_ontology_guide/data/{ontology}-ontology-"
        name = max(name for name in archive.namelist() if name.startswith(start))
        for term in json.loads(gzip.decompress(archive.read(name))).values():
            text = term.get("description", "")
            if term.get("deprecated") or "[Automatically generated" in text:
                continue
            synonym = min(term.get("synonyms") or [term["label"]], key=digest)
            yield Pair(f"term {normalise(term['label'])}", synonym, (text,))
