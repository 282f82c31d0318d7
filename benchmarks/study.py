"""What a study costs besides its trainings and their scoring, in CPU seconds on one core, on the sample mixture.

    python benchmarks/study.py

A small study of the quickstart (static models, its own steps) runs in this process. CPU seconds are counted inside the
stages (references, weights, trainings) and inside the scoring; the rest is the engine's: keys of pieces, folders,
statistics, the answer. Mining and tokenizing come before and do not count, as in any run. CPU seconds, so other
programs on the machine do not show.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from figures import about_machine

from tdro.console import quiet_libraries
from tdro.files import write_json
from tdro.recipe.builtin import find
from tdro.recipe.schema import load_recipe
from tdro.run.workspace import Workspace
from tdro.study import pieces
from tdro.study.engine import Question, run_study
from tdro.study.schema import Study

RESULT = Path(__file__).parent / "results" / "study.json"
WANTED = 0.03  # of a variant


class Clock:
    """CPU seconds that were spent inside what it wraps, and how often."""

    def __init__(self) -> None:
        self.seconds, self.calls = 0.0, 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time counted."""

        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.process_time() - started
                self.calls += 1

        return timed


def measured(folder: Path, seeds: int) -> dict[str, object]:
    """Run the study and split its CPU seconds."""
    recipe = load_recipe(find("quickstart")).model_copy(update={"folder": folder, "device": "cpu"})
    study = Study(vary={"mixture": ("top-50", "top-70")}, seeds=seeds)
    stages, scoring, preparing = Clock(), Clock(), Clock()
    own_stage = pieces._stage

    def stage(*arguments: Any) -> Any:
        made, key = own_stage(*arguments)
        return dataclasses.replace(made, make=stages.around(made.make)), key

    pieces._stage, pieces.evaluate_all = stage, scoring.around(pieces.evaluate_all)
    Workspace.tokens = preparing.around(Workspace.tokens)  # type: ignore[method-assign]
    started = time.process_time()
    run_study(Question("overhead", study, recipe))
    total = time.process_time() - started - preparing.seconds
    if scoring.calls != 3 * seeds:
        raise SystemExit(f"{folder}: some of it is there already; give an empty folder")
    overhead = total - stages.seconds - scoring.seconds
    variant = (stages.seconds + scoring.seconds) / scoring.calls
    return {
        "trainings": scoring.calls,
        "cpu_seconds": {
            "preparing data": round(preparing.seconds, 2),
            "stages": round(stages.seconds, 2),
            "scoring": round(scoring.seconds, 2),
            "engine": round(overhead, 2),
        },
        "engine / variant": round(overhead / scoring.calls / variant, 4),
        "at most": WANTED,
    }


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, help="run folder whose mined negatives are used (default: a temporary one)"
    )
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each variant (default: 2)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    with tempfile.TemporaryDirectory() as place:
        figures = measured(arguments.folder or Path(place, "run"), arguments.seeds)
    print(f"engine / variant: {figures['engine / variant']} (wanted: at most {WANTED}); {figures['cpu_seconds']}")
    write_json(RESULT, {"machine": about_machine(), **figures})


if __name__ == "__main__":
    main()
