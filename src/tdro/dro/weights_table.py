"""The weights of the tasks as a table for a terminal, with how often training by them would repeat each task.

How many epochs a task is seen depends on how many rows a training draws. The table counts for one that draws as many
rows as all tasks have together: sampling in proportion to size would then see each task 1.0 times, and 8.3 says that
a task is seen that much more often.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdro.files import read_json
from tdro.terminal_table import terminal_table

if TYPE_CHECKING:
    from tdro.weights import TaskWeights


def sizes_beside(file: Path, weights: TaskWeights) -> dict[str, int]:
    """How many rows each task has, as the weights' provenance or the ``run.json`` of their run says; empty if unknown.

    Args:
        file: the weights' file, which in a run is ``weights/weights.json``.
        weights: what is in it.
    """
    known = weights.provenance.get("size")
    run = file.resolve().parent.parent / "run.json"
    if not isinstance(known, dict) and file.parent.name == "weights" and run.is_file():
        known = {task["name"]: task["rows"] for task in read_json(run).get("tasks", [])}
    if not isinstance(known, dict):
        return {}
    sizes = {name: rows for name, rows in known.items() if isinstance(rows, int) and rows > 0}
    return sizes if set(weights.names) <= set(sizes) else {}


def weights_numbers(weights: TaskWeights, sizes: dict[str, int], selected: TaskWeights | None = None) -> dict[str, Any]:
    """What :func:`weights_table` is made of; its arguments are the same.

    Returns:
        ``effective_tasks``, and ``tasks``: for each, the largest weight first, ``task``, ``weight``, ``times_uniform``
        (its weight by the uniform one), ``rows`` (null if unknown) and ``epochs`` (null if unknown). A task that the
        selection leaves out has null for all but ``task`` and ``rows``.
    """
    shown = selected or weights
    all_rows = sum(sizes[name] for name in weights.names) if sizes else 0
    epochs = shown.epochs(sizes, all_rows) if sizes else {}
    tasks = []
    for name in sorted(weights.names, key=lambda name: -weights[name]):
        weight = shown.get(name)
        times = None if weight is None else weight * len(weights)
        seen = epochs.get(name) if weight is not None else None
        tasks.append({"task": name, "weight": weight, "times_uniform": times, "rows": sizes.get(name), "epochs": seen})
    return {"effective_tasks": shown.effective_tasks, "tasks": tasks}


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def weights_table(weights: TaskWeights, sizes: dict[str, int], selected: TaskWeights | None = None) -> str:
    """A line for each task, the largest weight first, then how many tasks that amounts to.

    Args:
        weights: of all tasks.
        sizes: how many rows each task has. If empty, there are no columns of rows and epochs.
        selected: a selection of the tasks, such as ``weights.top(70)``, whose weights are shown instead. The tasks that
            it leaves out stay in the table with a dash.
    """
    numbers = weights_numbers(weights, sizes, selected)
    shown = selected or weights
    all_rows = sum(sizes[name] for name in weights.names) if sizes else 0
    rows = []
    for task in numbers["tasks"]:
        row = [task["task"], _number(task["weight"], 4), _number(task["times_uniform"], 2)]
        if sizes:
            row += [f"{task['rows']}", _number(task["epochs"], 2)]
        rows.append(row)
    table = terminal_table(["task", "weight", "x uniform", *(["rows", "epochs"] if sizes else [])], rows)
    summary = f"{len(shown)} of {len(weights)} tasks, {shown.effective_tasks:.1f} effective"
    if not sizes:
        return f"{table}\n{summary}"
    share = 100 * sum(sizes[name] for name in shown.names) / all_rows
    note = "epochs: if a training draws as many rows as all tasks have"
    return f"{table}\n{summary}, {share:.0f} % of {all_rows} rows\n{note}"
