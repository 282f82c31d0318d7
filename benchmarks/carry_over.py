"""Do weights carry over from a static or small proxy to the model that is fine-tuned?

    python benchmarks/carry_over.py --folder runs/carry-over            trains what is not there yet, in order
    python benchmarks/carry_over.py --folder runs/carry-over --summary  only results/carry-over.json, of what is there

The sample mixture with the quickstart's data settings. The first layers of SmolLM2, and MiniLM, which somebody has
tuned already, are fine-tuned by uniform weights and by weights of several proxies, with the same seeds. ``QUEUE`` goes
seed by seed, so whatever a stop leaves is pairs. All sizes are below. They are small, so that one core does it; none
was chosen by a score.
"""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import about_machine
from numpy.typing import NDArray
from scipy.stats import kendalltau
from small_tests import PASSAGES, QUERIES, cut_test

from tdro.console import quiet_libraries
from tdro.data.task import TestSet
from tdro.evaluation.intervals import Values, query_interval, seed_interval
from tdro.evaluation.scoring.evaluate import evaluate_all
from tdro.files import read_json, write_json
from tdro.gain.learned_weights import LearnedWeights
from tdro.machine import Machine
from tdro.recipe.builtin import find
from tdro.recipe.finetune_section import Finetune
from tdro.recipe.schema import Recipe, load_recipe
from tdro.recipe.training_sections import Base, Gain, LearnWeights, Training
from tdro.run.stages import Stages
from tdro.run.training_data import RunData
from tdro.run.workspace import Workspace
from tdro.weights import TaskWeights

RESULT = Path(__file__).parent / "results" / "carry-over.json"
NEW = {"faq_chatterbot", "geo_altname", "ui_ko_en", "ui_title2desc_es"}  # test sets of tasks that nothing trains on
ALIKE = {"temperature": 0.05, "weight_decay": 0.0, "chunk_rows": 8}  # chunk_rows: small chunks have less padding
DECODER = {**ALIKE, "steps": 32, "batch": 16, "learning_rate": 2e-4}
ENCODER = {**ALIKE, "steps": 32, "batch": 16, "learning_rate": 5e-5}
# A few hundred rows of each task are read, so no reference knows its rows by heart, and one reference is enough.
ONE_REFERENCE = {"eta_times_steps": 20, "stage1_rows": "all", "negatives": 2}
SHORT_GAIN = {"rounds": 2, "trial_steps": 2, "held_out_rows": 4, "steps": 16}


@dataclass(frozen=True)
class Proxy:
    """A model that learns weights: by stage 1 with its reference, by transfer gain, or both."""

    base: dict[str, Any]
    reference: dict[str, Any]
    weights: dict[str, Any] | None = None
    gain: dict[str, Any] | None = None


@dataclass(frozen=True)
class Model:
    """A model that is fine-tuned, and how."""

    base: dict[str, Any]
    training: dict[str, Any]


SMOLLM2 = {"kind": "decoder", "source": "smollm2", "layers": 2}
MINILM = {"kind": "encoder", "source": "minilm"}
STATIC = {**ALIKE, "chunk_rows": 128, "steps": 400, "batch": 128, "learning_rate": 0.01}
PROXIES = {
    "static": Proxy(  # act 1 of the quickstart
        {"kind": "static", "source": "minilm", "dimension": 256},
        STATIC,
        weights=STATIC | {"negatives": 4, "eta_times_steps": 20, "stage1_rows": "cross_fit"},
        gain={},
    ),
    "smollm2": Proxy(SMOLLM2, DECODER, weights=DECODER | ONE_REFERENCE, gain=SHORT_GAIN),
    "minilm": Proxy(MINILM, ENCODER, weights=ENCODER | ONE_REFERENCE, gain=SHORT_GAIN),
}
MODELS = {
    "smollm2": Model(SMOLLM2, DECODER),
    "minilm": Model(MINILM, ENCODER),
    "smollm2-6": Model(SMOLLM2 | {"layers": 6}, DECODER),
}
QUEUE = [  # the most important first; each is trained with all seeds before the next
    ("smollm2", ("uniform", "static top-70^0.5")),
    ("smollm2", ("smollm2 gain",)),
    ("minilm", ("uniform", "static top-70^0.5")),
    ("minilm", ("minilm gain",)),
    ("smollm2", ("static top-70", "smollm2 top-70")),
    ("minilm", ("static top-70", "minilm top-70")),
    ("smollm2-6", ("uniform", "static top-70^0.5", "smollm2 top-70", "smollm2 gain")),
]


