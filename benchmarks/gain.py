"""CPU seconds of the two ways to learn weights, on the sample mixture with the quickstart's settings, on one core.

    python benchmarks/gain.py

tDRO trains two references, scores the rows of stage 1 and trains the proxy; transfer gain trains one proxy with its
trials. Mining, tokenizing and loading data come before both and do not count. CPU seconds of the process, so other
programs on the machine do not show. The learned weights stand beside the figures.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from figures import about_machine

from tdro.console import quiet_libraries
from tdro.files import write_json
from tdro.machine import this_machine
from tdro.recipe.builtin import find
from tdro.recipe.schema import load_recipe
from tdro.run.pipeline import Pipeline
from tdro.weights import TaskWeights

RESULT = Path(__file__).parent / "results" / "gain.json"
WANTED = 1.0  # gain may cost as much as tDRO


def measured(folder: Path) -> dict[str, object]:
    """CPU seconds of each stage, and the weights."""
    recipe = load_recipe(find("quickstart"))
    group = recipe.finetune[0].model_copy(update={"mixtures": ("uniform", "top-70", "gain")})
    recipe = recipe.model_copy(update={"folder": folder, "device": "cpu", "finetune": (group,)})
    run = Pipeline(recipe, force=False, machine=this_machine("cpu", recipe.precision))
    run.begin(["reference", "learn"])
    run.workspace.tokens(run.workspace.models.base(recipe.base))
    seconds = {}
    for stage in [*run.stages.references(), *run.stages.learned()]:
        started = time.process_time()
        if not run.folder.do(stage):
            raise SystemExit(f"{folder}: {stage.name} is there already; give an empty folder")
        seconds[stage.name] = round(time.process_time() - started, 2)
        print(f"{stage.name}: {seconds[stage.name]} s", flush=True)
    gain = seconds.pop("weights/gain")
    weights = {name: TaskWeights.load(folder / name / "weights.json").as_dict() for name in run.stages.learned_names()}
    return {
        "tdro_stages": seconds,
        "tdro": round(sum(seconds.values()), 2),
        "gain": gain,
        "gain / tdro": round(gain / sum(seconds.values()), 3),
        "at most": WANTED,
        "weights": weights,
    }


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="run folder that is kept (default: a temporary one)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    with tempfile.TemporaryDirectory() as place:
        figures = measured(arguments.folder or Path(place, "run"))
    print(f"tDRO {figures['tdro']} s, gain {figures['gain']} s: {figures['gain / tdro']} (wanted: at most {WANTED})")
    write_json(RESULT, {"machine": about_machine(), **figures})


if __name__ == "__main__":
    main()
