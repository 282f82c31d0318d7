"""The digest of rows, computed slowly from plain Python values: what :mod:`tdro.data.mixtures.content` must give."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from tdro.data.task import COLUMNS


def _column(cells: Sequence[Any]) -> str:
    lists = lengths = content = b""
    for cell in cells:
        if isinstance(cell, list):
            lists += struct.pack("<q", len(cell))
        for text in cell if isinstance(cell, list) else [cell]:
            lengths += struct.pack("<q", len(text.encode()))
            content += text.encode()
    return "".join(hashlib.sha256(part).hexdigest() for part in (lists, lengths, content))


def _of(shards: Sequence[str]) -> str:
    return hashlib.sha256("".join(hashlib.sha256(one.encode()).hexdigest() for one in shards).encode()).hexdigest()


def content(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = COLUMNS, shard: int = 100_000) -> str:
    """Of some columns of rows, ``shard`` rows at a time."""
    parts = [rows[start : start + shard] for start in range(0, len(rows), shard)]
    return _of(["".join(_column([row[name] for row in part]) for name in columns) for part in parts])
