"""The same four rows in every format that a source may have, for tests of reading and building."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

ROWS: list[dict[str, Any]] = [
    {"id": "a", "query": "who won", "positives": ["The home side won."], "negatives": ["It rained.", "Tea was had."]},
    {"id": "b", "query": 'say "when"', "positives": ["Zwölf Uhr,\nmittags", "noon"], "negatives": []},
    {"id": "c", "query": "東京の人口", "positives": ["約1400万人"], "negatives": ["京都の寺"]},
    {"id": "d", "query": "empty?", "positives": ["yes"], "negatives": ["no"]},
]
FORMATS = (
    *("rows.jsonl", "rows.jsonl.gz", "rows.json", "rows.jsonl.tar.gz", "rows.parquet", "rows.csv", "rows.csv.gz"),
    *("rows.tsv", "utf16.csv", "folder", "beir", "released.jsonl"),
)


def released(row: dict[str, Any]) -> dict[str, Any]:
    """A row in the schema of the paper's data; titles are null."""
    passages = {
        f"{kind}_passages": [{"docid": f"{row['id']}-{n}", "title": None, "text": text} for n, text in enumerate(texts)]
        for kind, texts in (("positive", row["positives"]), ("negative", row["negatives"]))
    }
    return {"query_id": row["id"], "query": row["query"], **passages}


def lines(rows: list[Any]) -> bytes:
    """JSONL."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def archive(path: Path, content: bytes, name: str = "dedup/rows.jsonl") -> Path:
    """A .tar.gz with one file in it."""
    with tarfile.open(path, "w:gz") as file:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        file.addfile(member, io.BytesIO(content))
    return path


def beir(folder: Path, rows: list[dict[str, Any]] = ROWS, split: str = "train") -> Path:
    """A BEIR folder of the rows, with a query and passages that no judgement of the split names."""
    (folder / "qrels").mkdir(parents=True)
    corpus = [
        {"_id": f"{row['id']}{n}", "title": "", "text": text}
        for row in rows
        for n, text in enumerate([*row["positives"], *row["negatives"]])
    ]
    queries = [{"_id": row["id"], "text": row["query"]} for row in rows]
    (folder / "corpus.jsonl").write_bytes(lines(corpus))
    (folder / "queries.jsonl").write_bytes(lines([*queries, {"_id": "unjudged", "text": "?"}]))
    judged = [f"{row['id']}\t{row['id']}{n}\t1\n" for row in rows for n in range(len(row["positives"]))]
    judged += [f"{row['id']}\t{row['id']}{len(row['positives'])}\t0\n" for row in rows if row["negatives"]]
    (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    return folder


def _table(rows: list[dict[str, Any]], delimiter: str) -> str:
    text = io.StringIO()
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, quotechar=None if delimiter == "\t" else '"')
    writer.writerow(["id", "anchor", "positive_1", "positive_2", "negative_1", "negative_2"])
    for row in rows:
        sides = [[*row[side], "", ""][:2] for side in ("positives", "negatives")]
        cells = [row["id"], row["query"], *sides[0], *sides[1]]
        writer.writerow([cell.replace("\n", " ") for cell in cells] if delimiter == "\t" else cells)
    return text.getvalue()


def write(folder: Path, kind: str, rows: list[dict[str, Any]] = ROWS) -> Path:
    """The rows in one of :data:`FORMATS`."""
    path = folder / kind
    if kind == "beir":
        return beir(path, rows)
    if kind == "folder":
        path.mkdir()
        half = len(rows) // 2
        (path / "1.jsonl").write_bytes(lines(rows[:half]))
        (path / "2.jsonl.gz").write_bytes(gzip.compress(lines(rows[half:])))
        (path / ".hidden.jsonl").write_text("no rows")
        (path / "readme.md").write_text("not read")
    elif kind == "released.jsonl":
        path.write_bytes(lines([released(row) for row in rows]))
    elif kind == "rows.parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=3)
    elif kind.endswith(".tar.gz"):
        archive(path, lines(rows))
    elif kind == "utf16.csv":
        path.write_bytes(_table(rows, ",").encode("utf-16"))
    elif ".csv" in kind or ".tsv" in kind:
        content = _table(rows, "\t" if ".tsv" in kind else ",").encode()
        path.write_bytes(gzip.compress(content) if kind.endswith(".gz") else content)
    else:
        path.write_bytes(gzip.compress(lines(rows)) if kind.endswith(".gz") else lines(rows))
    return path
