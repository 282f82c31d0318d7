"""``tdro run RECIPE``: runs all stages of a recipe."""

from __future__ import annotations

import argparse

from tdro.commands.arguments import add_force, add_merge, add_recipe, add_report_to, add_sharing
from tdro.commands.recipe_stages import run_stages

NAME = "run"
SUMMARY = "run all stages of a recipe; a stage that is done and whose inputs did not change is skipped"
EXAMPLE = "tdro run quickstart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_recipe(parser)
    add_force(parser)
    add_merge(parser)
    add_report_to(parser)
    add_sharing(parser)


def run(options: argparse.Namespace) -> None:
    """Run the recipe."""
    run_stages(options)
