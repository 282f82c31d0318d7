"""Ways to find a mixture, compared by what they cost: gain over uniform against trainings spent.

    tdro run benchmarks/mixtures.yaml          # tdro's own mixtures, 8 seeds; this benchmark takes them from there
    python benchmarks/peers.py --swarms 4      # an hour of one core; RegMix needs: pip install lightgbm

The sample mixture, static models, the settings of the quickstart's act 1. A swarm is 48 trainings with random mixtures,
each scored on held-out rows of the training tasks. From 6, 12, 24 and 48 of them the peers choose a mixture. It is
then trained with the seeds 1 to 4 and scored on the test sets, which nothing has seen before; differences are from
uniform with the same seed. With 4 swarms each seed has its own. With fewer, the seeds take their 6 or 12 from different
parts of a swarm. DoReMi's measure, the excess loss, goes through tdro's own stage 1.

Everything is kept in ``--folder`` and in results/peers.json, so that a stopped benchmark goes on. The comparison is
written after each part, of what is there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import about_machine
from numpy.typing import NDArray
from peers_answers import Swarm, random_mixtures

from tdro.console import quiet_libraries
from tdro.evaluation.intervals import seed_interval
from tdro.evaluation.results import Results, read_group
from tdro.evaluation.scoring.evaluate import evaluate_all
from tdro.files import write_json
from tdro.gain.held_out import hold_out
from tdro.gain.losses import HeldOutLosses, HeldOutSet
from tdro.machine import this_machine
from tdro.models.load import load_model
from tdro.recipe.names import model_name
from tdro.recipe.schema import load_recipe
from tdro.run.pipeline import Pipeline
from tdro.run.stages import Stages
from tdro.training.finetune import FinetuneJob, finetune
from tdro.training.trainer import PlannedTrainer
from tdro.weights import TaskWeights

RECIPE = Path(__file__).parent / "mixtures.yaml"
RESULT = Path(__file__).parent / "results" / "peers.json"
BUDGETS = (24, 12, 6, 48)  # trainings of a swarm, in the order in which they are judged
METHODS = ("olmix", "regmix", "best")
SEEDS = (1, 2, 3, 4)
SWARM_SEED = 100  # swarm k draws its mixtures, its held-out rows and its trainings' rows with the seed 100 + k


class Contest:
    """The data and settings that all contestants share, and what was found so far.

    Args:
        folder: of the run of ``mixtures.yaml``; it also keeps what is made here.
        swarms: how many swarms.
    """

    def __init__(self, folder: Path, swarms: int) -> None:
        self.recipe = load_recipe(RECIPE).model_copy(update={"folder": folder, "device": "cpu"})
        self.folder, self.group, self.swarms = folder, self.recipe.finetune[0], swarms
        self.machine = this_machine("cpu", self.recipe.precision)
        run = Pipeline(self.recipe, force=False, machine=self.machine)
        run.begin(["reference", "learn"])
        self.workspace = run.workspace
        base = self.workspace.models.base(self.recipe.base)
        self.data, self.load = self.workspace.tokens(base), self.workspace.models.loader(base)
        self.names = tuple(task.name for task in self.data.index.tasks)
        self.found: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        self.found |= {"machine": about_machine(), "names": self.names}
        for part in ("swarms", "seconds", "judged", "comparison"):
            self.found.setdefault(part, {})

    def save(self) -> None:
        """Write what was found so far."""
        write_json(RESULT, self.found)

    def train(self, shares: NDArray[np.float64], seed: int, subset: list[NDArray[np.int64]] | None = None) -> Path:
        """Fine-tune by some shares of the tasks; the model's folder, which the next training overwrites."""
        model = self.folder / "peers" / "model"
        shutil.rmtree(model, ignore_errors=True)
        job = FinetuneJob("training", "", shares, self.group, seed, self.group.draw, subset)
        finetune(self.load, self.data, job, model, self.machine)
        shutil.rmtree(model.with_name("model.training"), ignore_errors=True)
        return model

    def swarm(self, number: int, count: int) -> Swarm:
        """The first trainings of a swarm; those that are not there yet are made."""
        seed, done = SWARM_SEED + number, self.found["swarms"].setdefault(str(number), [])
        shares = random_mixtures(len(self.names), max(BUDGETS), seed)
        sizes = [len(task) for task in self.data.index.tasks]
        trained, held = hold_out(sizes, self.recipe.gain.held_out_rows, seed)
        group = self.group
        sets = [HeldOutSet(name, self.data, at, held[at], group.negatives) for at, name in enumerate(self.names)]
        judge = HeldOutLosses(sets, group.temperature, group.chunk_rows, seed, self.machine)
        judge.prepare(lambda batch: batch, lambda batch: PlannedTrainer.collect_features(None, batch))
        for place in range(len(done), count):
            started = time.process_time()
            model = self.train(shares[place], seed, trained)
            losses = judge.measure(load_model(model, device="cpu"))
            seconds = round(time.process_time() - started, 2)
            done.append({"shares": _rounded(shares[place]), "losses": _rounded(losses), "seconds": seconds})
            self.save()
            print(f"swarm {number}, training {place + 1}: {losses.mean():.3f} nats, {seconds} s", flush=True)
        return Swarm(self.names, shares[: len(done)], np.array([each["losses"] for each in done]))

    def part(self, budget: int, seed: int) -> Swarm:
        """The trainings that the peers choose from: of another swarm for each seed, or of another part of its 24."""
        number, turn = (seed - 1) % self.swarms, (seed - 1) // self.swarms
        count = max(budget, BUDGETS[0])
        part = self.swarm(number, count).part(turn * budget % count, budget)
        part.write_csv(self.folder / "peers" / f"swarm-{number}-{budget}-seed{seed}")
        return part

    def excess(self) -> dict[str, TaskWeights]:
        """The mixtures by the excess loss: the mean of α over the steps, as in DoReMi, and its top 70 %."""
        settings = self.recipe.weights.model_copy(update={"measure": "excess", "alpha": "mean"})
        recipe, folder = self.recipe.model_copy(update={"weights": settings}), self.folder / "peers" / "excess"
        stages = Stages(recipe, self.workspace, folder)
        weights = folder / "weights" / "weights.json"
        if not weights.exists():
            folder.mkdir(parents=True, exist_ok=True)
            for name in stages.reference_names():
                if not (folder / name).exists():
                    (folder / name).symlink_to((self.folder / name).resolve())
            (stage,) = [each for each in stages.learned() if each.name == "weights"]
            started = time.process_time()
            stage.make()
            self.found["seconds"]["stage 1 by excess"] = round(time.process_time() - started, 2)
            self.save()
        alpha = TaskWeights.load(weights)
        return {"excess": alpha, "excess-top-70": alpha.transfer("top-70")}

    def judge(self, mixture: str, weights: TaskWeights, seed: int) -> None:
        """Train by some weights, and score the model on the test sets."""
        name, shares = model_name(mixture, seed), np.array([weights.get(task, 0.0) for task in self.names])
        scores = self.folder / "evaluation" / "peers"
        if self.found["judged"].get(name) == _rounded(shares) and (scores / name).exists():
            return
        started = time.process_time()
        model = self.train(shares, seed)
        trained = time.process_time() - started
        shutil.rmtree(scores / name, ignore_errors=True)
        results = evaluate_all(
            *(model, self.workspace.data.tests, scores),
            model_name=name,
            device="cpu",
            bf16=self.machine.bf16,
            tokens_folder=self.folder / "tokens",
            progress=False,
        )
        self.found["judged"][name] = _rounded(shares)
        self.save()
        ndcg = 100 * float(np.mean([each["mean"]["ndcg@10"] for each in results]))
        print(f"{name}: nDCG@10 {ndcg:.2f} ({trained:.1f} s, {time.process_time() - started:.1f} s)", flush=True)

    def compare(self) -> None:
        """Note each mixture's difference from uniform."""
        self.found["comparison"] = compared(self.folder / "evaluation")
        self.save()


