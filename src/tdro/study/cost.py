"""What a study will cost, before anything runs: how many trainings, how many steps, and how long they take.

Seconds are known from what was done before on this recipe: pieces of earlier studies, or the recipe's own run. Without
either, only the steps are said.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from tdro.evaluation.compare.readable_numbers import plural
from tdro.files import read_json
from tdro.recipe.schema import Recipe
from tdro.study.work import Work, rough_scores
from tdro.terminal_table import terminal_table

TITLES = {"reference": "references", "weights": "learned weights", "score": "trainings, each scored"}


@dataclass(frozen=True)
class Cost:
    """Pieces of one kind.

    Attributes:
        kind: of the pieces.
        pieces: how many there are; of trainings whose weights are not learned yet, at most so many.
        done: how many of them are there already.
        steps: of those that are left.
        seconds: that these take on one worker; None if no such piece was timed yet.
    """

    kind: str
    pieces: int
    done: int
    steps: int
    seconds: float | None


def costs_of(work: Work) -> list[Cost]:
    """The cost of each kind of pieces, with what is known so far. Nothing is made."""
    costs = []
    settled = True  # whether the pieces of the next round are known
    changes_data = any(setup.task_changes for setup in work.setups.values())
    for kind in TITLES:
        if kind == "score" and not work.seeds:
            continue
        if not settled or changes_data:
            rough = _rough(work, kind)
            costs.append(Cost(kind, len(rough), 0, sum(rough), _seconds(work, kind, rough)))
            continue
        known = work.pieces(kind)
        left = work.place.left(known)
        steps = [piece.steps for piece in left]
        costs.append(Cost(kind, len(known), len(known) - len(left), sum(steps), _seconds(work, kind, steps)))
        settled = kind == "reference" or not left
    return costs


def cost_page(costs: Iterable[Cost], workers: int) -> str:
    """The costs as a table and a sentence.

    Args:
        costs: from :func:`costs_of`.
        workers: how many share the work.
    """
    costs = list(costs)
    rows = [
        [
            *(TITLES[one.kind], f"{one.pieces:,}", f"{one.done:,}", f"{one.steps:,}"),
            "unknown" if one.seconds is None else f"{one.seconds / 60:.1f}",
        ]
        for one in costs
        if one.pieces
    ]
    table = terminal_table(["", "in all", "done", "steps left", "minutes of one worker"], rows)
    known = [one.seconds for one in costs if one.steps]
    if not any(one.steps for one in costs):
        return f"{table}\n\nAll of it is done."
    if any(seconds is None for seconds in known):
        return (
            f"{table}\n\nNo time is known yet: nothing of this recipe was timed. The bar says it after the first piece."
        )
    total = sum(seconds for seconds in known if seconds is not None) / 60 / workers
    return f"{table}\n\nAbout {max(total, 0.1):.1f} minutes with {plural(workers, 'worker')}."


def _rough(work: Work, kind: str) -> list[int]:
    """Steps of each piece, as far as the settings say which are the same."""
    setups = [setup for setup in work.setups.values() if kind == "score" or setup.learns]
    if kind == "score":
        return [steps for _, steps in rough_scores(setups, work.seeds)]
    found: dict[Any, int] = {}
    for setup in setups:
        include = {"base", "reference", "seed", "data"} | ({"weights", "gain"} if kind == "weights" else set())
        key = (setup.learning.model_dump_json(include=include), str(setup.task_changes), str(setup.reference_base))
        stages = 2 if kind == "reference" and setup.learning.weights.stage1_rows == "cross_fit" else 1
        settings = setup.learning.reference if kind == "reference" else setup.learning.weights
        found |= {(key, number): settings.steps for number in range(stages)}
    return list(found.values())


def _seconds(work: Work, kind: str, steps: list[int]) -> float | None:
    """How long pieces of so many steps take, by the time a step took before and, of trainings, the scoring."""
    if not steps:
        return 0.0
    notes = [read_json(path) for path in work.place.root.glob("pieces/*/done.json")]
    timed = [(note["steps"], note["seconds"]) for note in notes if note["kind"] == kind and note["steps"]]
    timed = timed or _of_the_run(work.recipe, kind)
    if not timed:
        return None
    rate = median(seconds / max(count, 1) for count, seconds in timed)
    return rate * sum(steps)


def _of_the_run(recipe: Recipe, kind: str) -> list[tuple[int, float]]:
    """Steps and seconds of the recipe's own run, where there is one."""
    path = recipe.folder / "run.json"
    if not path.exists():
        return []
    prefixes = {"reference": "reference", "weights": "weights", "score": "models/"}
    found = []
    for stage in read_json(path).get("stages", []):
        steps = stage.get("inputs", {}).get("settings", {}).get("steps")
        if stage.get("name", "").startswith(prefixes[kind]) and steps:
            found.append((steps, stage["seconds"]))
    return found
