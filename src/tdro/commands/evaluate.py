"""``tdro evaluate``: the stage of a run, or with ``--on`` any models on benchmarks."""

from __future__ import annotations

import argparse
from pathlib import Path

from tdro.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "recipe",
        metavar="RECIPE|MODEL",
        nargs="+",
        help="a recipe; with --on, models: folders or ids of the hub, and bm25",
    )
    parser.add_argument(
        "--on",
        metavar="NAME",
        nargs="+",
        help="BEIR folders, beir, miracl, nano-beir, mkqa:FOLDER (passages and mkqa.jsonl.gz), or tasks of mteb",
    )
    parser.add_argument("--data", metavar="FOLDER", type=Path, help="look here first, in BEIR's or mteb's layout")
    parser.add_argument(
        "--instruction",
        metavar="NAME=TEXT",
        action="append",
        default=[],
        help="of a test set, task or benchmark, or a file of them (.yaml, .json); else the model's own prompts",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, default=Path("evaluation"), help="a folder a model (default: evaluation)"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="do it anew, over what others have made there too; with --on, replace another model's results",
    )
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="with --on, run code that comes with a model (default: no)"
    )


def recipe_of(options: argparse.Namespace) -> str:
    """The one recipe of a call without ``--on``. Raises :class:`UserError` for what only ``--on`` takes."""
    only_on = options.data or options.instruction or options.trust_remote_code or options.out != Path("evaluation")
    if len(options.recipe) > 1 or only_on:
        raise UserError(
            "tdro evaluate RECIPE is a stage of a run and takes one recipe; to evaluate models, say --on what"
        )
    if (Path(options.recipe[0]) / "modules.json").is_file():
        raise UserError(f"{options.recipe[0]}: a model; say on what to evaluate it, such as --on nano-beir")
    return str(options.recipe[0])


def evaluate_on(options: argparse.Namespace) -> None:
    """Evaluate the models and print their table."""
    if options.data is not None and not options.data.is_dir():
        raise UserError(f"--data {options.data}: no such folder")
    from tdro.evaluation.scoring.model_prompts import read_instructions

    instructions = read_instructions(options.instruction)
    from tdro.console import log_to, quiet_libraries, say
    from tdro.evaluation.evaluate_models import evaluate_models
    from tdro.evaluation.results_table import evaluated_table
    from tdro.machine import this_machine

    quiet_libraries()
    main = this_machine().main
    log_to(None, main)
    found = evaluate_models(
        options.recipe,
        options.on,
        options.out,
        data=options.data,
        instructions=instructions,
        force=options.force,
        trust_remote_code=options.trust_remote_code,
    )
    say(evaluated_table(found), main)
