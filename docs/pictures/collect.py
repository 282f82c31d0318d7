"""Keeps what the pictures need of a run of the quickstart, in benchmarks/results/quickstart.json.

python docs/pictures/collect.py runs/quickstart
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tdro.files import read_json, write_json

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
EVERY = 5  # so many steps are between two points of the curves
SHOWN = 50  # the step that the picture of one step shows


def collected(run: Path) -> dict[str, Any]:
    """Tasks, rows, weights, and α over the steps; of one step the losses and measures too."""
    steps = [json.loads(line) for line in (run / "weights" / "steps.jsonl").read_text("utf-8").splitlines()]
    weights = read_json(run / "weights" / "weights.json")
    kept = sorted({*range(0, len(steps), EVERY), len(steps) - 1})
    before, shown = steps[SHOWN - 1], steps[SHOWN]
    return {
        "tasks": list(weights["weights"]),
        "rows": {task["name"]: task["rows"] for task in read_json(run / "data.json")["tasks"]},
        "weights": {name: _short(value) for name, value in weights["weights"].items()},
        "gain": {
            name: _short(value) for name, value in read_json(run / "weights/gain/weights.json")["weights"].items()
        },
        "alpha": {"step": kept, "alpha": [[_short(a) for a in steps[at]["alpha"]] for at in kept]},
        "one_step": {
            "step": SHOWN,
            "before": [_short(a) for a in before["alpha"]],
            "after": [_short(a) for a in shown["alpha"]],
            **{
                key: [_short(value) for value in mean_of(key, before, shown)]
                for key in ("proxy_loss", "reference_loss")
            },
            "measure": [_short(value) for value in shown["measure"]],
        },
    }


def mean_of(key: str, *steps: dict[str, Any]) -> list[float]:
    """The mean over steps for each task: with 8 rows a task, a measure is taken over two steps."""
    return [sum(values) / len(steps) for values in zip(*(step[key] for step in steps), strict=True)]


def _short(value: float) -> float:
    return float(f"{value:.5g}")


if __name__ == "__main__":
    write_json(RESULTS / "quickstart.json", collected(Path(sys.argv[1])))
