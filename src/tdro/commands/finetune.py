"""``tdro finetune RECIPE``: stage 2 of a recipe, a model for each mixture and seed."""

from __future__ import annotations

import argparse

from tdro.commands.arguments import add_force, add_merge, add_recipe, add_report_to, add_sharing
from tdro.commands.recipe_stages import run_stages
from tdro.recipe.names import STAGES

NAME = "finetune"
SUMMARY = STAGES[NAME]
EXAMPLE = "tdro finetune quickstart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_recipe(parser)
    add_force(parser)
    add_merge(parser)
    add_report_to(parser)
    add_sharing(parser)


def run(options: argparse.Namespace) -> None:
    """Fine-tune the models."""
    run_stages(options, (NAME,))
