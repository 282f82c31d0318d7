"""``tdro data describe MIXTURE``: what the tasks of a mixture hold."""

from __future__ import annotations

import argparse
from pathlib import Path

from tdro.commands.arguments import add_mixtures

NAME = "describe"
SUMMARY = "print rows, languages, lengths, negatives, duplicates, licences and samples of every task"
EXAMPLE = "tdro data describe recipe.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_mixtures(parser)
    parser.add_argument(
        "--base",
        metavar="MODEL",
        help="count lengths in this model's tokens (default: the recipe's base; without a recipe, in characters)",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the numbers to this file too")
    parser.add_argument("--force", action="store_true", help="overwrite that file")


def run(options: argparse.Namespace) -> None:
    """Describe the tasks and print their tables."""
    from tdro.disk import check_writable
    from tdro.errors import UserError

    if options.json is not None:
        check_writable(options.json)
        if options.json.exists() and not options.force:
            raise UserError(f"{options.json}: is there already; name another file, or overwrite it with --force")
    from tdro.console import quiet_libraries, show

    quiet_libraries()
    from tdro.data.quality.data_card_table import describe_text
    from tdro.run.describe_data import describe_files

    card = describe_files(options.paths, options.base)
    show(describe_text(card))
    if options.json is not None:
        card.save(options.json)