class Experiment:
    """The trainings in one folder; what is there is not made again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.machine = folder, Machine(device="cpu")
        quickstart = load_recipe(find("quickstart"))
        self.quickstart = quickstart.model_copy(update={"folder": folder, "device": "cpu", "precision": "fp32"})

    def learn(self, name: str, gain: bool) -> LearnedWeights:
        """The weights of a proxy by transfer gain, or by stage 1; ``static`` is act 1 of the quickstart."""
        path, proxy = self.folder / "proxies" / name, PROXIES[name]
        recipe = self._recipe(replace(proxy, weights=None) if gain else replace(proxy, gain=None))
        stages = Stages(recipe, self._workspace(recipe), path)
        started = time.process_time()
        (learned,) = stages.learned()
        if not (path / learned.name / "weights.json").exists():
            for stage in stages.references():
                if not (path / stage.name / "modules.json").exists():
                    stage.make()
            learned.make()
            write_json(path / learned.name / "cost.json", {"cpu seconds": round(time.process_time() - started)})
            print(
                name, learned.name, f"{time.process_time() - started:.0f} s of CPU, {time.strftime('%X')}", flush=True
            )
        return LearnedWeights.load(path, recipe)

    def train(self, name: str, mixture: str, seed: int) -> None:
        """Fine-tune a model by a mixture, score it, and keep the scores only."""
        done = self.folder / "scores" / name / mixture.replace(" ", "-") / f"seed{seed}.json"
        if done.exists():
            return
        model = MODELS[name]
        proxy, _, transfer = mixture.rpartition(" ")
        learned = self.learn(proxy or "static", gain=transfer == "gain")
        recipe = self._recipe(Proxy(model.base, model.training))
        group = Finetune(name=name, mixtures=[transfer], seeds=[seed], **model.training)
        started = time.process_time()
        (stage,) = Stages(recipe, self._workspace(recipe), self.folder / "now").finetune(group, learned)
        stage.make()
        trained = time.process_time()
        path = self.folder / "now" / stage.name
        write_json(done, self._scores(path) | {"training": round(trained - started)})
        print(name, mixture, seed, f"training {trained - started:.0f} s,", end=" ")
        print(f"scoring {time.process_time() - trained:.0f} s of CPU, {time.strftime('%X')}", flush=True)
        shutil.rmtree(self.folder / "now", ignore_errors=True)

    def _scores(self, path: Path) -> dict[str, Any]:
        results = evaluate_all(
            path, self.tests, self.folder / "now" / "evaluation", model_name="model", bf16=False, device="cpu",
            tokens_folder=self.folder / "tokens", progress=False,
        )  # fmt: skip
        return {"tests": {each["test"]: each["ndcg@10"] for each in results}}

    @cached_property
    def tests(self) -> list[TestSet]:
        """The sample mixture's test sets, cut to fewer queries and passages."""
        return [cut_test(test, self.folder / "tests" / test.name) for test in self._data.tests]

    @cached_property
    def _data(self) -> RunData:
        return RunData(self.quickstart, self.folder, self.machine)

    def _workspace(self, recipe: Recipe) -> Workspace:
        """What the trainings of a recipe share. The data are read once for all recipes."""
        workspace = Workspace(recipe, self.folder, self.machine)
        workspace.data = workspace.models.data = self._data
        return workspace

    def _recipe(self, proxy: Proxy) -> Recipe:
        asked = [*(["top-70"] if proxy.weights else []), *(["gain"] if proxy.gain is not None else [])] or ["uniform"]
        return self.quickstart.model_copy(
            update={
                "base": Base(**proxy.base),
                "reference": Training(**proxy.reference),
                "weights": LearnWeights(**(proxy.weights or {})),
                "gain": Gain(**(proxy.gain or {})),
                "finetune": (Finetune(name="asked", mixtures=asked),),
            }
        )


