"""Gain over uniform against the steps of a training, with weights learned at 400 steps and at as many as it has.

    python benchmarks/budgets.py --folder runs/budgets

The sample mixture with static models and the quickstart's settings. A training is named by its mixture, by the steps
of the proxy whose weights it uses (``@400``), and by what changes as it goes on:

    top-70^0.5@400                 the same weights from the first step to the last
    top-70^0.5@400 then uniform    the first 70 % of the steps by these weights, the rest by uniform ones
    top-70^0.5@400 for 400 steps   the first 400 steps by these weights, the rest by uniform ones
    gain@400 by round              each tenth of the steps by the weights that its round of the proxy had

Queries of each task are held out of all trainings, also of those that learn weights, and make 16 test sets of their
own (``held out``). What mixture is good is to be chosen on these; the mixture's own test sets judge the choice. What
is done is not done again, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import about_machine
from numpy.typing import NDArray

import tdro.init.hold_out
from tdro.console import quiet_libraries
from tdro.data.mixtures.folder import beir_sha256, read_mixture
from tdro.data.plan.row_plans import HomogeneousPlan
from tdro.data.plan.task_order import draw_tasks
from tdro.disk import cache_folder
from tdro.evaluation.intervals import query_interval, seed_interval
from tdro.evaluation.scoring.evaluate import evaluate_all
from tdro.files import read_json, read_jsonl, sha256, write_json
from tdro.gain.learned_weights import LearnedWeights
from tdro.machine import this_machine
from tdro.quickstart import build_sample
from tdro.recipe.finetune_section import Finetune
from tdro.recipe.schema import Recipe, load_recipe
from tdro.run.folder import RunFolder, Stage
from tdro.run.pipeline import Pipeline
from tdro.run.stages import Stages
from tdro.run.training_inputs import training_inputs
from tdro.training.finetune import FinetuneJob, finetune
from tdro.training.steps import TokenizedMixture
from tdro.weights import TaskWeights

RESULT = Path(__file__).parent / "results" / "budgets.json"
RECIPE = Path(__file__).parent / "mixtures.yaml"
HELD_OUT = "held-"  # what the names of the held-out test sets begin with
QUERIES, PASSAGES = 150, 1000  # of a held-out test set, as in the sample mixture's own
ROUNDS = 10
SELECTED_SHARE = 0.7

CHANGED = ("top-70^0.5", "gain")  # of these, variations that change with the steps
BY_ROUND = ["gain@ by round", "reweight^0.5@ by round"]
SELECTING = ("top-70", "top-70^0.5", "reweight^0.5", "gain")
# What is trained, the most wanted first: (variations, steps, seeds). ``@`` stands for as many steps as the training's.
TEMPERED = ["uniform", "top-70^0.5@400", "top-70^0.5@400 then uniform"]
BY_GAIN = ["gain@400", "gain@400 then uniform"]
SHORT = ["uniform", *(f"{mixture}@400" for mixture in SELECTING), *TEMPERED, *BY_GAIN]
SAFE = ["uniform", "reweight^0.5@400", "reweight^0.5@", "top-70^0.5@400", "gain@400"]
GAIN_LONG = ["gain@", "gain@ by round", "gain@ then uniform"]
LONG = [*(f"{mixture}@" for mixture in SELECTING), *(f"{mixture}@ then uniform" for mixture in CHANGED), *BY_ROUND]
ORDER: list[tuple[list[str], tuple[int, ...], tuple[int, ...]]] = [
    (TEMPERED, (400, 1600), (1, 2)),
    (["top-70^0.5@400 for 400 steps"], (1600,), (1, 2)),
    (BY_GAIN, (400, 1600), (1, 2)),
    (["gain@400 for 400 steps"], (1600,), (1, 2)),
    (SHORT, (1600, 400, 100), (1, 2)),
    (GAIN_LONG, (1600,), (1, 2)),
    (SHORT, (200,), (1, 2)),
    (LONG, (1600,), (1, 2)),
    (SAFE, (800, 3200), (1, 2)),
    (SAFE, (100, 200, 400, 800, 1600), (1, 2, 3)),
    (TEMPERED + BY_GAIN, (3200,), (1, 2)),
    (SHORT, (100, 400, 800, 1600), (1, 2, 3)),
    (LONG, (100, 200, 400, 800, 1600), (1, 2, 3)),
    (SHORT, (200, 3200), (1, 2, 3)),
    (LONG, (3200,), (1, 2)),
]


@dataclass(frozen=True)
class Variation:
    """A training's name taken apart.

    Attributes:
        mixture: such as ``top-70^0.5``.
        learned: steps of the proxy; 0 for uniform.
        change: ``""``, ``then uniform``, ``for 400 steps`` or ``by round``.
    """

    mixture: str
    learned: int = 0
    change: str = ""

    @classmethod
    def of(cls, name: str, steps: int) -> Variation:
        """The variation of a name in :data:`ORDER`, for a training of so many steps."""
        mixture, _, rest = name.partition("@")
        learned, _, change = rest.partition(" ")
        return cls(mixture, 0 if mixture == "uniform" else int(learned or steps), change)

    def __str__(self) -> str:
        return f"{self.mixture}@{self.learned} {self.change}".rstrip() if self.learned else self.mixture


@dataclass(frozen=True)
class PhasedJob(FinetuneJob):
    """A fine-tuning whose weights change: each phase has a share of the steps, and weights (k,)."""

    phases: tuple[tuple[float, NDArray[np.float64]], ...] = ()

    def plan(self, data: TokenizedMixture) -> HomogeneousPlan:
        """Each phase draws its own tasks; over the phases no row is read twice before all rows of its task were."""
        steps, sizes = self.settings.steps, [len(task) for task in data.index.tasks]
        ends = np.round(np.cumsum([share for share, _ in self.phases]) * steps).astype(int)
        counts = np.diff([0, *ends])
        drawn = [
            draw_tasks(weights, int(count), self.seed) for count, (_, weights) in zip(counts, self.phases, strict=True)
        ]
        return HomogeneousPlan(sizes, self.settings.batch, np.concatenate(drawn), self.seed)


class Budgets:
    """The trainings and their scores, in one folder."""

    def __init__(self, folder: Path) -> None:
        mixture = folder / "mixture"
        if not (mixture / "mixture.json").exists():
            write_mixture(mixture)
        recipe = load_recipe(RECIPE)
        data = recipe.data.model_copy(update={"mixture": str(mixture)})
        self.recipe = recipe.model_copy(update={"folder": folder / "run", "device": "cpu", "data": data})
        self.machine = this_machine("cpu", self.recipe.precision)
        self.run = Pipeline(self.recipe, force=False, machine=self.machine)
        self.run.begin(["reference", "learn"])
        self.workspace, self.path = self.run.workspace, self.run.path
        self.names = self.workspace.data.facts.names

    def _recipe(self, steps: int) -> Recipe:
        """The recipe with so many steps everywhere."""
        changes = {"steps": steps}
        return self.recipe.model_copy(
            update={
                "folder": self.path / "learned" / str(steps),
                "reference": self.recipe.reference.model_copy(update=changes),
                "weights": self.recipe.weights.model_copy(update=changes),
                "finetune": (self.group(steps),),
            }
        )

    def group(self, steps: int) -> Finetune:
        """The settings of a training of so many steps."""
        return self.recipe.finetune[0].model_copy(update={"steps": steps})

    @cache  # noqa: B019  # there is one of this class
    def learned(self, steps: int, gain: bool) -> Path:
        """The folder of the weights that a proxy of so many steps learns, by transfer gain or by tDRO."""
        recipe = self._recipe(steps)
        stages, folder = Stages(recipe, self.workspace, recipe.folder), RunFolder(recipe)
        folder.create()
        for stage in [stages._gain()] if gain else [*stages.references(), stages._weights()]:
            if folder.do(stage):
                print(f"{stage.name} of {steps} steps", flush=True)
        return recipe.folder

    def phases(self, variation: Variation, steps: int) -> tuple[tuple[float, NDArray[np.float64]], ...]:
        """The shares of the steps and their weights, (k,) each."""
        uniform = np.full(len(self.names), 1 / len(self.names))
        if not variation.learned:
            return ((1.0, uniform),)
        by_gain, sizes = variation.mixture == "gain", self.workspace.data.sizes
        folder = self.learned(variation.learned, by_gain)
        learned = LearnedWeights.load(folder, self._recipe(variation.learned))
        if variation.change == "by round":
            rounds = self._rounds(folder, by_gain)
            found = [LearnedWeights(alpha, alpha).transfer(variation.mixture, sizes) for alpha in rounds]
            return tuple((1 / len(found), weights.on(self.names)) for weights in found)
        weights = learned.transfer(variation.mixture, sizes).on(self.names)
        if variation.change:
            share = SELECTED_SHARE if variation.change == "then uniform" else 400 / steps
            return ((share, weights), (1 - share, uniform))
        return ((1.0, weights),)

    def _rounds(self, folder: Path, gain: bool) -> list[TaskWeights]:
        """The weights of each tenth of the proxy's training."""
        if gain:
            alphas = read_json(folder / "weights" / "gain" / "gain.json")["alphas"]
        else:
            steps = np.array([step["alpha"] for step in read_jsonl(folder / "weights" / "steps.jsonl")])
            alphas = [part.mean(axis=0) for part in np.array_split(steps, ROUNDS)]
        return [TaskWeights(tuple(self.names), np.array(alpha)) for alpha in alphas]

    def train(self, variation: Variation, steps: int, seed: int) -> None:
        """Train and score one model; only its scores are kept."""
        group, base = self.group(steps), self.workspace.models.base(self.recipe.base)
        phases = self.phases(variation, steps)
        name = model_folder(variation, steps, seed)
        weights = np.sum([share * each for share, each in phases], axis=0)
        job = PhasedJob(name, variation.mixture, weights, group, seed, group.draw, phases=phases)
        inputs = training_inputs(self.workspace.data, base, group, seed)
        inputs["phases"] = [[share, each.tolist()] for share, each in phases]

        def make() -> None:
            model = self.path / "model"
            finetune(self.workspace.models.loader(base), self.workspace.tokens(base), job, model, self.machine)
            evaluate_all(
                *(model, self.workspace.data.tests, self.path),
                model_name=name,
                bf16=self.machine.bf16,
                device=self.machine.device,
                tokens_folder=self.path / "tokens",
                progress=False,
            )
            shutil.rmtree(model)
            shutil.rmtree(self.path / "model.training", ignore_errors=True)

        if self.run.folder.do(Stage(name, inputs, make)):
            print(name, flush=True)


