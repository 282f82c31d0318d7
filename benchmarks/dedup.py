"""Near-duplicates of 20,000 test queries among 200,000 training queries: tdro, SimHash, and MinHash.

    python benchmarks/dedup.py                 # tdro and simhash
    python benchmarks/dedup.py --all           # MinHash by datasketch and rensa as well

Real queries of the sample mixture, parted at random; pairs of which it is known what they are (planted.py) take the
place of some of the training queries. Each contestant runs in a process of its own, from strings to pairs. See
README.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdro.files import read_json, write_json

Ints = NDArray[np.int64]
Found = Iterable[tuple[int, int]]
GRAM = 3  # characters, for MinHash
JACCARD = 0.7
HASHES = 128
CLEAR = Path("/proc/self/clear_refs")


def tdro(train: Sequence[str], test: Sequence[str]) -> Found:
    """What `tdro data dedup` does."""
    from tdro.data.neardup.near_duplicates import near_duplicates

    found = near_duplicates(train, test)
    own, others = _copies(found.firsts, found.first), _copies(found.seconds, found.second)
    return [(one, other) for first, second, _ in found for one in own[first] for other in others[second]]


def _copies(firsts: Ints, wanted: Ints) -> dict[int, list[int]]:
    """The places of each wanted text's copies, by the first of them."""
    copies: dict[int, list[int]] = {}
    places = np.flatnonzero(np.isin(firsts, wanted))
    for place, first in zip(places.tolist(), firsts[places].tolist(), strict=True):
        copies.setdefault(first, []).append(place)
    return copies


def simhash(train: Sequence[str], test: Sequence[str]) -> Found:
    """The paper's: 64-bit SimHash of characters by fours, at most 2 bits apart; the package's own index."""
    from simhash import Simhash, SimhashIndex

    logging.disable(logging.WARNING)  # it warns of each large bucket
    index = SimhashIndex([(str(number), Simhash(text)) for number, text in enumerate(train)], k=2)
    for number, text in enumerate(test):
        for other in index.get_near_dups(Simhash(text)):
            yield int(other), number


def datasketch(train: Sequence[str], test: Sequence[str]) -> Found:
    """MinHash of character trigrams with LSH, and the exact Jaccard similarity of what it finds."""
    from datasketch import MinHash, MinHashLSH

    grams = [_grams(text) for text in train]
    index = MinHashLSH(threshold=JACCARD, num_perm=HASHES)
    for number, made in enumerate(MinHash.generator([_bytes(gram) for gram in grams], num_perm=HASHES)):
        index.insert(number, made)
    for number, text in enumerate(test):
        own = _grams(text)
        made = MinHash(num_perm=HASHES)
        made.update_batch(_bytes(own))
        for other in index.query(made):
            if _jaccard(own, grams[other]) >= JACCARD:
                yield other, number


def rensa(train: Sequence[str], test: Sequence[str]) -> Found:
    """The same by rensa, in bulk."""
    from rensa import RMinHash, RMinHashLSH

    grams, own = [_grams(text) for text in train], [_grams(text) for text in test]
    index = RMinHashLSH(threshold=JACCARD, num_perm=HASHES, num_bands=32)
    index.insert_matrix(RMinHash.digest_matrix_from_token_sets(grams, num_perm=HASHES, seed=1))
    made = RMinHash.from_token_sets(own, num_perm=HASHES, seed=1)
    for number, others in enumerate(index.query_all(made)):
        for other in others:
            if _jaccard(own[number], grams[other]) >= JACCARD:
                yield other, number


def _grams(text: str) -> list[str]:
    text = " ".join(text.lower().split())
    return list({text[place : place + GRAM] for place in range(max(len(text) - GRAM + 1, 1))})


def _bytes(grams: Sequence[str]) -> list[bytes]:
    return [gram.encode() for gram in grams]


def _jaccard(one: Sequence[str], other: Sequence[str]) -> float:
    return len(set(one) & set(other)) / max(len(set(one) | set(other)), 1)


CONTESTANTS: dict[str, Callable[[Sequence[str], Sequence[str]], Found]] = {
    "tdro": tdro,
    "simhash": simhash,
    "datasketch": datasketch,
    "rensa": rensa,
}


def material(train: int, test: int, each: int) -> dict[str, Any]:
    """Queries of the sample mixture, parted; the planted texts stand at the end of the training queries."""
    from planted import plant

    from tdro.data.mixtures.folder import read_mixture
    from tdro.data.testsets.test_texts import find_test_texts
    from tdro.disk import cache_folder
    from tdro.quickstart import build_sample

    folder = build_sample(cache_folder() / "sample-mixture")
    tasks = read_mixture(folder).tasks
    queries = [query for task in tasks for query in task.rows["query"][:]]
    queries += [query for found in find_test_texts(str(folder)) for query in found.queries.values()]
    passages = [passage for task in tasks for passages in task.rows["positives"][:] for passage in passages]
    random.Random(0).shuffle(queries)
    if train + test > len(queries):
        raise SystemExit(f"the sample mixture has {len(queries)} queries; ask for fewer")
    tests = queries[:test]
    planted = plant(tests, queries + passages, each)
    own = queries[test : test + train - len(planted)]
    return {"train": own + [pair.text for pair in planted], "test": tests, "planted": [vars(pair) for pair in planted]}


