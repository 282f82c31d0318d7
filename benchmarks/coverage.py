"""How often the 95 % intervals of a comparison hold: 2,000 simulated comparisons of each kind.

    python benchmarks/coverage.py            # 5 minutes on one core; results/coverage.json
    python benchmarks/coverage.py --comparisons 200

Two models answer queries that are drawn anew each time; the difference that all queries of that kind would have is
known. ``normal``: differences are normal. ``nDCG``: the right passage of a query has a rank with each model, and its
nDCG@10 is 1 / log2(1 + rank) or 0, so that half of the differences are 0 and the others take few values. ``better``:
likewise, one model ranks it a third higher, so that the differences are skewed. ``close``: two models that hardly
differ, two thirds of the differences are 0.

``held`` is the share of intervals with the true difference in them, among those that were given; ``too_few`` the share
of comparisons that got none. ``luck`` is the standard deviation over seeds of what a training has of it in all of its
queries, in the unit of the world; half of its variance is shared by trainings of one seed (``pairs``), or the two sides
have other seeds (``apart``).
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tdro.evaluation.intervals import query_interval, seed_interval
from tdro.files import write_json

OUT = Path(__file__).parent / "results" / "coverage.json"
SETS = {"1 x 5": [5], "1 x 8": [8], "1 x 12": [12], "1 x 20": [20], "1 x 50": [50], "1 x 200": [200]} | {
    "20 x 5": [5] * 20,
    "5, 50, 500": [5, 50, 500],
    "3, 50, 500": [3, 50, 500],
    "4 x 50": [50] * 4,
    "15 x 150": [150] * 15,
}
SEEDS = (2, 3, 8)

Array = NDArray[np.float64]
Values = dict[str, Array]


class World(NamedTuple):
    """How queries and trainings vary. Unit: the logarithm of a rank for nDCG, the measure itself for ``normal``."""

    level: float  # of the right passage's rank
    spread: float  # of that over queries
    mixture: float  # what a mixture does to single queries
    noise: float  # what a seed does to single queries
    better: float  # how much higher one model ranks
    score: Callable[[Array], Array]
    luck: tuple[float, ...]  # of a training: none, about the error over 4 x 50 queries, and several times that


def ndcg(log_rank: Array) -> Array:
    """nDCG@10 where one passage is right, by the logarithm of its rank (from 0)."""
    rank = np.floor(np.exp(log_rank))
    return np.where(rank < 10, 1 / np.log2(2 + rank), 0.0)


WORLDS = {
    "normal": World(0.5, 0.3, 0.11, 0.1, 0.0, lambda values: values, (0.0, 0.01, 0.04)),
    "nDCG": World(1.0, 1.5, 0.4, 0.4, 0.0, ndcg, (0.0, 0.05, 0.2)),
    "close": World(0.7, 1.5, 0.15, 0.2, 0.0, ndcg, (0.0, 0.03, 0.1)),
    "better": World(1.0, 1.5, 0.4, 0.4, 0.4, ndcg, ()),
}


def comparison(
    random: np.random.Generator, world: World, sets: list[int], seeds: int, luck: float = 0.0, shared: float = 0.0
) -> tuple[Values, Values]:
    """Two models' values, (seeds, queries) a test set; the luck moves all of a training's queries."""
    both = random.normal(0, luck, (seeds, 1)) * np.sqrt(shared)
    own = random.normal(0, luck, (2, seeds, 1)) * np.sqrt(1 - shared)
    model: Values = {}
    baseline: Values = {}
    for number, queries in enumerate(sets):
        level = random.normal(world.level, world.spread, queries)
        of_mixture = random.normal(0, world.mixture, (2, 1, queries))
        noise = random.normal(0, world.noise, (2, seeds, queries))
        both_sides = world.score(level + both + own + of_mixture + noise - np.array([world.better, 0])[:, None, None])
        model[str(number)], baseline[str(number)] = both_sides
    return model, baseline


def truth(world: World) -> float:
    """The mean difference over all queries, without luck."""
    if not world.better:
        return 0.0
    model, baseline = comparison(np.random.default_rng(0), world, [2_000_000], 1)
    return float((model["0"] - baseline["0"]).mean())


def held(true: float, intervals: list[tuple[float, float]]) -> dict[str, float]:
    """How many of the intervals that were given hold, and how many were not given."""
    given = [(low, high) for low, high in intervals if np.isfinite(low)]
    inside = [low <= true <= high for low, high in given]
    return {
        "held": round(float(np.mean(inside)), 4) if given else float("nan"),
        "too_few": round(1 - len(given) / len(intervals), 4),
    }


def over_queries(comparisons: int, names: list[str]) -> list[dict[str, Any]]:
    """The interval over queries, each world and choice of test sets."""
    found = []
    for name, world in WORLDS.items():
        true = truth(world)
        for sets in names:
            random = np.random.default_rng(1)
            intervals = []
            for _ in range(comparisons):
                model, baseline = comparison(random, world, SETS[sets], 1)
                intervals.append(query_interval({test: model[test][0] - baseline[test][0] for test in model}))
            found.append({"world": name, "sets": sets, **held(true, intervals)})
            print(found[-1], flush=True)
    return found


def over_seeds(comparisons: int, names: list[str]) -> list[dict[str, Any]]:
    """The interval over queries and seeds, with and without an effect of the seeds, in pairs and apart."""
    found = []
    kinds = itertools.product(("normal", "nDCG", "close"), names, SEEDS, range(3), (True, False))
    for name, sets, seeds, size, pairs in kinds:
        world, random = WORLDS[name], np.random.default_rng(2)
        luck, shared = world.luck[size], 0.5 * pairs
        both = (comparison(random, world, SETS[sets], seeds, luck, shared) for _ in range(comparisons))
        intervals = [seed_interval(*sides, paired=pairs) for sides in both]
        about = {"world": name, "sets": sets, "seeds": seeds, "luck": luck, "kind": "pairs" if pairs else "apart"}
        found.append({**about, **held(0.0, intervals)})
        print(found[-1], flush=True)
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=2_000, help="of each kind (default: 2000)")
    options = parser.parse_args()
    results = {
        "comparisons": options.comparisons,
        "over_queries": over_queries(options.comparisons, list(SETS)),
        "over_queries_and_seeds": over_seeds(options.comparisons, ["1 x 20", "4 x 50"]),
    }
    write_json(OUT, results)
    print(OUT)


if __name__ == "__main__":
    main()
