"""``tdro reference RECIPE``: stage 0 of a recipe, the reference model."""

from __future__ import annotations

import argparse

from tdro.commands.arguments import add_force, add_recipe, add_report_to
from tdro.commands.recipe_stages import run_stages
from tdro.launch import takes_processes
from tdro.recipe.names import STAGES

NAME = "reference"
SUMMARY = STAGES[NAME]
EXAMPLE = "tdro reference quickstart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_recipe(parser)
    add_force(parser)
    add_report_to(parser)
    takes_processes(parser)


def run(options: argparse.Namespace) -> None:
    """Train the reference."""
    run_stages(options, (NAME,))
