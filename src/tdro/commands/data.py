"""``tdro data …``: commands for the data of a recipe, one a module."""

from __future__ import annotations

import argparse

from tdro.commands import data_build, data_check, data_dedup, data_describe, data_mine

SUBCOMMANDS = (data_build, data_check, data_dedup, data_mine, data_describe)  # in the order of --help


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command and its subcommands."""
    text = "build, check, deduplicate and describe training data, and mine its hard negatives"
    parser = commands.add_parser("data", help=text, description=text, epilog="Example: tdro data check mine.jsonl")
    subcommands = parser.add_subparsers(dest="subcommand", metavar="COMMAND", title="commands", required=True)
    for module in SUBCOMMANDS:
        module.add(subcommands)
