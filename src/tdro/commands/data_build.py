"""``tdro data build RECIPE``: builds a recipe's sources and nothing else."""

from __future__ import annotations

import argparse

from tdro.commands.arguments import add_recipe
from tdro.commands.output import add_json, print_answer

NAME = "build"
SUMMARY = "build a recipe's data.sources into the cache, and print their rows and problems"
EXAMPLE = "tdro data build recipe.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_recipe(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Build the sources and print their table."""
    from tdro.data.mixtures.from_recipe import build_sources, sources_table
    from tdro.errors import UserError
    from tdro.recipe.builtin import find
    from tdro.recipe.schema import load_recipe

    data = load_recipe(find(options.recipe)).data
    if data.sources is None:
        raise UserError(f"{options.recipe}: has no data.sources; a mixture is read as it is")
    built = build_sources(data)
    print_answer(options, built, lambda: sources_table(built))
