"""Runs built-in studies on the quickstart's recipe, and keeps their answers for docs/studies.md.

    python benchmarks/studies.py --workers 16                          # all of them, static models
    python benchmarks/studies.py selection --workers 2                 # one
    python benchmarks/studies.py benchmarks/own_weights.yaml selection --recipe benchmarks/decoder.yaml --group decoder
    python benchmarks/studies_docs.py                                  # then: the figures, and the results in the docs

Each answer goes to ``results/studies/NAME.json`` (``NAME-GROUP.json`` with ``--group``). The runs are in
``runs/quickstart-studies``, those of another recipe in a folder of its name; the same command goes on where it was
stopped. ``core seconds`` are those of one core (CPU time, whatever else the machine did) for all pieces of the study,
also those that it shares with another one: what the study alone would take.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from figures import about_machine

from tdro.commands.arguments import whole_number
from tdro.errors import UserError
from tdro.files import read_json, write_json
from tdro.machine import this_machine
from tdro.recipe.builtin import find
from tdro.recipe.schema import Recipe, load_recipe
from tdro.study.answer import Answer
from tdro.study.engine import Question, run_study
from tdro.study.schema import built_in, find_study, load_study
from tdro.study.work import ROUNDS
from tdro.study.workers import InProcesses

RESULTS = Path(__file__).parent / "results" / "studies"
_PER_TEST = ("difference", "low", "high", "p_holm")


def run(name: str, recipe: Recipe, workers: int, seeds: int | None, group: str | None) -> None:
    """Run a study, or what is left of it, and keep its answer."""
    path = find_study(name)
    title = f"{path.stem}-{group}" if group else path.stem
    question = Question(title, load_study(path), recipe, path.read_text("utf-8"), seeds, group)
    started = time.monotonic()
    with InProcesses(workers) as processes:
        answer = run_study(question, processes)
    print(f"\n{'=' * 100}\n{answer}\n", flush=True)
    took: dict[str, Any] = {"workers": workers, "seconds": round(time.monotonic() - started, 1)}
    if seconds := core_seconds(question):
        took["core seconds"] = seconds
    full = read_json(question.place.root / title / "study.json")
    write_json(RESULTS / f"{title}.json", {"machine": about_machine(), "took": took, **kept(answer, full, group)})


def core_seconds(question: Question) -> dict[str, float]:
    """CPU seconds by kind of piece, as noted when each of the study's pieces was made.

    A piece that an older version made has no such note, and is counted by its steps like the others of its kind. Where
    no piece of a kind has one, nothing is known, and the answer is empty.
    """
    work = question.work(this_machine(question.recipe.device, question.recipe.precision)).on_changed_data()
    seconds: dict[str, float] = {}
    for kind in ROUNDS:
        pieces = work.pieces(kind)
        noted = {piece.key: (work.place.done(piece.key) or {}).get("cpu_seconds") for piece in pieces}
        timed = [piece for piece in pieces if noted[piece.key] is not None]
        if pieces and not timed:
            return {}
        if pieces:
            share = sum(max(1, piece.steps) for piece in timed) / sum(max(1, piece.steps) for piece in pieces)
            seconds[kind] = sum(noted[piece.key] for piece in timed) / share
    return {kind: round(value, 1) for kind, value in (seconds | {"all": sum(seconds.values())}).items()}


def kept(answer: Answer, full: dict[str, Any], group: str | None) -> dict[str, Any]:
    """What is kept of a study: the answer, and of each variant all that is no list of rows or steps."""
    about = {key: full[key] for key in ("study", "recipe", "seeds", "definition", "versions")}
    words = {key: getattr(answer, key) for key in ("question", "sentence", "head", "rows", "opposite", "unknown")}
    return rounded({**about, "group": group, **words, "points": [_point(one) for one in full["points"]]})


def _point(one: dict[str, Any]) -> dict[str, Any]:
    scores = one["scores"]
    if scores is None:
        return one
    gain = scores["gain"]
    if gain is not None:
        tests = {name: {key: test[key] for key in _PER_TEST} for name, test in gain["tests"].items()}
        gain = {**gain, "tests": tests}
    weights = scores["training"]["weights"]
    return {**one, "scores": {**scores, "gain": gain, "training": {"weights": weights}}}


def rounded(value: Any) -> Any:
    """All numbers with six digits, as many as anybody reads."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def main() -> None:
    """Run the studies that are named, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", metavar="NAME", nargs="*", help="built-in studies, or files (default: all)")
    parser.add_argument("--workers", metavar="N", type=whole_number("workers"), default=1)
    parser.add_argument("--seeds", metavar="N", type=whole_number("seeds"), help="(default: each study's own)")
    parser.add_argument("--group", metavar="NAME", help="group of fine-tunings (default: the first, static models)")
    parser.add_argument("--recipe", default="quickstart", help="name of a recipe, or its file (default: quickstart)")
    options = parser.parse_args()
    recipe = load_recipe(find(options.recipe))
    for name in options.names or built_in():
        try:
            run(name, recipe, options.workers, options.seeds, options.group)
        except UserError as error:
            raise SystemExit(f"{name}: {error}") from None


if __name__ == "__main__":
    main()
