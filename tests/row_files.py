"""Writes rows to a file in the format that its name says."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_rows(name: str, rows: list[dict[str, Any]]) -> str:
    """Write rows as Parquet, JSONL or CSV, by the end of the file's name. Returns the name."""
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), name)
    elif name.endswith("l"):  # .jsonl
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with Path(name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return name
