"""``tdro evaluate RECIPE``: scores the models of a run. With ``--on``: any models on benchmarks."""

from __future__ import annotations

import argparse
from pathlib import Path

from tdro.commands.arguments import add_report_to, add_sharing, add_trust_remote_code
from tdro.commands.output import add_json, print_answer
from tdro.commands.recipe_stages import run_stages
from tdro.errors import UserError
from tdro.recipe.names import STAGES

NAME = "evaluate"
SUMMARY = STAGES[NAME]
EXAMPLE = "tdro evaluate MODEL --on nano-beir"

_OUT = Path("evaluation")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "recipe",
        metavar="RECIPE|MODEL",
        nargs="+",
        help="a recipe; with --on, models instead: folders, ids of the hub, or bm25",
    )
    parser.add_argument(
        "--on",
        metavar="NAME",
        nargs="+",
        help="evaluate on these: BEIR folders, beir, miracl, nano-beir, mkqa:FOLDER (which holds the passages and "
        "mkqa.jsonl.gz), or tasks of mteb",
    )
    parser.add_argument(
        "--data", metavar="FOLDER", type=Path, help="look for the benchmarks here first, in BEIR's or mteb's layout"
    )
    parser.add_argument(
        "--instruction",
        metavar="NAME=TEXT",
        action="append",
        default=[],
        help="what a query asks for, by test set, task or benchmark; or a file of such lines (.yaml, .json). Default: "
        "the model's own prompts",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=_OUT,
        help="with --on, write the results here, a folder for each model (default: evaluation)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="overwrite results that other settings or another recipe made; with --on, those of another model",
    )
    add_report_to(parser)
    add_trust_remote_code(parser, note="with --on, ")
    add_sharing(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Evaluate the recipe's models, or with ``--on`` the models that are named."""
    if options.on and options.report_to:
        raise UserError("--report-to: is for a recipe, whose comparison is reported; leave it out beside --on")
    if options.on and options.workers > 1:
        raise UserError("--workers: is for the models of a recipe; beside --on, use --processes")
    if options.on:
        _evaluate_models(options)
    else:
        options.recipe = _only_recipe(options)
        run_stages(options, (NAME,))


def _only_recipe(options: argparse.Namespace) -> str:
    """The recipe of a call without ``--on``. Raises :class:`UserError` for what only ``--on`` takes."""
    needs_on = options.data or options.instruction or options.trust_remote_code or options.out != _OUT
    if options.json:
        raise UserError("--json: is for --on; for the models of a run, type tdro compare RUN --json")
    if len(options.recipe) > 1 or needs_on:
        raise UserError(
            "tdro evaluate RECIPE is a stage of a run and takes one recipe; to evaluate models, say --on what"
        )
    if (Path(options.recipe[0]) / "modules.json").is_file():
        raise UserError(f"{options.recipe[0]}: a model; say on what to evaluate it, such as --on nano-beir")
    return str(options.recipe[0])


def _evaluate_models(options: argparse.Namespace) -> None:
    if options.data is not None and not options.data.is_dir():
        raise UserError(f"--data {options.data}: no such folder")
    from tdro.evaluation.scoring.model_prompts import read_instructions

    instructions = read_instructions(options.instruction)
    from tdro.console import log_to, quiet_libraries
    from tdro.evaluation.evaluate_models import evaluate_models
    from tdro.evaluation.results_table import evaluated_numbers, evaluated_table
    from tdro.machine import this_machine

    quiet_libraries()
    main = this_machine().main
    log_to(None, main)
    results = evaluate_models(
        options.recipe,
        options.on,
        options.out,
        data=options.data,
        instructions=instructions,
        force=options.force,
        trust_remote_code=options.trust_remote_code,
    )
    if main:
        print_answer(options, evaluated_numbers(results), lambda: evaluated_table(results))
