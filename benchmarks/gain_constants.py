"""How the constants of transfer gain do, judged on rows of the training tasks that nothing else has seen.

    python benchmarks/gain_constants.py --seeds 2

The sample mixture, static models, the quickstart's settings. Up to 256 rows of each task (at most a tenth) are put
aside for the judgement. Of the others, transfer gain holds out its own and learns weights; a model is fine-tuned by
them, and one by uniform weights with the same seed. The figure is the mean over tasks of the relative change of the
loss on the rows put aside: -0.02 is a loss that is 2 % lower than uniform's. No test set is read.

A setting and a seed take about a minute of one core. What is in results/gain_constants.json is not done again, so a
stopped benchmark goes on, and more seeds can be added.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from figures import about_machine
from numpy.typing import NDArray

from tdro.console import quiet_libraries
from tdro.data.plan.permute import mix, permute
from tdro.data.plan.row_plans import HomogeneousPlan
from tdro.files import read_json, write_json
from tdro.gain.held_out import hold_out
from tdro.gain.losses import HeldOutLosses, HeldOutSet
from tdro.gain.rounds import Rounds
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
UNIFORMLY = "proxy trained uniformly"  # between the rounds, and not by α
ALONE: dict[str, dict[str, Any]] = {
    "as it is": {},
    UNIFORMLY: {},
    "move 1": {"move": 1.0},
    "move 6": {"move": 6.0},
    "trial_steps 1": {"trial_steps": 1},
    "floor 0.2": {"floor": 0.2},
    "held_out_rows 64": {"held_out_rows": 64},
    "rounds 5": {"rounds": 5},
}


def put_aside(sizes: list[int]) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """The rows that may be used, and those for the judgement, of each task."""
    used, judged = [], []
    for task, size in enumerate(sizes):
        order = permute(np.arange(size), size, mix(99, task))
        count = max(1, min(256, size // 10))
        judged.append(np.sort(order[:count]))
        used.append(np.sort(order[count:]))
    return used, judged


class Bench:
    """The sample mixture with the rows that are put aside, and what every setting is judged by.

    Args:
        folder: run folder with mined negatives and tokens.
        work: for models, which are removed at the end.
    """

    def __init__(self, folder: Path, work: Path) -> None:
        recipe = load_recipe(find("quickstart")).model_copy(update={"folder": folder, "device": "cpu"})
        self.settings, self.machine, self.work = recipe.reference, this_machine("cpu", recipe.precision), work
        run = Pipeline(recipe, force=False, machine=self.machine)
        run.begin(["reference", "learn"])
        base = run.workspace.models.base(recipe.base)
        self.data, self.load = run.workspace.tokens(base), run.workspace.models.loader(base, dropout=False)
        self.used, judged = put_aside([len(task) for task in self.data.index.tasks])
        one = self.settings
        sets = [
            HeldOutSet(task.name, self.data, at, judged[at], one.negatives)
            for at, task in enumerate(self.data.index.tasks)
        ]
        self.judge = HeldOutLosses(sets, one.temperature, one.chunk_rows, 7, self.machine)
        self.judge.prepare(lambda batch: batch, lambda batch: PlannedTrainer.collect_features(None, batch))

    def losses(self, weights: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
        """The losses on the rows put aside of a model that is fine-tuned by these weights."""
        folder = self.work / "judged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder.with_name("judged.training"), ignore_errors=True)
        job = FinetuneJob("judged", "", weights, self.settings, seed, subset=self.used)
        finetune(self.load, self.data, job, folder, self.machine)
        return self.judge.measure(load_model(folder, device="cpu"))

    def learn(self, name: str, seed: int) -> NDArray[np.float64]:
        """The weights that transfer gain learns with a setting, from the rows that are not put aside."""
        stage = GainStage(Gain(**ALONE[name]), self.settings, seed, self.data, (), self.load, self.machine)
        folder = self.work / "gain"
        shutil.rmtree(folder, ignore_errors=True)
        with patch("tdro.gain.stage.hold_out", self._hold_out):
            if name != UNIFORMLY:
                return learn_gain(stage, folder, {}).mean.values
            with patch.object(Rounds, "training", _uniformly(Rounds.training)):
                return learn_gain(stage, folder, {}).mean.values

    def _hold_out(self, sizes: Sequence[int], most: int, seed: int) -> Any:
        """As :func:`hold_out`, of the rows that are not put aside."""
        parts = hold_out([len(rows) for rows in self.used], most, seed)
        return tuple([rows[own] for rows, own in zip(self.used, part, strict=True)] for part in parts)


def _uniformly(training: Callable[..., HomogeneousPlan]) -> Callable[..., HomogeneousPlan]:
    """The steps of the rounds as if α were uniform in each."""
    return lambda rounds, alphas: training(rounds, [np.full(len(alpha), 1 / len(alpha)) for alpha in alphas])


def main() -> None:
    """Learn, train and judge with each seed and setting; print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="run folder with mined negatives and tokens, kept")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    found: dict[str, dict[str, float]] = read_json(RESULT)["change of loss"] if RESULT.exists() else {}
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(arguments.folder or Path(place, "run"), Path(place))
        for seed in range(1, arguments.seeds + 1):
            missing = [name for name in ALONE if str(seed) not in found.setdefault(name, {})]
            even = bench.losses(np.full(len(bench.used), 1 / len(bench.used)), seed) if missing else np.zeros(0)
            for name in missing:
                found[name][str(seed)] = float((bench.losses(bench.learn(name, seed), seed) / even - 1).mean())
                print(f"seed {seed}, {name}: {found[name][str(seed)]:+.4f}", flush=True)
                write_json(RESULT, {"machine": about_machine(), "change of loss": found})
    for name, seeds in found.items():
        print(f"{name}: {np.mean([*seeds.values()]):+.4f}")


if __name__ == "__main__":
    main()
