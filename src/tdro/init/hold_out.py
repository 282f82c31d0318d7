"""A test set from a task's own rows: some of its queries leave training and are searched for among its passages.

All rows with a query that is held out leave, so that no test query is trained on; near-duplicates may stay, and
``tdro data dedup`` finds them. Their passages may still be answers to other queries in training, as in any collection.
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

_SHARE = 5  # at most one query in so many
_PASSAGES = 50_000  # of a test set: its answers, and others of the task by chance
_MARK = "held-out.json"  # says that a folder is one of these


def hold_out(tasks: Sequence[Task], queries: int, folder: Path, force: bool = False) -> dict[str, int]:
    """Write ``train/<task>.jsonl`` and ``tests/<task>/`` (BEIR) for every task; the folder is there whole or not.

    Args:
        tasks: at least a row each.
        queries: to hold out of each task; at most a fifth of its distinct ones, and at least one.
        folder: a new one.
        force: replace what an earlier call wrote.

    Returns:
        how many rows each task has left.

    Raises:
        UserError: the folder is there, or a task has only one query.
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
    held = sorted(rows_of, key=lambda query: fingerprint([task.name, query]))[:size]  # by chance, always the same
    away = {row for query in held for row in rows_of[query]}
    kept = task.rows.select([row for row in range(len(task)) if row not in away])
    (folder / "train").mkdir(exist_ok=True)
    kept.to_json(folder / "train" / f"{task.name}.jsonl", force_ascii=False)
    _write_test(task, [rows_of[query] for query in held], folder / "tests" / task.name)
    return len(kept)


def _write_test(task: Task, held: Sequence[Sequence[int]], folder: Path) -> None:
    """The held rows' queries, judged by their positives; the corpus is their answers and the task's other passages."""
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
    """``size`` of the distinct texts by their identities, or all: by chance, always the same, in constant memory."""
    found: dict[str, str] = {}
    for text in texts:
        found.setdefault(_identity(text), text)
        if len(found) > 2 * size:
            found = dict(heapq.nsmallest(size, found.items()))
    return dict(heapq.nsmallest(size, found.items()))


def _identity(text: str) -> str:
    """Equal texts have one; their order is chance."""
    return fingerprint(normalise(text))


def _passages(task: Task) -> Iterator[str]:
    for batch in task.rows.iter(batch_size=5_000):
        for positives, negatives in zip(batch["positives"], batch["negatives"], strict=True):
            yield from positives
            yield from negatives
