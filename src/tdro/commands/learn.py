"""``tdro learn RECIPE``: stage 1 of a recipe, the weights of the tasks."""

from __future__ import annotations

import argparse

from tdro.commands.arguments import add_force, add_recipe, add_report_to
from tdro.commands.recipe_stages import run_stages
from tdro.launch import takes_processes
from tdro.recipe.names import STAGES

NAME = "learn"
SUMMARY = STAGES[NAME]
EXAMPLE = "tdro learn quickstart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_recipe(parser)
    add_force(parser)
    add_report_to(parser)
    takes_processes(parser)


def run(options: argparse.Namespace) -> None:
    """Learn the weights."""
    run_stages(options, (NAME,))
