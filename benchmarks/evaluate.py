"""What evaluation costs: passages encoded per second, and time and memory of search over a million passages.

    python benchmarks/evaluate.py encode --model smollm2
    python benchmarks/evaluate.py encode --model minilm
    python benchmarks/evaluate.py search

encode: from texts to unit vectors on disk, against `SentenceTransformer.encode` at its best batch size, interleaved in
one process, in bf16 both. search: against sentence-transformers' `semantic_search`, and faiss where it is installed, in
a process each, in turn. Medians count. All three take 10 minutes on two cores. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tdro.files import write_json

HERE = Path(__file__).parent
BATCH_SIZES = (8, 16, 32, 64, 128)
SEARCHERS = ("tdro", "semantic_search", "faiss")


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="where to write the figures (default: results/ beside this file)")
    parts = parser.add_subparsers(dest="part", required=True)
    encode = parts.add_parser("encode")
    encode.add_argument("--model", choices=["minilm", "smollm2"], default="minilm")
    encode.add_argument("--passages", type=int, default=3000, help="evenly from all tasks' passages")
    encode.add_argument(
        "--rounds",
        type=int,
        default=5,
        help="that count; the best batch size is found before, with a quarter of the passages",
    )
    search = parts.add_parser("search")
    search.add_argument("--passages", type=int, default=1_000_000)
    search.add_argument("--queries", type=int, default=1000)
    search.add_argument("--dimension", type=int, default=384)
    search.add_argument("--rounds", type=int, default=3)
    search.add_argument("--searcher", choices=SEARCHERS, help=argparse.SUPPRESS)  # what a child measures
    search.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.part == "search" and arguments.searcher:
        print(json.dumps(_search_in_this_process(arguments)))
        return
    figures = encoding(arguments) if arguments.part == "encode" else searching(arguments)
    name = f"evaluate-encode-{arguments.model}" if arguments.part == "encode" else "evaluate-search"
    settings = {key: value for key, value in vars(arguments).items() if isinstance(value, (int, str))}
    from figures import about_machine  # imports transformers, which the children above do without

    machine = about_machine(threads=arguments.threads)
    write_json(
        arguments.json or HERE / "results" / f"{name}.json", {"machine": machine, "settings": settings} | figures
    )


def encoding(arguments: argparse.Namespace) -> dict[str, Any]:
    """Passages per second of both sides, and their ratio round by round."""
    from figures import ratio
    from material import material

    from tdro.console import quiet_libraries
    from tdro.machine import this_machine
    from tdro.search.embedding_store import EmbeddingStore, TextList

    quiet_libraries()
    made, machine = material(arguments.model, 64, 128), this_machine("cpu")
    passages = made.data.index.passages
    texts = [passages[place] for place in np.linspace(0, len(passages) - 1, arguments.passages).astype(int)]
    model = made.load().eval()

    def ours() -> torch.Tensor:
        with tempfile.TemporaryDirectory() as folder:
            store = EmbeddingStore(Path(folder), [TextList(texts)], model, "benchmark", machine)
            store.encode(progress=False)
            return store.whole(0)

    def theirs(size: int, texts: list[str] = texts) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=machine.bf16):
            return model.encode(
                texts, batch_size=size, normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False
            )

    some = texts[::4]
    theirs(BATCH_SIZES[0], some)
    tries = [{size: _timed(lambda size=size: theirs(size, some))[0] for size in BATCH_SIZES} for _ in range(2)]
    tried = {size: min(each[size] for each in tries) for size in BATCH_SIZES}
    best = min(tried, key=lambda size: tried[size])
    sides = {"tdro": ours, "encode": lambda: theirs(best)}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    vectors = {"tdro": ours()}
    for number in range(arguments.rounds):
        for name in sorted(sides, reverse=number % 2 == 0):  # neither side always comes first
            seconds, vectors[name] = _timed(sides[name])
            rates[name].append(len(texts) / seconds)
    found = ratio(rates, "tdro", "encode", 1.5)
    cosines = (vectors["tdro"] * vectors["encode"].float()).sum(dim=1)
    tokens = [len(ids) for ids in model.tokenizer(texts, truncation=True, max_length=model.max_seq_length)["input_ids"]]
    print(f"{arguments.model}, {len(texts)} passages of {min(tokens)} to {max(tokens)} tokens, bf16: {machine.bf16}")
    print("encode, passages/s by batch size: " + _row({size: len(some) / value for size, value in tried.items()}))
    print("passages/s: " + _row({name: statistics.median(values) for name, values in rates.items()}))
    print(f"ratio {found['median']:.2f} (rounds {_row(found['rounds'])}), wanted {found['wanted']}")
    print(f"smallest cosine between both sides' embeddings of a passage: {cosines.min():.4f}")
    return {
        "bf16": machine.bf16,
        "tokens": {"mean": float(np.mean(tokens)), "longest": max(tokens)},
        "passages_per_second": rates,
        "encode_by_batch_size": {str(size): len(some) / value for size, value in tried.items()},
        "best_batch_size": best,
        "ratio": found,
        "least_cosine": float(cosines.min()),
    }


def searching(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds and peak memory of the three, in turn, a process each and round, over the same vectors on disk."""
    found: dict[str, dict[str, Any]] = {}
    searchers = [name for name in SEARCHERS if name != "faiss" or find_spec("faiss")]
    with tempfile.TemporaryDirectory() as temporary:
        _write_vectors(Path(temporary), arguments)
        for searcher in searchers * arguments.rounds:
            own = ["--searcher", searcher, "--folder", temporary]
            command = [sys.executable, __file__, *sys.argv[1:], *own]
            measured = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1])
            result = found.setdefault(searcher, {"seconds": [], "peak_mb": 0.0})
            result["seconds"].append(measured["seconds"])
            result["peak_mb"] = max(result["peak_mb"], measured["peak_mb"])
        tops = {name: np.load(Path(temporary) / f"top-{name}.npy") for name in found}
    for name, result in found.items():
        same = [np.isin(*pair).mean() for pair in zip(tops[name], tops["tdro"], strict=True)]
        result["same_passages"] = float(np.mean(same))
        seconds = _row(result["seconds"])
        print(
            f"{name}: {statistics.median(result['seconds']):.2f} s ({seconds}), peak {result['peak_mb']:.0f} MB, "
            f"{100 * result['same_passages']:.3f} % of its passages are those that tdro finds"
        )
    from figures import ratio

    rates = {name: [1 / seconds for seconds in result["seconds"]] for name, result in found.items()}
    ratios: dict[str, Any] = {f"against_{name}": ratio(rates, "tdro", name, 1.0) for name in searchers[1:]}
    ratios["memory"] = found["tdro"]["peak_mb"] / found["semantic_search"]["peak_mb"]
    for name in searchers[1:]:
        each = ratios[f"against_{name}"]
        print(f"speed against {name} {each['median']:.2f} (rounds {_row(each['rounds'])})")
    print(f"wanted against semantic_search: speed >= 1, memory <= 0.33; memory is {ratios['memory']:.2f}")
    return {"searchers": found, "ratios": ratios}


