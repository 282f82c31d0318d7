"""``tdro report RECIPE``: writes the HTML report of a run."""

from __future__ import annotations

import argparse

from tdro.commands.arguments import add_force, add_recipe
from tdro.commands.recipe_stages import run_stages
from tdro.recipe.names import STAGES

NAME = "report"
SUMMARY = STAGES[NAME]
EXAMPLE = "tdro report quickstart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_recipe(parser)
    add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Write the report."""
    run_stages(options, (NAME,))