def run_one(name: str, texts: Path, result: Path) -> None:
    """In a process of its own: seconds from strings to pairs, peak memory above that of the strings, the pairs."""
    content = read_json(texts)
    train, test = content["train"], content["test"]
    list(CONTESTANTS[name](train[:50], test[:50]))  # imports
    before, busy = _memory("VmRSS"), time.process_time()
    if CLEAR.exists():
        CLEAR.write_text("5")  # the peak is counted anew from here
    started = time.perf_counter()
    found = list(CONTESTANTS[name](train, test))
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    peak = _memory("VmHWM")
    first, pairs = len(train) - len(content["planted"]), set(found)
    write_json(
        result,
        {
            "seconds": seconds,
            "cpu_seconds": busy,
            "memory_mb": peak - before,
            "pairs": len(found),
            "planted": [
                number for number, pair in enumerate(content["planted"]) if (first + number, pair["test"]) in pairs
            ],
        },
    )


def _memory(key: str) -> float:
    """MB of this process, as Linux counts them; nothing elsewhere."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:")), float("nan"))


def main() -> None:
    """Run every contestant, print the tables, write the figures."""
    arguments = parsed()
    if arguments.one:
        run_one(*arguments.one[:1], *map(Path, arguments.one[1:]))
        return
    names = list(CONTESTANTS) if arguments.all else ["tdro", "simhash"]
    content = material(arguments.train, arguments.test, arguments.each)
    figures: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
    }
    figures |= {"train": arguments.train, "test": arguments.test, "contestants": {}}
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "texts.json"
        texts.write_text(json.dumps(content), encoding="utf-8")
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for number in range(arguments.rounds):  # in turn: a machine that becomes slower does so for all
            for name in names:
                if number == 0 or name in ("tdro", "simhash"):
                    result = Path(folder) / "result.json"
                    subprocess.run([sys.executable, __file__, "--one", name, texts, result], check=True)
                    rounds[name].append(read_json(result))
    for name in names:
        runs = rounds[name]
        figures["contestants"][name] = {
            **{key: statistics.median(run[key] for run in runs) for key in ("seconds", "cpu_seconds", "memory_mb")},
            "rounds": [run["seconds"] for run in runs],
            "pairs": runs[0]["pairs"],
            **quality(content["planted"], set(runs[0]["planted"])),
        }
    if "simhash" in names:
        pairs = zip(rounds["simhash"], rounds["tdro"], strict=True)
        figures["times_simhash"] = statistics.median(slow["seconds"] / fast["seconds"] for slow, fast in pairs)
    print(as_markdown(figures))
    write_json(arguments.json or Path(__file__).parent / "results" / "dedup.json", figures)


def quality(planted: Sequence[dict[str, Any]], found: set[int]) -> dict[str, Any]:
    """The share found of each kind, and precision and recall over all planted pairs."""
    kinds: dict[str, list[bool]] = {}
    for number, pair in enumerate(planted):
        kinds.setdefault(pair["kind"], []).append(number in found)
    same = [number in found for number, pair in enumerate(planted) if pair["same"]]
    wrong = sum(number in found for number, pair in enumerate(planted) if not pair["same"])
    return {
        "precision": sum(same) / max(sum(same) + wrong, 1),
        "recall": sum(same) / len(same),
        "found": {kind: sum(hits) / len(hits) for kind, hits in kinds.items()},
        "planted": {kind: len(hits) for kind, hits in kinds.items()},
    }


def as_markdown(figures: dict[str, Any]) -> str:
    """The figures as tables."""
    from planted import SAME

    contestants = figures["contestants"]
    texts = figures["train"] + figures["test"]
    lines = ["| | s | s of CPU | texts/s | MB | pairs | precision | recall |", "|---|---|---|---|---|---|---|---|"]
    for name, found in contestants.items():
        lines.append(
            f"| {name} | {found['seconds']:.2f} | {found['cpu_seconds']:.2f} | {texts / found['seconds']:,.0f} | "
            f"{found['memory_mb']:.0f} | {found['pairs']:,} | {found['precision']:.3f} | {found['recall']:.3f} |"
        )
    if "times_simhash" in figures:
        lines += [
            "",
            f"tdro has {figures['times_simhash']:.1f} times the throughput of simhash (median of the rounds).",
        ]
    lines += [
        "",
        f"| called a duplicate | planted | {' | '.join(contestants)} |",
        "|---|---|" + "---|" * len(contestants),
    ]
    for kind, planted in next(iter(contestants.values()))["planted"].items():
        cells = " | ".join(f"{found['found'][kind]:.3f}" for found in contestants.values())
        lines.append(f"| {kind}{'' if kind in SAME else ' (is none)'} | {planted} | {cells} |")
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=200_000, help="training queries, planted ones among them")
    parser.add_argument("--test", type=int, default=20_000, help="test queries")
    parser.add_argument("--each", type=int, default=500, help="planted pairs of each kind")
    parser.add_argument("--rounds", type=int, default=3, help="runs of tdro and simhash, in turn")
    parser.add_argument("--all", action="store_true", help="datasketch and rensa as well, once")
    parser.add_argument("--json", type=Path, help="write the figures here instead of results/dedup.json")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
