"""A check as text for a terminal: examples of each kind of problem, the worst first, and the tasks as a table."""

from __future__ import annotations

from pathlib import Path

from tdro.data.quality.check import Report, TaskReport
from tdro.data.quality.data_card_table import SHARES, languages
from tdro.data.read.rows import REPAIRS, Problem

_HEAD = ("task", "read", "kept", "repaired", "dropped", "same query", "characters", "languages")
_WORST_FIRST = ("refused", "dropped", "repaired", "kept")


def check_text(report: Report, all_in: Path | None = None) -> str:
    """Problems by kind, the first few of each, and a line a task.

    Args:
        report: what :func:`tdro.data.quality.check.check_files` found.
        all_in: the file that has all problems.
    """
    lines = list(report.notes)
    for kind, actions in sorted(report.kinds.items(), key=lambda item: min(map(_WORST_FIRST.index, item[1]))):
        problems = report.shown[kind]
        told = ", ".join(f"{n:,} {_done(kind, action)}" for action, n in actions.items())
        lines.append(f"{kind}: {told}")
        width = max(map(len, actions))
        lines += [f"  {problem.action:<{width}}  {_place(problem)}: {problem.message}" for problem in problems]
        if more := sum(actions.values()) - len(problems):
            lines.append(f"  and {more:,} more" + (f" in {all_in}" if all_in else ""))
    if report.clean:
        lines.append("nothing wrong")
    return "\n".join([*lines, "", *_table(report.tasks)])


def _done(kind: str, action: str) -> str:
    if action == "repaired":
        return f"repaired ({REPAIRS[kind]})"
    return f"{action} (`tdro data dedup --within` takes them out)" if kind == "duplicate-query" else action


def _place(problem: Problem) -> str:
    return problem.file if problem.line is None else f"{problem.file}, line {problem.line}"


def _table(tasks: list[TaskReport]) -> list[str]:
    rows = [_HEAD, *map(_cells, tasks)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    left = ("task", "languages")
    return [
        "  ".join(
            f"{cell:<{width}}" if name in left else f"{cell:>{width}}"
            for cell, width, name in zip(row, widths, _HEAD, strict=True)
        ).rstrip()
        for row in rows
    ] + [f"queries / first positives: medians of their characters; languages are {SHARES}"]


def _cells(task: TaskReport) -> tuple[str, ...]:
    counts = (task.read, task.kept, task.repaired, task.dropped, task.duplicates)
    characters = f"{task.query_characters:.0f} / {task.positive_characters:.0f}"
    spoken = f"{languages(task.query_languages)} / {languages(task.positive_languages)}"
    return (task.name, *(f"{count:,}" for count in counts), characters, spoken)