def model_folder(variation: Variation, steps: int, seed: int) -> str:
    """Where the scores of a training are, in the run's folder; the name of its stage too."""
    return f"scores/{steps}/{variation}-seed{seed}".replace(" ", "-")


def write_mixture(folder: Path) -> None:
    """The sample mixture without some queries of each task, which make test sets of their own."""
    sample = build_sample(cache_folder() / "sample-mixture")
    content = read_json(sample / "mixture.json")
    tdro.init.hold_out._PASSAGES = PASSAGES
    tdro.init.hold_out.hold_out(read_mixture(sample).tasks, QUERIES, folder, force=True)
    tests = []
    for test in content["tests"]:
        place = Path("own", test["name"])
        shutil.copytree(sample / test["folder"], folder / place)
        tests.append({**test, "folder": str(place)})
    for task in content["tasks"]:
        file = folder / "train" / f"{task['name']}.jsonl"
        task["file"], task["sha256"] = f"train/{file.name}", sha256(file)
        task.pop("rows")
        place = f"tests/{task['name']}"
        shared = {key: task[key] for key in ("instruction", "symmetric")}
        held = {"name": HELD_OUT + task["name"], "folder": place, "task": task["name"], **shared}
        tests.append({**held, "sha256": beir_sha256(folder / place)})
    write_json(folder / "mixture.json", {**content, "tests": tests, "name": "sample-with-held-out"})


