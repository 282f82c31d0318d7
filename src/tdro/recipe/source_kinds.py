"""What a text names: a data file by its ending, a file on the hub, or a data set there. Nothing is opened.

The recipe's checks ask here before anything is loaded, and :mod:`tdro.data.read.sources` again when it opens; both mean
the same by the same text.
"""

from __future__ import annotations

import re

BEIR_FILES = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")

JSONL = (".jsonl", ".ndjson", ".json")
ARCHIVES = (".tar.gz", ".tgz", ".tar")  # one JSONL file in each, as the paper's authors upload them
TABLES = {".csv": ",", ".tsv": "\t"}
PARQUET = (".parquet",)
ENDINGS = (*JSONL, *(f"{ending}.gz" for ending in JSONL), *ARCHIVES, *PARQUET, *TABLES, *(f"{t}.gz" for t in TABLES))

_HUB_FILE = re.compile(r"hf://datasets/(?P<repository>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[^/@]+))?/(?P<file>[^/].*)")


def looks_like_file(text: str) -> bool:
    """Whether a text ends as a data file does, or begins as a path does."""
    return text.lower().endswith(ENDINGS) or text.startswith(("/", "./", "../", "~"))


def is_hub_id(text: str) -> bool:
    """Whether a text may be the id of a data set on the hub: ``owner/name``, or ``name`` alone."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", text) is not None


def is_hub_file(text: str) -> bool:
    """Whether a text names a file in a data set's repository."""
    return _HUB_FILE.fullmatch(text) is not None


def hub_file(text: str) -> tuple[str, str | None, str]:
    """Repository, revision (None: the newest) and file of a text for which :func:`is_hub_file` holds."""
    match = _HUB_FILE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} names no file on the hub")
    revision = match["revision"]
    return match["repository"], revision and revision.replace("%2F", "/"), match["file"]
