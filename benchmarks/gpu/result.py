"""One result at a size that counts: SmolLM2 as proxy and as retriever on the sample mixture, three seeds a mixture."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from part import Part
from rows import Rows

from tdro.files import read_json
from tdro.recipe.schema import Recipe
from tdro.run.folder import RunFolder
from tdro.run.pipeline import run_recipe
from tdro.weights import TaskWeights

MIXTURES = ["uniform", "top-70", "top-70^0.5"]
_SHARE = 0.5  # of the part's time that the trainings may take; the rest is for scoring, evaluation and loading
_TRIED = 12  # steps by which the speed is measured


def find_result(part: Part, rows: Rows, folder: Path) -> None:
    """Measure how long a step takes, choose the steps by the time that is left, and run the recipe stage by stage.

    The run's folder is kept: the same call continues there what its time did not suffice for.
    """
    chosen = folder / "steps"
    if not chosen.exists():
        found = part.find("speed", lambda: _speed(part, rows, folder))
        if "steps" not in found:
            return
        chosen.write_text(str(found["steps"]), encoding="ascii")
    made = recipe(part, rows, folder / "run", int(chosen.read_text(encoding="ascii")))
    if not made.folder.exists():
        RunFolder(made).create()
        for shared in ("negatives", "index", "tokens"):  # the same in both runs, so they are made once
            shutil.copytree(folder / "speed" / shared, made.folder / shared)
    part.keep("recipe", made.model_dump(mode="json", exclude={"folder"}))
    for stage in ("reference", "learn", "finetune", "evaluate"):
        found = part.find(stage, lambda stage=stage: _stage(made, stage))
        if "error" in found:
            return
    part.find("comparison", lambda: read_json(made.folder / "comparison" / "main.json"))
    part.find("weights", lambda: read_json(made.folder / "weights" / "weights.json"))


def recipe(part: Part, rows: Rows, folder: Path, steps: int) -> Recipe:
    """The recipe. Settings are those of the quickstart's second act, with a larger batch."""
    sizes = rows.sizes
    training = {
        **{"steps": steps, "batch": sizes.batch, "negatives": 1, "temperature": 0.05, "learning_rate": 2e-4},
        **{"weight_decay": 0.0, "chunk_rows": sizes.chunk_rows[0]},
    }
    group = {"name": "main", "mixtures": MIXTURES, "seeds": sizes.seeds}
    return Recipe.model_validate(
        {
            **{"name": "gpu", "folder": str(folder), "seed": 13, "device": part.device},
            "data": {
                "mixture": str(sizes.mixture),
                **{"query_tokens": sizes.tokens[0], "passage_tokens": sizes.tokens[1]},
            },
            "negatives": {"per_row": 8},
            "base": sizes.base,
            "reference": training,
            "weights": {**training, "negatives": min(4, 2 * sizes.negatives), "eta_times_steps": 20},
            "finetune": [{**training, **group}],
        }
    )


def _stage(made: Recipe, stage: str) -> dict[str, Any]:
    run_recipe(made, [stage])
    return {}


def _speed(part: Part, rows: Rows, folder: Path) -> dict[str, Any]:
    """How long a step of a fine-tuning takes, loading included, and how many steps each training gets."""
    least, most = rows.sizes.result_steps
    made = recipe(part, rows, folder / "speed", _TRIED)
    uniform = TaskWeights.uniform([task.name for task in rows.mixture.tasks])
    uniform.save(folder / "uniform.json")
    content = made.model_dump(mode="json")
    content["weights"]["load"] = str(folder / "uniform.json")
    content["finetune"][0].update({"mixtures": ["uniform"], "seeds": [1, 2]})
    made = Recipe.model_validate(content)
    run_recipe(made, ["learn", "finetune"])
    # Of the second seed: the first one's training warms up.
    seconds = read_json(made.folder / "models" / "main" / "uniform-seed2" / "training.json")["seconds"] / _TRIED
    trainings = 1 + 2 + len(MIXTURES) * len(rows.sizes.seeds)  # stage 1 reads more passages a row, and scores them
    steps = int(_SHARE * part.seconds_left / trainings / seconds)
    return {"seconds_a_step": seconds, "steps": min(most, max(least, steps))}
