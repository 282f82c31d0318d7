"""Rows per second and peak memory of build, check, dedup and mine, each beside what one would use instead.

    python benchmarks/data.py                        # 10,000, 100,000 and 1,000,000 rows
    python benchmarks/data.py --rows 100000 --only build load_dataset

Made-up rows of words drawn as in a language (few common ones, many rare ones): a query of 8, a positive of 60, and a
negative of 60. Each contestant runs in a process of its own, from a JSONL file. See README.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tdro.files import read_json, write_json

CLEAR = Path("/proc/self/clear_refs")
Figures = dict[str, dict[str, float]]  # of one size: contestant to its seconds and MB


def build(file: Path, folder: Path) -> None:
    """`tdro data build`: every row cleaned, and written as Arrow."""
    from tdro.data.mixtures.build import build_task
    from tdro.recipe.data_sections import Source

    build_task(Source(source=str(file)), folder / "task", "rows")


def load_dataset(file: Path, folder: Path) -> None:
    """datasets: the file to Arrow, then a map to the same columns; no row is checked."""
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(folder / "cache"))

    def columns(batch: dict[str, list[str]]) -> dict[str, list[object]]:
        return {
            "query": list(batch["anchor"]),
            "positives": [[text] for text in batch["positive"]],
            "negatives": [[text] for text in batch["negative"]],
        }

    rows.map(columns, batched=True, remove_columns=["anchor", "positive", "negative"])


def check(file: Path, folder: Path) -> None:
    """`tdro data check`."""
    from tdro.data.quality.check import check_files

    assert check_files([str(file)]).tasks[0].kept


def read(file: Path, folder: Path) -> None:
    """The floor of a check: every line parsed, nothing looked at."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            json.loads(line)


def dedup(file: Path, folder: Path) -> None:
    """`tdro data dedup`'s comparison: near-duplicates of a tenth of the queries among the others."""
    from tdro.data.neardup.near_duplicates import near_duplicates

    near_duplicates(*_queries(file))


def simhash(file: Path, folder: Path) -> None:
    """The paper's: the `simhash` package's index, at most 2 bits apart."""
    import logging

    from simhash import Simhash, SimhashIndex

    logging.disable(logging.WARNING)  # it warns of each large bucket
    train, test = _queries(file)
    index = SimhashIndex([(str(number), Simhash(text)) for number, text in enumerate(train)], k=2)
    for text in test:
        index.get_near_dups(Simhash(text))


def mine(file: Path, folder: Path) -> None:
    """`tdro data mine --by bm25`: one negative a row."""
    from tdro.mining.mine_task import mine_task
    from tdro.mining.mining_settings import MiningSettings

    mine_task(_task(file), MiningSettings(by="bm25", per_row=1, relative_margin=None))


def bm25s(file: Path, folder: Path) -> None:
    """The bm25s package alone: the best 11 passages of each query, and the first that is not the positive."""
    import bm25s as package

    rows = [json.loads(line) for line in file.open(encoding="utf-8")]
    index = package.BM25()
    index.index(package.tokenize([row["positive"] for row in rows], show_progress=False), show_progress=False)
    queries = package.tokenize([row["anchor"] for row in rows], show_progress=False)
    found, _ = index.retrieve(queries, k=11, show_progress=False)
    for number, best in enumerate(found):
        next(place for place in best if place != number)


class Contestant(NamedTuple):
    """What is measured, the one that it is compared with, and the most rows that it is given."""

    run: Callable[[Path, Path], None]
    beside: str = ""
    largest: int | None = None  # where it compares each query with all rows, so that the time grows with their square


CONTESTANTS = {
    "build": Contestant(build),
    "load_dataset": Contestant(load_dataset, "build"),
    "check": Contestant(check),
    "read": Contestant(read, "check"),
    "dedup": Contestant(dedup),
    "simhash": Contestant(simhash, "dedup"),
    "mine": Contestant(mine),
    "bm25s": Contestant(bm25s, "mine", 10_000),
}


