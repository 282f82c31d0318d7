"""What other people's methods answer to a swarm of trainings with random mixtures.

The settings are those of the peers' own code: RegMix's notebook (https://github.com/sail-sg/regmix), with LightGBM
itself (``pip install lightgbm``, for this alone), and ``olmix fit`` (https://github.com/allenai/olmix) with the
settings of its example. olmix fits each law from 300 starts, more than an hour of one core for 16 tasks, so its
documented law and objective are computed here, from 10 starts. :meth:`Swarm.write_csv` writes the files for its own
program. See docs/decisions.md, olmix-law-computed-here.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.optimize import minimize

from tdro.weights import TaskWeights

Floats = NDArray[np.float64]
STRENGTHS = np.logspace(-1, np.log10(5), 15)  # of the Dirichlet distributions, as both peers have them
LEAST = 0.002  # olmix: a smaller share is none, and shares are multiples of it. A step is 0.0025 here
MOST = 15  # RegMix: at most so many times the share of the prior
TREES: dict[str, Any] = {"n_estimators": 1000, "learning_rate": 0.01, "random_state": 42}
LEAF = 20  # LightGBM: rows of a leaf, at least
SIMULATED, AVERAGED = 100_000, 128  # RegMix: the mean of the best 128 of 100,000 random mixtures
HUBER, KL = 0.02, 0.1  # olmix: of the law's fit, and of the distance from the prior


def random_mixtures(tasks: int, count: int, seed: int) -> Floats:
    """Random mixtures as RegMix and olmix draw them around the uniform prior, (count, tasks).

    Each is from a Dirichlet distribution of a strength between 0.1 and 5, so most mixtures are a few tasks.
    """
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        shares = rng.dirichlet(np.full(tasks, rng.choice(STRENGTHS) / tasks))
        shares = np.where(shares < LEAST, 0.0, shares)
        shares = np.round(shares / shares.sum() / LEAST) * LEAST
        if shares.max() < MOST / tasks:
            found.append(shares / shares.sum())
    return np.array(found)


@dataclass(frozen=True)
class Swarm:
    """Trainings with random mixtures, and how well each did.

    Attributes:
        names: of the tasks.
        shares: of the tasks in each training; (trainings, tasks).
        losses: on the held-out rows of each task after each training, in nats; (trainings, tasks).
    """

    names: tuple[str, ...]
    shares: Floats
    losses: Floats

    def part(self, first: int, count: int) -> Swarm:
        """So many of the trainings, from one on."""
        return Swarm(self.names, self.shares[first : first + count], self.losses[first : first + count])

    def answer(self, method: str) -> TaskWeights | None:
        """The mixture that a method chooses; None if it has no answer, or its package is not there."""
        if method == "regmix" and (len(self.losses) < 2 * LEAF or find_spec("lightgbm") is None):
            return None  # with fewer trainings no tree has a split
        found: TaskWeights = getattr(self, method)()
        return found

    def best(self) -> TaskWeights:
        """The mixture with the lowest mean loss."""
        return TaskWeights(self.names, self.shares[self.losses.mean(axis=1).argmin()])

    def regmix(self) -> TaskWeights:
        """RegMix's answer: the mean of the simulated mixtures for which LightGBM predicts the lowest mean loss.

        Its notebook stops early, by the error on 256 other trainings. There are none here, so all 1000 trees are kept.
        """
        from lightgbm import LGBMRegressor

        model = LGBMRegressor(**TREES, n_jobs=1, verbosity=-1).fit(self.shares, self.losses.mean(axis=1))
        simulated = np.random.default_rng(42).dirichlet(np.full(len(self.names), 1 / len(self.names)), SIMULATED)
        order = np.argsort(np.asarray(model.predict(simulated)), kind="stable")
        return TaskWeights(self.names, _whole(simulated[order[:AVERAGED]].mean(axis=0)))

    def olmix(self) -> TaskWeights:
        """olmix's answer: the lowest mean of the tasks' laws, ``exp(c) + exp(t . shares)``, plus 0.1 KL to uniform."""
        laws = np.array([_law(self.shares, self.losses[:, task], task) for task in range(len(self.names))])
        tasks = len(self.names)

        def objective(free: Floats) -> tuple[float, Floats]:
            shares = _softmax(free)
            parts, log = np.exp(laws @ shares), np.log(np.maximum(shares * tasks, 1e-300))
            slope = laws.T @ parts / tasks + KL * (log + 1)
            return float(parts.mean() + KL * shares @ log), shares * (slope - shares @ slope)

        found = minimize(objective, np.zeros(tasks), jac=True, method="L-BFGS-B")
        return TaskWeights(self.names, _whole(_softmax(found.x)))

    def write_csv(self, folder: Path) -> None:
        """Write what ``olmix-fit --config FOLDER/fit.yaml --output-dir FOLDER/fit`` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        metrics = [f"{name}_loss" for name in self.names]
        for file, columns, values in (("ratios", self.names, self.shares), ("metrics", metrics, self.losses)):
            with (folder / f"{file}.csv").open("w", newline="") as opened:
                writer = csv.writer(opened)
                writer.writerow(["run", "name", "index", *columns])
                writer.writerows([f"run{at:04}", f"swarm-{at:04}", at, *row] for at, row in enumerate(values.tolist()))
        sizes = {"relative_sizes": dict.fromkeys(self.names, 1 / len(self.names))}
        config = {
            "swarm": {"ratios": str(folder / "ratios.csv"), "metrics": str(folder / "metrics.csv")},
            "priors": sizes | {"token_counts": dict.fromkeys(self.names, 1_000_000)},
            "regression": {"type": "log_linear"},
            "proposer": {"type": "exact", "kl_reg": KL},
        }
        (folder / "fit.yaml").write_text(yaml.safe_dump(config))


def _law(shares: Floats, losses: Floats, own: int) -> Floats:
    """The slopes t of one task's law, (tasks,): the best fit in Huber's loss, from several starts."""
    rng, best = np.random.default_rng(42), (np.inf, np.zeros(0))

    def objective(law: Floats) -> tuple[float, Floats]:
        base, moved = np.exp(law[0]), np.exp(np.minimum(shares @ law[1:], 50.0))
        off = base + moved - losses
        inside = np.clip(off, -HUBER, HUBER)
        value = np.where(np.abs(off) < HUBER, off**2 / 2, HUBER * (np.abs(off) - HUBER / 2)).sum()
        return float(value), np.concatenate([[inside.sum() * base], shares.T @ (inside * moved)])

    for start in np.linspace(-2, 1.5, 10):
        slopes = rng.random(shares.shape[1]) * 0.1
        slopes[own] = -rng.random()
        found = minimize(objective, np.concatenate([[start], slopes]), jac=True, method="L-BFGS-B")
        if found.fun < best[0]:
            best = (float(found.fun), found.x[1:])
    return best[1]


def _softmax(free: Floats) -> Floats:
    powers: Floats = np.exp(free - free.max())
    return powers / powers.sum()


def _whole(shares: Floats) -> Floats:
    return shares / shares.sum()
