"""Hard negatives of a task: tdro against sentence-transformers' mine_hard_negatives, and against bm25s.

    python benchmarks/mine.py                    # MiniLM, float32, 10,000 rows of a task of the sample mixture
    python benchmarks/mine.py --rows 3000

The same settings for all: 8 negatives a row out of the 50 best passages, relative margin 0.05. Each contestant runs in
a process of its own, from rows to negatives. See README.md.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tdro.data.mixtures.folder import read_mixture
from tdro.data.same_text import normalise
from tdro.data.task import Task
from tdro.disk import cache_folder
from tdro.files import read_json, write_json
from tdro.machine import Machine
from tdro.mining.embedder import embedder_of
from tdro.mining.mine_task import mine_task
from tdro.mining.mining_settings import MiningSettings
from tdro.quickstart import build_sample

TASK = "bio_term2def"
PER_ROW, DEPTH, MARGIN = 8, 50, 0.05
CLEAR = Path("/proc/self/clear_refs")
Found = dict[str, list[str]]  # query to its negatives, best first


def tdro(task: Task, folder: Path) -> Callable[[], Found]:
    """What `tdro data mine` does."""
    embedder = embedder_of("minilm", folder, Machine("cpu", bf16=False))
    embedder.load()
    return lambda: _found(
        mine_task(task, MiningSettings("dense", PER_ROW, (1, DEPTH), None, MARGIN), embedder=embedder)
    )


def sentence_transformers(task: Task, folder: Path) -> Callable[[], Found]:
    """The library's miner."""
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    model = embedder_of("minilm", folder, Machine("cpu", bf16=False)).load()
    pairs = Dataset.from_dict(
        {"query": task.rows["query"][:], "positive": [own[0] for own in task.rows["positives"][:]]}
    )

    def mine() -> Found:
        mined = mine_hard_negatives(
            pairs,
            model,
            range_max=DEPTH,
            relative_margin=MARGIN,
            num_negatives=PER_ROW,
            output_format="labeled-list",
            verbose=False,
        )
        found: Found = {}
        for query, texts, labels in zip(mined["query"], mined["positive"], mined["labels"], strict=True):
            found[query] = [text for text, label in zip(texts, labels, strict=True) if not label]
        return found

    return mine


def tdro_bm25(task: Task, folder: Path) -> Callable[[], Found]:
    """What `tdro data mine --by bm25` does."""
    return lambda: _found(mine_task(task, MiningSettings("bm25", PER_ROW, (1, DEPTH), None, MARGIN)))


def bm25s(task: Task, folder: Path) -> Callable[[], Found]:
    """The package's index, and its retrieval with all words of the query and its positive; answers and margin are not
    looked at."""
    import bm25s as package

    from tdro.data.search_words import tokens

    def mine() -> Found:
        positives = [own[0] for own in task.rows["positives"][:]]
        passages = {normalise(text): text for own in task.rows["positives"][:] for text in own}
        known: dict[str, int] = {}
        documents = [[known.setdefault(token, len(known)) for token in tokens(text)] for text in passages]
        index = package.BM25(backend="numpy")
        index.index((documents, known), show_progress=False, create_empty_token=False)
        asked = [
            list({known[token] for token in tokens(normalise(f"{query} {positive}")) if token in known})
            for query, positive in zip(task.rows["query"][:], positives, strict=True)
        ]
        best = index.retrieve(asked, k=DEPTH, show_progress=False, return_as="documents")
        texts = list(passages.values())
        return {
            query: [texts[place] for place in places[:PER_ROW]]
            for query, places in zip(task.rows["query"][:], best, strict=True)
        }

    return mine


CONTESTANTS: dict[str, Callable[[Task, Path], Callable[[], Found]]] = {
    "tdro": tdro,
    "sentence-transformers": sentence_transformers,
    "tdro bm25": tdro_bm25,
    "bm25s": bm25s,
}


def material(name: str, rows: int) -> Task:
    """The first rows of a task of the sample mixture."""
    (task,) = read_mixture(build_sample(cache_folder() / "sample-mixture"), [name]).tasks
    return Task(name, task.rows.select(range(min(rows, len(task)))))