def _queries(file: Path) -> tuple[list[str], list[str]]:
    queries = [json.loads(line)["anchor"] for line in file.open(encoding="utf-8")]
    return queries[len(queries) // 10 :], queries[: len(queries) // 10]


def _task(file: Path) -> object:
    from datasets import Dataset, Features, List, Value

    from tdro.data.task import Task

    rows = [json.loads(line) for line in file.open(encoding="utf-8")]
    columns = {
        "id": [str(number) for number in range(len(rows))],
        "query": [row["anchor"] for row in rows],
        "positives": [[row["positive"]] for row in rows],
        "negatives": [[] for _ in rows],
    }
    text = Value("string")
    kinds = Features({"id": text, "query": text, "positives": List(text), "negatives": List(text)})
    return Task("rows", Dataset.from_dict(columns, kinds))


def write_rows(file: Path, rows: int) -> None:
    """The made-up rows, always the same."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnoprstuvw", k=draw.randint(2, 11))) for _ in range(50_000)]
    common = list(itertools.accumulate(1 / (rank + 10) for rank in range(len(words))))

    def text(length: int) -> str:
        return " ".join(draw.choices(words, cum_weights=common, k=length))

    with file.open("w", encoding="utf-8") as out:
        for _ in range(rows):
            query = text(8)
            row = {"anchor": query, "positive": f"{query[:20]} {text(57)}.", "negative": f"{text(60)}."}
            out.write(json.dumps(row) + "\n")


def run_one(name: str, file: Path, folder: Path, result: Path) -> None:
    """In a process of its own: seconds after the imports, and the peak of memory above that before."""
    contestant = CONTESTANTS[name].run
    small = folder / "small.jsonl"
    with file.open(encoding="utf-8") as lines:
        small.write_text("".join(itertools.islice(lines, 200)), encoding="utf-8")
    (folder / "first").mkdir()
    contestant(small, folder / "first")  # imports
    before = memory("VmRSS")
    if CLEAR.exists():
        CLEAR.write_text("5", encoding="ascii")  # the peak is counted anew from here
    started = time.perf_counter()
    contestant(file, folder)
    write_json(result, {"seconds": time.perf_counter() - started, "memory_mb": memory("VmHWM") - before})


def memory(key: str, process: int | str = "self") -> float:
    """MB of a process, as Linux counts them; nan elsewhere, and of one that has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return float("nan")
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:")), float("nan"))


def measure(name: str, file: Path) -> dict[str, float]:
    """The contestant in a fresh process, with a cache of its own."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        environment = {**os.environ, "TDRO_CACHE": str(Path(folder) / "tdro"), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, __file__, "--one", name, str(file), folder, str(result)]
        subprocess.run(command, check=True, env=environment)
        return dict(read_json(result))


def main() -> None:
    """Measure, print the tables, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "data.json")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)  # what a child does
    arguments = parser.parse_args()
    if arguments.one:
        run_one(arguments.one[0], *map(Path, arguments.one[1:]))
        return
    figures: dict[str, Figures] = read_json(arguments.json) if arguments.json.exists() else {}
    for rows in arguments.rows:
        found = figures.setdefault(str(rows), {})
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.jsonl"
            write_rows(file, rows)
            print(f"\n{rows:,} rows, {file.stat().st_size / 1e6:.0f} MB\n")
            print("| | rows/s | MB | times tdro's speed |\n|---|---|---|---|")
            for name in arguments.only:
                largest = CONTESTANTS[name].largest
                if largest and rows > largest:
                    print(_not_run(name, rows, figures), flush=True)
                    continue
                found[name] = measure(name, file)
                print(_line(name, rows, found), flush=True)
                write_json(arguments.json, figures)


def _line(name: str, rows: int, found: Figures) -> str:
    seconds, beside = found[name]["seconds"], found.get(CONTESTANTS[name].beside)
    ratio = f"{beside['seconds'] / seconds:.2f}" if beside else ""
    return f"| {name} | {rows / seconds:,.0f} | {found[name]['memory_mb']:.0f} | {ratio} |"


def _not_run(name: str, rows: int, figures: dict[str, Figures]) -> str:
    largest = CONTESTANTS[name].largest or rows
    known = figures.get(str(largest), {}).get(name)
    hours = known["seconds"] * (rows / largest) ** 2 / 3600 if known else 0
    told = f": it would take about {f'{hours:.0f} h' if hours >= 1 else f'{60 * hours:.0f} min'}" if known else ""
    return f"| {name} | not run above {largest:,} rows{told} | | |"


if __name__ == "__main__":
    main()