def _search_in_this_process(arguments: argparse.Namespace) -> dict[str, Any]:
    search = {"tdro": _ours, "semantic_search": _semantic_search, "faiss": _faiss}[arguments.searcher](arguments)
    seconds, top = _timed(search)
    np.save(arguments.folder / f"top-{arguments.searcher}.npy", top)
    return {"seconds": seconds, "peak_mb": _peak_mb()}


def _ours(arguments: argparse.Namespace) -> Callable[[], np.ndarray]:
    import pyarrow as pa

    from tdro.data.testsets.beir_data import BeirData
    from tdro.data.testsets.passages import Passages
    from tdro.search.exact import search

    ids = pa.array(np.arange(arguments.passages)).cast(pa.large_string())
    queries = torch.from_numpy(np.load(arguments.folder / "queries.npy"))
    names = [f"q{number}" for number in range(len(queries))]
    data = BeirData(names, names, Passages(ids, []), {})
    return lambda: search(queries, _blocks(arguments.folder), data, 100)[0]


def _semantic_search(arguments: argparse.Namespace) -> Callable[[], np.ndarray]:
    from sentence_transformers.util import semantic_search

    queries = torch.from_numpy(np.load(arguments.folder / "queries.npy"))
    corpus = torch.empty(arguments.passages, arguments.dimension)
    for start, block in _blocks(arguments.folder):
        corpus[start : start + len(block)] = block

    def search() -> np.ndarray:
        found = semantic_search(queries, corpus, top_k=100)
        return np.array([[hit["corpus_id"] for hit in hits] for hits in found])

    return search


def _faiss(arguments: argparse.Namespace) -> Callable[[], np.ndarray]:
    """Exact and block by block, as the memory of a flat index is that of all vectors."""
    import faiss

    faiss.omp_set_num_threads(arguments.threads)
    queries = np.load(arguments.folder / "queries.npy")

    def search() -> np.ndarray:
        scores, places = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        for start, block in _blocks(arguments.folder):
            more = faiss.knn(queries, block.numpy(), 100, metric=faiss.METRIC_INNER_PRODUCT)
            scores, places = np.hstack([scores, more[0]]), np.hstack([places, more[1] + start])
            best = np.argsort(-scores, axis=1)[:, :100]
            scores, places = (np.take_along_axis(array, best, axis=1) for array in (scores, places))
        return places

    return search


def _write_vectors(folder: Path, arguments: argparse.Namespace, rows: int = 32_768) -> None:
    """Random unit vectors, in files as the store has them."""
    random = np.random.default_rng(0)

    def unit(count: int) -> np.ndarray:
        vectors = random.standard_normal((count, arguments.dimension), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    np.save(folder / "queries.npy", unit(arguments.queries))
    for start in range(0, arguments.passages, rows):
        np.save(folder / f"{start:09}.npy", unit(min(rows, arguments.passages - start)))


def _blocks(folder: Path) -> Iterator[tuple[int, torch.Tensor]]:
    for path in sorted(folder.glob("[0-9]*.npy")):
        yield int(path.stem), torch.from_numpy(np.load(path, mmap_mode="c"))


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def _peak_mb() -> float:
    """Largest resident size of this process (Linux; mapped pages of files count)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def _row(values: Any) -> str:
    if isinstance(values, dict):
        return ", ".join(f"{name} {value:.1f}" for name, value in values.items())
    return ", ".join(f"{value:.2f}" for value in values)


if __name__ == "__main__":
    main()