def gains(run: Path) -> dict[str, Any]:
    """For each number of steps and each variation: nDCG@10, and its difference from uniform of the same seeds."""
    done = {stage["name"] for stage in read_json(run / "run.json")["stages"]}

    def values(variation: Variation, steps: int, seed: int) -> dict[str, NDArray[np.float64]] | None:
        """nDCG@10 of each query, for each test set; None if there is no such training."""
        name = model_folder(variation, steps, seed)
        files = sorted((run / name).glob("*.json")) if name in done else []
        return {file.stem: 100 * np.array(read_json(file)["ndcg@10"]) for file in files} or None

    found: dict[str, Any] = {}
    wanted = dict.fromkeys((steps, variation) for variation, steps, _ in _in_order())
    seeds = sorted({seed for _, _, seed in _in_order()})
    for steps, variation in sorted(wanted, key=lambda each: each[0]):
        models = {seed: values(variation, steps, seed) for seed in seeds}
        even = {seed: values(Variation("uniform"), steps, seed) for seed in seeds}
        trained = [seed for seed in seeds if models[seed] and even[seed]]
        if trained:
            figures = _figures([(models[seed] or {}, even[seed] or {}) for seed in trained])
            found.setdefault(str(steps), {})[str(variation)] = {"seeds": trained, **figures}
    return found


