"""Tells from its text alone whether a source is a data file, a file on the hub, or a data set there.

Nothing is opened. The recipe is checked with these functions before anything is loaded, and
:mod:`tdro.data.read.sources` asks them again when it opens a source, so both take the same text for the same thing.
"""

from __future__ import annotations

import re

BEIR_FILES = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")

JSONL = (".jsonl", ".ndjson", ".json")
ARCHIVES = (".tar.gz", ".tgz", ".tar")  # with one JSONL file inside, as the paper's authors upload their data
TABLES = {".csv": ",", ".tsv": "\t"}
PARQUET = (".parquet",)
ENDINGS = (*JSONL, *(f"{ending}.gz" for ending in JSONL), *ARCHIVES, *PARQUET, *TABLES, *(f"{t}.gz" for t in TABLES))

_HUB_FILE = re.compile(r"hf://datasets/(?P<repository>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[^/@]+))?/(?P<file>[^/].*)")


def looks_like_file(text: str) -> bool:
    """Whether a text ends like a data file (``.jsonl``) or begins like a path (``./``)."""
    return text.lower().endswith(ENDINGS) or text.startswith(("/", "./", "../", "~"))


def is_hub_id(text: str) -> bool:
    """Whether a text has the form of a data set's id on the hub: ``owner/name``, or ``name`` alone."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", text) is not None


def is_hub_file(text: str) -> bool:
    """Whether a text names one file of a data set on the hub: ``hf://datasets/OWNER/NAME/FILE``."""
    return _HUB_FILE.fullmatch(text) is not None


def hub_file(text: str) -> tuple[str, str | None, str]:
    """Repository, revision (None: the newest) and file that a text names.

    ``hf://datasets/o/n@v1/a.jsonl`` gives ``("o/n", "v1", "a.jsonl")``.

    Raises:
        ValueError: :func:`is_hub_file` does not hold for the text.
    """
    match = _HUB_FILE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} names no file on the hub")
    revision = match["revision"]
    return match["repository"], revision and revision.replace("%2F", "/"), match["file"]
