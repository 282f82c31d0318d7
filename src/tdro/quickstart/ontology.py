"""A task of biomedical terms: a synonym finds the definition (``cellxgene-ontology-guide``, MIT).

The terms are diseases, anatomy, cell types and experimental factors. The newest file of each is read. The group is the
term's label, so a term that stands in two ontologies trains in both or tests in both.
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
    """The query is one synonym of a term (its label if it has none), the positive the term's definition.

    Only one synonym of each term is used, so that no two rows have the same passage. Their digests decide which.
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
