"""Weights of tasks as a table for a terminal: what they are, and what training by them would repeat.

Epochs depend on how many rows a training draws; here it draws as many as all tasks have together, so that
1.0 is what sampling in proportion to size gives every task, and 8.3 says that a task is repeated that much
more often.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tdro.files import read_json

if TYPE_CHECKING:
    from tdro.weights import TaskWeights


def sizes_beside(file: Path, weights: TaskWeights) -> dict[str, int]:
    """Rows of the tasks, from the weights' provenance or their run folder's run.json; empty if unknown."""
    known = weights.provenance.get("size")
    run = file.resolve().parent.parent / "run.json"
    if not isinstance(known, dict) and file.parent.name == "weights" and run.is_file():
        known = {task["name"]: task["rows"] for task in read_json(run).get("tasks", [])}
    if not isinstance(known, dict):
        return {}
    sizes = {name: rows for name, rows in known.items() if isinstance(rows, int) and rows > 0}
    return sizes if set(weights.names) <= set(sizes) else {}


def weights_table(weights: TaskWeights, sizes: dict[str, int], selected: TaskWeights | None = None) -> str:
    """A line a task, largest weight first, then the effective number of tasks.

    Args:
        weights: of all tasks.
        sizes: rows of each task, or empty: no columns of rows and epochs.
        selected: a selection of them (``weights.top(70)``) whose weights are shown instead; the tasks that it
            leaves out stay in the table with a dash.
    """
    shown = selected or weights
    kept = shown.as_dict()
    epochs = shown.epochs(sizes, sum(sizes[name] for name in weights.names)) if sizes else {}
    width = max(len("task"), *(len(name) for name in weights.names))
    lines = [f"{'task':{width}}  weight  x uniform" + ("       rows  epochs" if sizes else "")]
    for name, _ in sorted(weights.as_dict().items(), key=lambda item: -item[1]):
        weight = kept.get(name)
        line = f"{name:{width}}  " + (
            f"{'-':>6}  {'-':>9}" if weight is None else f"{weight:6.4f}  {weight * len(weights):9.2f}"
        )
        if sizes:
            line += f"  {sizes[name]:9d}  " + (f"{epochs[name]:6.2f}" if name in epochs else f"{'-':>6}")
        lines.append(line)
    lines.append(f"{len(kept)} of {len(weights)} tasks, {shown.effective_tasks:.1f} effective")
    if sizes:
        rows, total = sum(sizes[name] for name in kept), sum(sizes[name] for name in weights.names)
        lines[-1] += f", {100 * rows / total:.0f} % of {total} rows"
        lines.append("epochs: if a training draws as many rows as all tasks have")
    return "\n".join(lines)