def compared(folder: Path) -> dict[str, Any]:
    """For each mixture its difference from uniform, and the interval over queries and pairs of seeds.

    Args:
        folder: has the results of the groups, tdro's own mixtures and those of the peers.
    """
    by_seed = {(each.mixture, each.seed): each for group in sorted(folder.iterdir()) for each in read_group(group)}
    found: dict[str, Any] = {}
    for mixture in dict.fromkeys(name for name, seed in by_seed if seed and name != "uniform"):
        seeds = sorted(seed for name, seed in by_seed if name == mixture and seed)
        sides = [_by_test([by_seed[name, seed] for seed in seeds]) for name in (mixture, "uniform")]
        means = [float(np.mean([values.mean() for values in side.values()])) for side in sides]
        interval = seed_interval(*sides) if len(seeds) > 1 else ()
        found[mixture] = {"seeds": seeds, "gain, low, high": _rounded(100 * np.array([means[0] - means[1], *interval]))}
        print(f"{mixture}: {found[mixture]}", flush=True)
    return found


def _by_test(models: list[Results]) -> dict[str, NDArray[np.float64]]:
    """nDCG@10 of some seeds: for each test set an array (seeds, queries)."""
    return {test: np.array([model.values(test, "ndcg@10") for model in models]) for test in models[0].tests}


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 5) for value in values]


def main() -> None:
    """Train the swarms, let the peers choose, train what they choose, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--swarms", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=Path("runs/mixtures"), help="where mixtures.yaml was run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    contest = Contest(arguments.folder, arguments.swarms)
    for method in METHODS:
        for budget in BUDGETS:
            for seed in SEEDS:
                if weights := contest.part(budget, seed).answer(method):
                    contest.judge(f"{method}-{budget}", weights, seed)
            contest.compare()
    for mixture, weights in contest.excess().items():
        for seed in SEEDS:
            contest.judge(mixture, weights, seed)
    contest.compare()


if __name__ == "__main__":
    main()
