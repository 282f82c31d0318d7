"""One result at a size that counts: SmolLM2 as proxy and as retriever on the sample mixture, three seeds a mixture."""

from __future__ import annotations

import shutil
import tarfile
from functools import partial
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
OTHER = "other-weights.json"  # weights of another proxy, say a static model's; the same retriever is tuned by them too
_BY_OTHER = "by other weights: "
_SHARE = 0.6  # of the part's time that the trainings may take; the rest is for scoring, evaluation, loading and saving
_TRIED = 8  # steps by which the speed is measured
_PREPARED = ("negatives", "index", "tokens", "data.json")  # the same in all runs, so they are made once


def find_result(part: Part, rows: Rows, folder: Path) -> None:
    """Measure how long a step takes, choose the steps by the time that is left, and run the recipe stage by stage.

    The run's folder is kept: the same call continues there what its time did not suffice for. What is in
    ``folder/prepared`` (hard negatives, tokens) is not made again; with ``folder/other-weights.json`` the retriever is
    tuned by the last mixture of these weights too.
    """
    chosen, other = folder / "steps", folder / OTHER
    if not chosen.exists():
        found = part.find("speed", lambda: _speed(part, rows, folder))
        if "steps" not in found:
            return
        chosen.write_text(str(found["steps"]), encoding="ascii")
    steps = int(chosen.read_text(encoding="ascii"))
    made = prepared(recipe(part, rows, folder / "run", steps), folder / "prepared")
    part.keep("recipe", made.model_dump(mode="json", exclude={"folder"}))
    runs, work = {"": made}, [("", ["reference", "learn", "finetune"])]
    if other.exists():
        runs[_BY_OTHER] = prepared(_by_other(made, folder / "run-other", other), folder / "prepared")
        work += [(_BY_OTHER, ["learn", "finetune"])]
    for title, stages in [*work, *((title, ["evaluate"]) for title in runs)]:
        found = part.find(title + " and ".join(stages), partial(_stages, runs[title], stages))
        if "error" in found:
            return
    part.find("comparison", lambda: read_json(made.folder / "comparison" / "main.json"))
    part.find("weights", lambda: read_json(made.folder / "weights" / "weights.json"))
    keep_small_files([run.folder for run in runs.values()], part.path.parent / "result.tar.gz")


def recipe(part: Part, rows: Rows, folder: Path, steps: int) -> Recipe:
    """The recipe. Settings are those of the quickstart's second act, with a larger batch."""
    sizes = rows.sizes
    training = {
        **{"steps": steps, "batch": sizes.batch, "negatives": 1, "temperature": 0.05, "learning_rate": 2e-4},
        **{"weight_decay": 0.0, "chunk_rows": sizes.chunk_rows[0], "gradient_caching": True},
    }
    group = {"name": "main", "mixtures": MIXTURES, "seeds": sizes.seeds}
    stage_one = {"negatives": min(4, 2 * sizes.negatives), "eta_times_steps": 20}
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
            "weights": {**training, **stage_one},
            "finetune": [{**training, **group}],
        }
    )


def prepared(made: Recipe, place: Path) -> Recipe:
    """The recipe, once what is prepared lies in its folder."""
    if not made.folder.exists():
        RunFolder(made).create()
        copy_prepared(place, made.folder)
    return made


def copy_prepared(place: Path, into: Path) -> None:
    """Copy what is the same in all runs, as far as it is there and not copied yet."""
    into.mkdir(parents=True, exist_ok=True)
    for name in _PREPARED:
        source, target = place / name, into / name
        if source.exists() and not target.exists():
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)


def keep_small_files(runs: list[Path], archive: Path) -> None:
    """Pack weights, logs, scores of each query and comparisons, from which everything can be computed again."""
    with tarfile.open(archive, "w:gz") as file:
        for run in runs:
            for name in ("recipe.yaml", "run.json", "run.log", "weights", "evaluation", "comparison"):
                for path in sorted(run.glob(f"{name}/**/*.json*") if "." not in name else run.glob(name)):
                    file.add(path, arcname=str(path.relative_to(run.parent)))


def _by_other(made: Recipe, folder: Path, weights: Path) -> Recipe:
    content = made.model_dump(mode="json") | {"folder": str(folder)}
    content["weights"]["load"] = str(weights)
    content["finetune"][0] |= {"mixtures": MIXTURES[-1:], "untrained": False}
    content["evaluate"]["bm25"] = False  # the first comparison has both
    return Recipe.model_validate(content)


def _stages(made: Recipe, stages: list[str]) -> dict[str, Any]:
    run_recipe(made, stages)
    return {stage["name"]: stage["seconds"] for stage in read_json(made.folder / "run.json")["stages"]}


def _speed(part: Part, rows: Rows, folder: Path) -> dict[str, Any]:
    """How long a step of a fine-tuning takes, loading included, and how many steps each training gets."""
    least, most = rows.sizes.result_steps
    made = recipe(part, rows, folder / "speed", _TRIED)
    weights, mixture = folder / "uniform.json", read_json(rows.sizes.mixture / "mixture.json")
    TaskWeights.uniform([task["name"] for task in mixture["tasks"]]).save(weights)
    content = made.model_dump(mode="json")
    content["weights"]["load"] = str(weights)
    content["finetune"][0].update({"mixtures": ["uniform"], "seeds": [1, 2]})
    made = prepared(Recipe.model_validate(content), folder / "prepared")
    run_recipe(made, ["learn", "finetune"])
    copy_prepared(made.folder, folder / "prepared")
    # Of the second seed: the first one's training warms up.
    seconds = read_json(made.folder / "models" / "main" / "uniform-seed2" / "training.json")["seconds"] / _TRIED
    # Stage 1 reads twice as many texts a row, each in one more forward pass, and they are scored before.
    trainings = 1 + 3 + (len(MIXTURES) + (folder / OTHER).exists()) * len(rows.sizes.seeds)
    steps = int(_SHARE * part.seconds_left / trainings / seconds)
    return {"seconds_a_step": seconds, "steps": min(most, max(least, steps))}
