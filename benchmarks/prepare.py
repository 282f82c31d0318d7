"""Seconds and memory between the rows on disk and the first step: numbering the texts, and tokenizing them.

    python benchmarks/prepare.py                     # 2,000,000 rows: half an hour on a core
    python benchmarks/prepare.py --rows 100000

Made-up rows (those of data.py: a query of 8 words, a positive and a negative of 60), built as Arrow, with MiniLM's
tokenizer. ``first`` makes everything, ``again`` finds it on disk, as the next stage and every other rank do; each in a
process of its own. Memory is the process's own at its peak: pages of mapped files are everybody's, and can be let go.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from data import write_rows

from tdro.files import read_json, write_json

STEP_ROWS, STEPS = 256, 200


@contextlib.contextmanager
def measured(figures: dict[str, Any], name: str) -> Iterator[None]:
    """Seconds of a block, and the MB that it takes at its peak beyond what the process had before."""
    seen, stop = [own_memory()], threading.Event()

    def look() -> None:
        while not stop.wait(0.02):
            seen.append(own_memory())

    looking = threading.Thread(target=look)
    looking.start()
    started = time.perf_counter()
    yield
    figures[name] = {"seconds": time.perf_counter() - started}
    stop.set()
    looking.join()
    figures[name]["memory_mb"] = max(seen) - seen[0]


def own_memory() -> float:
    """MB of this process without mapped files, as Linux counts them."""
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    return float(found[1]) / 1024 if found else float("nan")


def run_one(folder: Path, result: Path) -> None:
    """What a rank does, in a process of its own."""
    from tdro.data.mixtures.built import read_built
    from tdro.data.plan.row_plans import MixedPlan
    from tdro.data.task import Task
    from tdro.data.tokens.index_files import kept_index
    from tdro.data.tokens.token_files import kept_tokens
    from tdro.models.load import load_model
    from tdro.training.steps import PlannedSteps, TokenizedMixture, text_labels

    built, model = read_built(folder / "rows"), load_model(folder / "base", device="cpu")
    task = Task("rows", built.open(), fingerprint=built.fingerprint)
    figures: dict[str, Any] = {}
    with measured(figures, "numbering"):
        index = kept_index([task], folder / "index", task.fingerprint)
    with measured(figures, "tokenizing"):
        queries, passages = (
            kept_tokens(model, texts, 64, folder / "tokens", content=texts.digest)
            for texts in (index.queries, index.passages)
        )
    steps = PlannedSteps(
        TokenizedMixture(index, queries, passages), MixedPlan([len(task)], STEP_ROWS, STEPS, 1), 1, text_labels
    )
    with measured(figures, "steps"):
        seconds = [time.perf_counter() for step in range(STEPS) if steps[step]]
    figures["step_ms"] = 1000 * float(np.median(np.diff(seconds)))
    write_json(result, figures)


def main() -> None:
    """Measure, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "prepare.json")
    parser.add_argument("--one", nargs=2, type=Path, help=argparse.SUPPRESS)  # what a child does
    arguments = parser.parse_args()
    if arguments.one:
        run_one(*arguments.one)
        return
    from tdro.data.mixtures.build import build_task
    from tdro.models.base import build_base
    from tdro.recipe.data_sections import Source
    from tdro.recipe.training_sections import Base

    figures: dict[str, Any] = {"rows": arguments.rows}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_rows(folder / "rows.jsonl", arguments.rows)
        build_task(Source(source=str(folder / "rows.jsonl")), folder / "rows", "rows")
        build_base(Base(kind="static", source="minilm"), folder / "base", max_tokens=64)
        for which in ("first", "again"):
            subprocess.run([sys.executable, __file__, "--one", made, str(folder / "figures.json")], check=True)
            figures[which] = read_json(folder / "figures.json")
    print(f"| {arguments.rows:,} rows | first | again |\n|---|---|---|")
    for name in ("numbering", "tokenizing", "steps"):
        cells = [
            f"{figures[w][name]['seconds']:.2f} s, {figures[w][name]['memory_mb']:.0f} MB" for w in ("first", "again")
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