def run_one(name: str, task: Task, result: Path) -> None:
    """In a process of its own: seconds from rows to negatives, peak memory above that of rows and model."""
    with tempfile.TemporaryDirectory() as folder:
        mine = CONTESTANTS[name](task, Path(folder))
        before, busy = _memory("VmRSS"), time.process_time()
        if CLEAR.exists():
            CLEAR.write_text("5")  # the peak is counted anew from here
        started = time.perf_counter()
        found = mine()
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        memory = _memory("VmHWM") - before
    write_json(result, {"seconds": seconds, "cpu_seconds": busy, "memory_mb": memory, "found": found})


def _found(task: Task) -> Found:
    return dict(zip(task.rows["query"][:], task.rows["negatives"][:], strict=True))


def _memory(key: str) -> float:
    """MB of this process, as Linux counts them; nothing elsewhere."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:")), float("nan"))


def agreement(one: Found, other: Found, per_row: int) -> dict[str, float]:
    """How far two miners' negatives are the same, as shares of rows and of negatives."""
    both = [(own, other.get(query, [])) for query, own in one.items()]
    full = [(own, others) for own, others in both if len(own) == len(others) == per_row]
    shared = sum(len(set(own) & set(others)) for own, others in full)
    return {
        "rows_that_the_first_fills": statistics.mean(len(own) == per_row for own, _ in both),
        "rows_that_the_other_fills": statistics.mean(len(others) == per_row for _, others in both),
        "same_and_in_the_same_order_where_both_do": statistics.mean(own == others for own, others in full),
        "negatives_of_both_where_both_do": shared / (per_row * len(full)),
    }


def main() -> None:
    """Run every contestant, print the table, write the figures."""
    arguments = parsed()
    task = material(arguments.task, arguments.rows)
    if arguments.one:
        run_one(arguments.one[0], task, Path(arguments.one[1]))
        return
    names = [name for name in CONTESTANTS if arguments.only is None or name in arguments.only]
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    options = ["--task", arguments.task, "--rows", str(arguments.rows)]
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):  # in turn: a machine that becomes slower does so for all
            for name in names:
                result = Path(folder) / "result.json"
                subprocess.run([sys.executable, __file__, *options, "--one", name, str(result)], check=True)
                rounds[name].append(read_json(result))
    figures: dict[str, Any] = {"machine": platform.processor() or platform.machine(), "task": task.name}
    figures |= {"rows": len(task), "contestants": {}}
    for name, runs in rounds.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in ("seconds", "cpu_seconds", "memory_mb")}
        figures["contestants"][name] = {**middle, "rows_per_second": len(task) / middle["seconds"]}
    for own, other in (("tdro", "sentence-transformers"), ("tdro bm25", "bm25s")):
        if own in rounds and other in rounds:
            pairs = zip(rounds[own], rounds[other], strict=True)
            figures[f"{own} times {other}"] = statistics.median(b["cpu_seconds"] / a["cpu_seconds"] for a, b in pairs)
    if "tdro" in rounds and "sentence-transformers" in rounds:
        own, other = (rounds[name][0]["found"] for name in ("tdro", "sentence-transformers"))
        figures["tdro and sentence-transformers"] = agreement(own, other, PER_ROW)
    print(as_markdown(figures))
    write_json(arguments.json or Path(__file__).parent / "results" / "mine.json", figures)


def as_markdown(figures: dict[str, Any]) -> str:
    """The figures as a table and lines."""
    lines = [
        f"{figures['task']}, {figures['rows']:,} rows",
        "",
        "| | s | s of CPU | rows/s | MB |",
        "|---|---|---|---|---|",
    ]
    for name, found in figures["contestants"].items():
        lines.append(
            f"| {name} | {found['seconds']:.1f} | {found['cpu_seconds']:.1f} | {found['rows_per_second']:,.0f} | "
            f"{found['memory_mb']:.0f} |"
        )
    lines += ["", *(f"{key}: {value}" for key, value in figures.items() if " times " in key or " and " in key)]
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default=TASK, help=f"of the sample mixture (default: {TASK})")
    parser.add_argument("--rows", type=int, default=10_000, help="its first rows")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each contestant, in turn")
    parser.add_argument("--only", nargs="+", choices=list(CONTESTANTS), help="these contestants")
    parser.add_argument("--json", type=Path, help="write the figures here instead of results/mine.json")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
