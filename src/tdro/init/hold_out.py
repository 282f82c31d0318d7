"""Makes a test set of some of a task's queries, for ``--hold-out``.

All rows with such a query are taken out of training, so that no test query is trained on. Near-duplicates of it may
stay; ``tdro data dedup`` finds them. The passages of a test query may still be answers to other queries in training, as
in any collection.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tdro.console import progress_bar
from tdro.data.same_text import normalise
from tdro.data.task import Task
from tdro.errors import UserError
from tdro.files import fingerprint, whole_folder, write_atomic, write_json, write_jsonl

_SHARE = 5  # at most every fifth query is held out
_PASSAGES = 50_000  # most passages of a test set: its answers, and other passages of the task drawn by chance
_MARK = "held-out.json"  # the file by which a folder is known as made here


def hold_out(tasks: Sequence[Task], queries: int, folder: Path, force: bool = False) -> dict[str, int]:
    """Write ``train/<task>.jsonl`` and the test set ``tests/<task>/``, in BEIR's layout, for every task.

    Args:
        tasks: each with at least a row.
        queries: how many to hold out of each task. At least one is, and at most a fifth of its different queries.
        folder: a new one; after an error, nothing of it is there.
        force: replace what an earlier call wrote.

    Returns:
        how many rows each task has left for training.

    Raises:
        UserError: the folder is there already, or a task has only one query.
    """
    if folder.exists() and not (force and (folder / _MARK).is_file()):
        raise UserError(f"{folder}: is there already; remove it, or name another recipe with --out")
    with whole_folder(folder) as made:
        left = {
            task.name: _split(task, queries, made) for task in progress_bar(tasks, title="holding out", unit=" tasks")
        }
        write_json(made / _MARK, {"queries": queries, "rows left": left})
    return left


def _split(task: Task, wanted: int, folder: Path) -> int:
    rows_of: dict[str, list[int]] = {}
    for number, query in enumerate(task.rows["query"]):
        rows_of.setdefault(normalise(query), []).append(number)
    if len(rows_of) < 2:
        raise UserError(f"task '{task.name}' has one query; nothing can be held out of it")
    size = min(wanted, max(len(rows_of) // _SHARE, 1))
    held = sorted(rows_of, key=lambda query: fingerprint([task.name, query]))[:size]  # random, but always the same
    away = {row for query in held for row in rows_of[query]}
    kept = task.rows.select([row for row in range(len(task)) if row not in away])
    (folder / "train").mkdir(exist_ok=True)
    kept.to_json(folder / "train" / f"{task.name}.jsonl", force_ascii=False)
    _write_test(task, [rows_of[query] for query in held], folder / "tests" / task.name)
    return len(kept)


def _write_test(task: Task, held: Sequence[Sequence[int]], folder: Path) -> None:
    """Write a test set in BEIR's layout.

    Args:
        task: the task.
        held: for each query the numbers of its rows; their positives are its answers.
        folder: of the test set. Its corpus has these answers and other passages of the task.
    """
    answers: dict[str, str] = {}
    queries: list[dict[str, Any]] = []
    qrels = ["query-id\tcorpus-id\tscore"]
    for rows in held:
        identity = f"q{len(queries)}"
        queries.append({"_id": identity, "text": task.rows[rows[0]]["query"]})
        own = {_identity(text): text for row in rows for text in task.rows[row]["positives"]}
        answers = own | answers
        qrels += [f"{identity}\t{place}\t1" for place in sorted(own)]
    corpus = sorted((_sample(_passages(task), max(_PASSAGES - len(answers), 0)) | answers).items())
    write_jsonl(folder / "queries.jsonl", queries)
    write_jsonl(folder / "corpus.jsonl", ({"_id": place, "title": "", "text": text} for place, text in corpus))
    write_atomic(folder / "qrels" / "test.tsv", "\n".join(qrels) + "\n")


def _sample(texts: Iterable[str], size: int) -> dict[str, str]:
    """Draw ``size`` different texts, always the same ones, as a mapping from identity to text; all if there are fewer.

    Those with the smallest identities are taken, so never more than twice ``size`` are in memory.
    """
    found: dict[str, str] = {}
    for text in texts:
        found.setdefault(_identity(text), text)
        if len(found) > 2 * size:
            found = dict(heapq.nsmallest(size, found.items()))
    return dict(heapq.nsmallest(size, found.items()))


def _identity(text: str) -> str:
    """The id of a passage: a hash, so equal texts have the same one and their order is random."""
    return fingerprint(normalise(text))


def _passages(task: Task) -> Iterator[str]:
    for batch in task.rows.iter(batch_size=5_000):
        for positives, negatives in zip(batch["positives"], batch["negatives"], strict=True):
            yield from positives
            yield from negatives
