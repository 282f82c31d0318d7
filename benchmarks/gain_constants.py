"""How the constants of transfer gain do, judged on rows of the training tasks that nothing else has seen.

    python benchmarks/gain_constants.py --seeds 2

The sample mixture, static models, the quickstart's settings. Up to 256 rows of each task (at most a tenth) are put
aside for the judgement. Of the others, transfer gain holds out its own and learns weights; a model is fine-tuned by
them, and one by uniform weights with the same seed. The figure is the mean over tasks of the relative change of the
loss on the rows put aside: -0.02 is a loss that is 2 % lower than uniform's. No test set is read.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import about_machine
from numpy.typing import NDArray

import tdro.gain.stage
from tdro.console import quiet_libraries
from tdro.data.plan.permute import mix, permute
from tdro.files import write_json
from tdro.gain.held_out import hold_out
from tdro.gain.losses import HeldOutLosses, HeldOutSet
from tdro.gain.stage import GainStage, learn_gain
from tdro.machine import this_machine
from tdro.models.load import load_model
from tdro.recipe.builtin import find
from tdro.recipe.schema import load_recipe
from tdro.recipe.training_sections import Gain
from tdro.run.pipeline import Pipeline
from tdro.training.finetune import FinetuneJob, finetune
from tdro.training.trainer import PlannedTrainer

RESULT = Path(__file__).parent / "results" / "gain_constants.json"
ALONE: list[dict[str, Any]] = [
    {},
    *({"move": move} for move in (1.0, 6.0)),
    {"trial_steps": 1},
    {"floor": 0.2},
    {"held_out_rows": 64},
    {"rounds": 5},
]


def put_aside(sizes: list[int]) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """The rows that may be used, and those for the judgement, of each task."""
    used, judged = [], []
    for task, size in enumerate(sizes):
        order = permute(np.arange(size), size, mix(99, task))
        count = max(1, min(256, size // 10))
        judged.append(np.sort(order[:count]))
        used.append(np.sort(order[count:]))
    return used, judged


def main() -> None:
    """Learn, train and judge with each setting and seed; print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="run folder with mined negatives and tokens, kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    with tempfile.TemporaryDirectory() as place:
        figures = sweep(arguments.folder or Path(place, "run"), Path(place, "work"), arguments.seeds)
    write_json(RESULT, {"machine": about_machine(), "seeds": arguments.seeds, "change of loss": figures})


def sweep(folder: Path, work: Path, seeds: int) -> dict[str, Any]:
    """The figure of each setting: its mean over the seeds, and each seed's."""
    recipe = load_recipe(find("quickstart")).model_copy(update={"folder": folder, "device": "cpu"})
    machine = this_machine("cpu", recipe.precision)
    run = Pipeline(recipe, force=False, machine=machine)
    run.begin(["reference", "learn"])
    base = run.workspace.models.base(recipe.base)
    data, load = run.workspace.tokens(base), run.workspace.models.loader(base, dropout=False)
    used, judged = put_aside([len(task) for task in data.index.tasks])
    settings, number = recipe.reference, 0
    sets = [HeldOutSet(task.name, data, at, judged[at], settings.negatives) for at, task in enumerate(data.index.tasks)]
    judge = HeldOutLosses(sets, settings.temperature, settings.chunk_rows, 7, machine)

    judge.prepare(lambda batch: batch, lambda batch: PlannedTrainer.collect_features(None, batch))  # type: ignore[arg-type]

    def losses(weights: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
        nonlocal number
        number += 1
        finetune(
            load, data, FinetuneJob("judged", "", weights, settings, seed, subset=used), work / f"{number}", machine
        )
        model = load_model(work / f"{number}", device="cpu")
        return judge.measure(model)

    def hold_out_of_used(sizes: Any, most: int, seed: int) -> Any:
        parts = hold_out([len(rows) for rows in used], most, seed)
        return tuple([rows[own] for rows, own in zip(used, part, strict=True)] for part in parts)

    tdro.gain.stage.hold_out = hold_out_of_used
    uniform = np.full(len(used), 1 / len(used))
    even = [losses(uniform, seed) for seed in range(1, seeds + 1)]
    figures: dict[str, Any] = {}
    for changes in ALONE:
        found = []
        for seed in range(1, seeds + 1):
            stage = GainStage(Gain(**changes), settings, seed, data, (), load, machine)
            learner = learn_gain(stage, work / f"gain-{len(figures)}-{seed}", {})
            found.append(float((losses(learner.mean.values, seed) / even[seed - 1] - 1).mean()))
        name = ", ".join(f"{key} {value:g}" for key, value in changes.items()) or "defaults"
        figures[name] = {"mean": float(np.mean(found)), "seeds": found}
        print(name, figures[name], flush=True)
        write_json(RESULT, {"machine": about_machine(), "seeds": seeds, "change of loss": figures})
    return figures


if __name__ == "__main__":
    main()
