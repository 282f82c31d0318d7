"""``tdro plan RECIPE``: rows, epochs, tokens, memory and time, before anything runs."""

from __future__ import annotations

import argparse
import math


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    text = "say what a recipe will read, need and take, before anything runs"
    parser = commands.add_parser("plan", help=text, description=text, epilog="Example: tdro plan quickstart")
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's file, or the name of a built-in recipe")
    parser.add_argument("--tflops", metavar="X", type=_speed, help="peak TFLOP/s of a device (default: tell no time)")
    parser.add_argument("--ranks", metavar="N", type=_count, default=1, help="processes, one a device (default: 1)")
    parser.set_defaults(function=_plan)


def _plan(options: argparse.Namespace) -> None:
    from tdro.recipe.builtin import find
    from tdro.recipe.schema import load_recipe

    recipe = load_recipe(find(options.recipe))  # whatever is wrong with it shows before anything heavy is imported
    from tdro.console import quiet_libraries, show

    quiet_libraries()
    from tdro.planning.page import page
    from tdro.planning.plan import make_plan
    from tdro.run.training_data import mixture_on_disk

    show(page(make_plan(recipe, mixture_on_disk(recipe), options.ranks), options.tflops))


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected TFLOP/s above 0, found {text!r}")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of processes, at least 1, found {text!r}")
    return int(text)
