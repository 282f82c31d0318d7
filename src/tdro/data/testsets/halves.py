"""Which half of a test set's queries weights may be learned on, and which half judges them.

A query's text alone says it: that of :func:`tdro.data.same_text.normalise`, hashed. So the halves are the same in every
run and for every seed, a query that stands in two test sets is in the same half of both, and a new query moves no other
one. The halves are about equal, and not exactly. See docs/decisions.md, halves-by-text.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from tdro.data.read.beir import judgements, qrels_file, strict
from tdro.data.same_text import normalise
from tdro.data.testsets.test_texts import beir_texts

_SALT = b"tdro-halves/1:"


def may_be_looked_at(query: str) -> bool:
    """Whether weights may be learned on a query; if not, it judges them.

    Args:
        query: its text.
    """
    return hashlib.sha256(_SALT + normalise(query).encode("utf-8", "replace")).digest()[0] % 2 == 0


def answered_queries(folder: Path | str) -> dict[str, str]:
    """The queries of a BEIR folder that have a relevant passage, by id, in the order of the file; no corpus is read.

    Raises:
        UserError: a file is missing or broken, named by its line.
    """
    folder = Path(folder).expanduser()
    path = qrels_file(folder, "test")
    answered = {query for _, query, _, score in strict(path, judgements(path)) if score > 0}
    return {key: text for key, text in beir_texts(folder, folder.name).queries.items() if key in answered}
