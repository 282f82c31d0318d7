"""A JSONL file of any size: built in constant memory, killed in the middle, gone on with, and opened.

    python benchmarks/big_file.py --folder /big/disk                   # 10 M rows, 20 GB, and as much again built
    python benchmarks/big_file.py --rows 200000 --compare

The file is a thousand made-up rows, again and again, with a running number in each query. A process builds it and is
killed (SIGKILL) when half of the rows are in whole files; a second one goes on. A third one opens what was built. With
``--compare`` it is then built once more, without a kill, and the fingerprints are compared. Memory: Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from data import memory
from tqdm import tqdm

from tdro.data.mixtures.content import SHARD_ROWS
from tdro.errors import UserError
from tdro.files import read_json

BLOCK = 1_000  # distinct rows
LOOKED_AT = 1_000  # rows, at random


class Memory(NamedTuple):
    """A look at a building process: rows in whole files, and the peak of its memory so far in MB."""

    built: int
    mb: float


def write_file(path: Path, rows: int, characters: int) -> None:
    """The made-up rows, each of about so many characters."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnoprstuvw", k=draw.randint(2, 11))) for _ in range(10_000)]

    def text(length: int) -> str:
        return " ".join(draw.choices(words, k=max(1, length // 7)))[:length].strip()

    passage = (characters - 100) // 2  # 50 characters are the query, and the others JSON
    ends = [f' {text(50)}", "positive": "{text(passage)}", "negative": "{text(passage)}"}}\n' for _ in range(BLOCK)]
    with (
        path.open("w", encoding="ascii") as out,
        tqdm(total=rows, desc="writing", unit=" rows", unit_scale=True) as bar,
    ):
        for start in range(0, rows, BLOCK):
            block = ends[: rows - start]
            out.write("".join(f'{{"anchor": "{number}{end}' for number, end in enumerate(block, start)))
            bar.update(len(block))


def build(file: Path, folder: Path, rows: int, shard: int, kill: bool = False) -> tuple[float, list[Memory]]:
    """Seconds and memory of a build in a process of its own; killed, if asked, when half of the rows are in files."""
    found: list[Memory] = []
    started = time.perf_counter()
    process = _child("build", file, folder, shard)
    while process.poll() is None:
        built = _built(folder)
        found.append(Memory(built, memory("VmHWM", process.pid)))
        if kill and built >= rows / 2:
            process.kill()
        time.sleep(0.05)
    if process.returncode and not kill:
        raise SystemExit(f"building ended with status {process.returncode}")
    return time.perf_counter() - started, found


def _built(folder: Path) -> int:
    """Rows in whole files."""
    for name in ("task.json", "state.json"):
        with contextlib.suppress(UserError):  # not there, or not any more
            return int(read_json(folder / name)["rows"])
    return 0


def peak(found: list[Memory], rows: float = math.inf) -> float:
    """MB, until so many rows were built."""
    return max((at.mb for at in found if at.built < rows and not math.isnan(at.mb)), default=math.nan)


def _child(*command: object) -> subprocess.Popen[str]:
    """This script again, in a fresh process."""
    return subprocess.Popen([sys.executable, __file__, *map(str, command)], stdout=subprocess.PIPE, text=True)


def _build_here(file: str, folder: str, shard: str) -> None:
    from tdro.data.mixtures import build as module
    from tdro.recipe.data_sections import Source

    module.SHARD_ROWS = int(shard)
    module.build_task(Source(source=file), folder, "building")


def _open_here(folder: str) -> None:
    import datasets  # noqa: F401  # its import is not counted

    from tdro.data.mixtures.built import read_built

    before, started = memory("VmRSS"), time.perf_counter()
    task = read_built(Path(folder))
    rows = task.open()
    opened, on_top = time.perf_counter() - started, memory("VmRSS") - before
    places = random.Random(1).choices(range(len(rows)), k=LOOKED_AT)
    started = time.perf_counter()
    right = sum(rows[place]["query"].split(" ")[0] == str(place) for place in places)
    looked = time.perf_counter() - started
    found = {"rows": len(rows), "fingerprint": task.fingerprint, "right": right}
    print(json.dumps({**found, "open_s": opened, "open_mb": on_top, "look_s": looked}))


def opened(folder: Path) -> dict[str, Any]:
    """What a fresh process finds: rows, fingerprint, seconds and MB to open, seconds to look at random rows."""
    process = _child("open", folder)
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"opening ended with status {process.returncode}")
    return dict(json.loads(out))


def main() -> None:
    """Write, build, kill, go on, open, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--characters", type=int, default=2_000, help="of a row (2000)")
    parser.add_argument(
        "--folder", type=Path, help="where there is room for twice the file; else the system's for such files"
    )
    parser.add_argument("--compare", action="store_true", help="build once more without a kill, and compare")
    parser.add_argument("--shard", type=int, default=SHARD_ROWS, help="rows of a file of the built task (100000)")
    arguments = parser.parse_args()
    rows, shard = arguments.rows, arguments.shard
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        os.environ["TDRO_CACHE"] = str(Path(name) / "cache")
        file, folder = Path(name) / "rows.jsonl", Path(name) / "task"
        started = time.perf_counter()
        write_file(file, rows, arguments.characters)
        size = file.stat().st_size
        print(f"{rows:,} rows, {size / 1e9:.2f} GB, written in {time.perf_counter() - started:.0f} s")

        seconds, first = build(file, folder, rows, shard, kill=True)
        print(f"killed after {seconds:.0f} s with {_built(folder):,} rows in whole files")
        more, second = build(file, folder, rows, shard)
        rate = rows / (seconds + more)
        print(
            f"gone on for {more:.0f} s: {rate:,.0f} rows/s, {size / (seconds + more) / 1e6:.0f} MB/s, the kill included"
        )
        print(f"peak memory {peak(first, rows / 10):.0f} MB in the first tenth, {peak(first + second):.0f} MB in all")

        found = opened(folder)
        print(f"opened in {found['open_s']:.2f} s with {found['open_mb']:.0f} MB on top")
        print(f"{LOOKED_AT:,} random rows in {found['look_s']:.2f} s, {found['right']:,} of them right")
        if (found["rows"], found["right"]) != (rows, LOOKED_AT):
            raise SystemExit(f"{found['rows']:,} rows were built")
        if arguments.compare:
            build(file, Path(name) / "whole", rows, shard)
            same = opened(Path(name) / "whole")["fingerprint"] == found["fingerprint"]
            raise SystemExit(None if same else "without a kill, the fingerprint is another one")


if __name__ == "__main__":
    children = {"build": _build_here, "open": _open_here}
    if child := children.get(" ".join(sys.argv[1:2])):
        child(*sys.argv[2:])
    else:
        main()
