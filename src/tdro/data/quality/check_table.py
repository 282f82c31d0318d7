"""Prints what a check has found: examples of each kind of problem, the worst first, and a table of the tasks."""

from __future__ import annotations

from pathlib import Path

from tdro.data.quality.check_report import CheckReport, TaskReport
from tdro.data.quality.languages import LANGUAGE_ROWS, SHARES_LEGEND, shares_text
from tdro.data.read.problem import REPAIRS, Problem
from tdro.terminal_table import terminal_table

_HEAD = ("task", "read", "kept", "repaired", "dropped", "same query", "characters", "languages")
_WORST_FIRST = ("refused", "dropped", "repaired", "kept")


def check_text(report: CheckReport, all_in: Path | None = None) -> str:
    """The report as text for a terminal: notes, problems by kind, and a line a task.

    Args:
        report: what :func:`tdro.data.quality.check.check_files` found.
        all_in: the file that has all problems, which is named where only the first ones are shown.
    """
    lines = list(report.notes)
    for kind, actions in sorted(report.kinds.items(), key=lambda item: min(map(_WORST_FIRST.index, item[1]))):
        problems = report.shown[kind]
        counts = ", ".join(f"{count:,} {_done(kind, action)}" for action, count in actions.items())
        lines.append(f"{kind}: {counts}{_looked_for(kind, report)}")
        width = max(map(len, actions))
        lines += [f"  {problem.action:<{width}}  {_place(problem)}: {problem.message}" for problem in problems]
        if more := sum(actions.values()) - len(problems):
            lines.append(f"  and {more:,} more" + (f" in {all_in}" if all_in else ""))
    if report.clean:
        lines.append("nothing wrong")
    legend = f"queries / first positives: medians of their characters; languages are {SHARES_LEGEND}"
    if any(task.language_rows < task.kept for task in report.tasks):
        legend += f"; from at most {LANGUAGE_ROWS:,} evenly spread rows a task"
    table = terminal_table(_HEAD, [_cells(task) for task in report.tasks], left=["languages"])
    return "\n".join([*lines, "", table, legend])


def _done(kind: str, action: str) -> str:
    """What is done about a kind of problem, or what the user can do."""
    if action == "repaired":
        return f"repaired ({REPAIRS[kind]})"
    return f"{action} (`tdro data dedup --within` takes them out)" if kind == "duplicate-query" else action


def _looked_for(kind: str, report: CheckReport) -> str:
    """In how many rows a kind of problem was looked for, where not in all: languages are identified in a sample."""
    kept, looked_at = (sum(getattr(task, rows) for task in report.tasks) for rows in ("kept", "language_rows"))
    return f", in a sample of {looked_at:,} of {kept:,} rows" if kind == "odd-language" and looked_at < kept else ""


def _place(problem: Problem) -> str:
    return problem.file if problem.line is None else f"{problem.file}, line {problem.line}"


def _cells(task: TaskReport) -> tuple[str, ...]:
    counts = (task.read, task.kept, task.repaired, task.dropped, task.duplicates)
    characters = f"{task.query_characters:.0f} / {task.positive_characters:.0f}"
    spoken = f"{shares_text(task.query_languages)} / {shares_text(task.positive_languages)}"
    return (task.name, *(f"{count:,}" for count in counts), characters, spoken)
