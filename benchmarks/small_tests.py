"""The sample mixture with smaller test sets, for models that are slow on a CPU.

    python benchmarks/small_tests.py            writes runs/sample-small, a mixture folder

Of each test set it keeps 60 queries, their relevant passages, and other passages up to 60 in all. The sample mixture's
own have 150 queries and 1,000 passages.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from tdro.data.mixtures.folder import read_mixture
from tdro.data.mixtures.write import write_mixture
from tdro.data.task import Mixture, TestSet
from tdro.disk import cache_folder
from tdro.files import read_jsonl, write_atomic, write_jsonl
from tdro.quickstart import build_sample

FOLDER = Path("runs/sample-small")
QUERIES, PASSAGES = 60, 60


def cut_test(test: TestSet, folder: Path) -> TestSet:
    """The first queries of a test set, their relevant passages, and other passages from the first on."""
    source = Path(test.folder)
    queries = read_jsonl(source / "queries.jsonl")[:QUERIES]
    header, *lines = (source / "qrels" / "test.tsv").read_text().splitlines()
    chosen = {query["_id"] for query in queries}
    judged = [line for line in lines if line.split("\t")[0] in chosen]
    relevant = {line.split("\t")[1] for line in judged}
    passages = read_jsonl(source / "corpus.jsonl")
    others = [passage for passage in passages if passage["_id"] not in relevant][: max(0, PASSAGES - len(relevant))]
    write_jsonl(folder / "queries.jsonl", queries)
    write_jsonl(folder / "corpus.jsonl", [*(each for each in passages if each["_id"] in relevant), *others])
    write_atomic(folder / "qrels" / "test.tsv", "\n".join([header, *judged]) + "\n")
    return replace(test, folder=str(folder))


def main() -> None:
    """Write the mixture."""
    sample = read_mixture(build_sample(cache_folder() / "sample-mixture"))
    with tempfile.TemporaryDirectory() as cut:
        tests = [cut_test(test, Path(cut) / test.name) for test in sample.tests]
        write_mixture(Mixture(sample.tasks, tests), FOLDER)
    print(f"written: {FOLDER}")


if __name__ == "__main__":
    main()
