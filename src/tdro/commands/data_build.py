"""``tdro data build RECIPE``: build a recipe's sources, and nothing else."""

from __future__ import annotations

import argparse


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    text = "build a recipe's data.sources into the cache, and print their rows and problems"
    parser = commands.add_parser("build", help=text, description=text, epilog="Example: tdro data build recipe.yaml")
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's file, or the name of a built-in recipe")
    parser.set_defaults(function=_build)


def _build(options: argparse.Namespace) -> None:
    from tdro.console import show
    from tdro.data.mixtures.from_recipe import build_sources, sources_table
    from tdro.errors import UserError
    from tdro.recipe.builtin import find
    from tdro.recipe.schema import load_recipe

    data = load_recipe(find(options.recipe)).data
    if data.sources is None:
        raise UserError(f"{options.recipe}: has no data.sources; a mixture is read as it is")
    show(sources_table(build_sources(data)))
