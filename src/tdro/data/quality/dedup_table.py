"""Prints what a deduplication found: for each task its rows, the duplicates among them, and the rows that are left."""

from __future__ import annotations

from collections import Counter

from tdro.data.quality.dedup_files import DedupResult
from tdro.terminal_table import terminal_table

_HEAD = ("task", "rows", "exact", "near", "left")


def dedup_counts(result: DedupResult) -> dict[str, dict[str, int]]:
    """For each task how many ``rows`` it has, how many are ``exact`` and ``near`` duplicates, and how many are
    ``left``."""
    counts = {}
    for task, kept in zip(result.mixture.tasks, result.found.kept, strict=True):
        removed = result.found.removed(task.name)
        counts[task.name] = {"rows": len(task), "exact": removed["exact"], "near": removed["near"], "left": len(kept)}
    return counts


def dedup_text(result: DedupResult) -> str:
    """The result as text for a terminal: a line a task, their sum, and what the user should look at."""
    counts = [list(each.values()) for each in dedup_counts(result).values()]
    names = [*result.mixture.names, "all"]
    counts.append([sum(column) for column in zip(*counts, strict=True)])
    rows = [[name, *(f"{count:,}" for count in row)] for name, row in zip(names, counts, strict=True)]

    by_answer = Counter(found.task for found in result.found.audit if (found.by, found.of) == ("positive", "train"))
    left = set(result.left.names)
    lines = [
        f"{task.name}: {by_answer[task.name]:,} rows leave because a row that stays has their positive, not their query"
        for task in result.mixture.tasks
        if by_answer[task.name] * 2 > len(task)
    ]
    lines += [f"{name}: no row is left" for name in result.mixture.names if name not in left]
    return "\n".join([terminal_table(_HEAD, rows), *lines])
