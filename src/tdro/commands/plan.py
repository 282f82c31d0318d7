"""``tdro plan RECIPE``: rows, epochs, tokens, memory and time, before anything runs."""

from __future__ import annotations

import argparse
import math

from tdro.commands.arguments import add_recipe, real_number, whole_number
from tdro.commands.output import add_json, print_answer

NAME = "plan"
SUMMARY = "say what a recipe will read, how much memory it needs and how long it takes, before anything runs"
EXAMPLE = "tdro plan quickstart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_recipe(parser)
    parser.add_argument(
        "--tflops",
        metavar="X",
        type=_speed,
        help="a device's peak speed in TFLOP/s, as its data sheet says (default: give no time)",
    )
    parser.add_argument(
        "--ranks",
        metavar="N",
        type=whole_number("processes"),
        default=1,
        help="how many processes train together, each on its own device (default: 1)",
    )
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Make the plan and print it."""
    from tdro.recipe.builtin import find
    from tdro.recipe.schema import load_recipe

    recipe = load_recipe(find(options.recipe))  # whatever is wrong with it shows before anything heavy is imported
    from tdro.console import quiet_libraries

    quiet_libraries()
    from tdro.planning.page import page
    from tdro.planning.plan import make_plan
    from tdro.planning.plan_numbers import plan_numbers
    from tdro.run.training_data import development_on_disk, mixture_on_disk

    plan = make_plan(recipe, mixture_on_disk(recipe), options.ranks, development_on_disk(recipe))
    print_answer(options, plan_numbers(plan, options.tflops), lambda: page(plan, options.tflops))


def _speed(text: str) -> float:
    value = real_number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected TFLOP/s above 0, found {text!r}")
    return value