def _figures(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Means, differences and intervals over the mixture's test sets and over those that were held out."""
    figures = {}
    for title, held_out in (("test sets", False), ("held out", True)):
        names = [name for name in pairs[0][0] if name.startswith(HELD_OUT) == held_out]
        one, other = ({name: np.stack([pair[side][name] for pair in pairs]) for name in names} for side in (0, 1))
        means = [np.mean([side[name].mean(axis=1) for name in names], axis=0) for side in (one, other)]
        figures[title] = {
            "ndcg@10": round(float(means[0].mean()), 3),
            "minus uniform": round(float((means[0] - means[1]).mean()), 3),
            "of each seed": [round(float(each), 3) for each in means[0] - means[1]],
        }
        if np.abs(means[0] - means[1]).max() > 0:
            each = {name: (one[name] - other[name]).mean(axis=0) / 100 for name in names}
            figures[title]["over queries"] = [round(100 * end, 2) for end in query_interval(each)]
        if len(pairs) > 1 and np.abs(means[0] - means[1]).max() > 0:
            figures[title]["over queries and seeds"] = [round(end, 2) for end in _interval(one, other)]
    return figures


def _interval(one: dict[str, Any], other: dict[str, Any]) -> tuple[float, float]:
    low, high = seed_interval(*({name: each / 100 for name, each in side.items()} for side in (one, other)))
    return 100 * low, 100 * high


def _in_order() -> Iterable[tuple[Variation, int, int]]:
    """Every training once, the most wanted first."""
    wanted: dict[tuple[Variation, int, int], None] = {}
    for names, all_steps, seeds in ORDER:
        for steps in all_steps:
            for seed in seeds:
                wanted |= {(Variation.of(name, steps), steps, seed): None for name in names}
    return wanted


def main() -> None:
    """Train what is not trained yet, then write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/budgets"), help="where everything is kept")
    parser.add_argument("--only-figures", action="store_true", help="train nothing, write what is there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    if not arguments.only_figures:
        budgets = Budgets(arguments.folder)
        for variation, steps, seed in _in_order():
            budgets.train(variation, steps, seed)
    run = arguments.folder / "run"
    rows = {task["name"]: task["rows"] for task in read_json(run / "run.json")["tasks"]}
    write_json(RESULT, {"machine": about_machine(), "rows": rows, "batch": 128, "steps": gains(run)})


if __name__ == "__main__":
    main()