def summary(folder: Path) -> dict[str, Any]:
    """What the scores and weights in the folder show."""
    proxies = folder / "proxies"
    learned: dict[str, TaskWeights] = {}
    for name in PROXIES:
        for what, file in (("tdro", "weights/weights.json"), ("gain", "weights/gain/weights.json")):
            if (proxies / name / file).exists():
                learned[f"{name} {what}"] = TaskWeights.load(proxies / name / file)
    return {
        "machine": about_machine(),
        "test sets": {"queries": QUERIES, "passages": PASSAGES},
        "models": {name: _compared(folder / "scores" / name, model) for name, model in MODELS.items()},
        "weights": {name: dict(weights) for name, weights in learned.items()},
        "cpu seconds of the weights": {
            str(path.parent.relative_to(proxies)): read_json(path)["cpu seconds"]
            for path in sorted(proxies.glob("*/**/cost.json"))
        },
        "agreement": {
            f"{one} / {other}": _agreement(learned[one], learned[other]) for one, other in combinations(learned, 2)
        },
    }


def _agreement(one: TaskWeights, other: TaskWeights) -> dict[str, float]:
    """Kendall's rank correlation of two weights, and the share of the top-70 tasks of one that the other selects."""
    chosen = [{name for name, share in weights.top(70).items() if share} for weights in (one, other)]
    tau = kendalltau([one[name] for name in one], [other[name] for name in one]).statistic
    return {"kendall": round(float(tau), 3), "overlap of top-70": round(len(chosen[0] & chosen[1]) / len(chosen[0]), 3)}


def _compared(scores: Path, model: Model) -> dict[str, Any]:
    """Of each mixture the mean nDCG@10 over test sets and seeds, times 100, and the difference to uniform's."""
    mixtures = dict.fromkeys(mixture for name, some in QUEUE if name == scores.name for mixture in some)
    found = {
        mixture: {int(path.stem[4:]): read_json(path) for path in sorted(scores.glob(f"{mixture.replace(' ', '-')}/*"))}
        for mixture in mixtures
    }
    rows: dict[str, Any] = {"training": model.training, "base": model.base}
    for mixture, seeds in found.items():
        if not seeds:
            continue
        rows[mixture] = {"seeds": sorted(seeds), **_means(list(seeds.values()))}
        pairs = sorted(seeds.keys() & found["uniform"].keys())
        if mixture != "uniform" and pairs:
            rows[mixture]["minus uniform"] = _difference(
                _stacked([seeds[seed] for seed in pairs]), _stacked([found["uniform"][seed] for seed in pairs])
            )
    return rows


def _means(results: list[dict[str, Any]]) -> dict[str, Any]:
    values = {test: 100 * each.mean() for test, each in _stacked(results).items()}
    new = [value for test, value in values.items() if test in NEW]
    trained = [value for test, value in values.items() if test not in NEW]
    every = (("all", [*values.values()]), ("trained tasks", trained), ("new tasks", new))
    means = {name: round(float(np.mean(some)), 2) for name, some in every}
    return {**means, "cpu seconds of a training": [each["training"] for each in results]}


def _stacked(results: list[dict[str, Any]]) -> dict[str, NDArray[np.float64]]:
    """For each test set the values, (seeds, queries)."""
    return {test: np.array([each["tests"][test] for each in results]) for test in results[0]["tests"]}


def _difference(model: Values, uniform: Values) -> dict[str, Any]:
    """The difference in points: its mean, the mean of each seed, and intervals over queries, and over seeds too."""
    parts = {test: 100 * (model[test] - uniform[test]) for test in model}
    seeds = np.mean([part.mean(axis=1) for part in parts.values()], axis=0)
    over_queries = query_interval({test: part.mean(axis=0) for test, part in parts.items()})
    figures: dict[str, Any] = {"mean": round(float(seeds.mean()), 2), "of each seed": seeds.round(2).tolist()}
    figures["interval over queries"] = [round(bound, 2) for bound in over_queries]
    if len(seeds) > 1:
        both = seed_interval({test: 100 * each for test, each in model.items()},
                             {test: 100 * each for test, each in uniform.items()}, paired=True)  # fmt: skip
        figures["interval over queries and seeds"] = [round(bound, 2) for bound in both]
    figures["of each test set"] = {test: round(float(part.mean()), 2) for test, part in parts.items()}
    return figures


def main() -> None:
    """Train in the order of importance; then the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/carry-over"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--summary", action="store_true", help="train nothing; write the figures of what is there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    experiment = Experiment(arguments.folder)
    for name, mixtures in [] if arguments.summary else QUEUE:
        for seed in range(1, arguments.seeds + 1):
            for mixture in mixtures:
                experiment.train(name, mixture, seed)
    write_json(RESULT, summary(arguments.folder))


if __name__ == "__main__":
    main()
