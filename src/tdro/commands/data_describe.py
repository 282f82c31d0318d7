"""``tdro data describe MIXTURE``: what the tasks of a mixture hold."""

from __future__ import annotations

import argparse
from pathlib import Path

from tdro.commands.arguments import add_mixtures
from tdro.commands.output import add_json, print_answer

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
    parser.add_argument("--out", metavar="FILE.json", type=Path, help="write the numbers to this file too")
    parser.add_argument("--force", action="store_true", help="overwrite that file")
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Describe the tasks and print their tables."""
    from tdro.disk import check_writable
    from tdro.errors import UserError

    if options.out is not None:
        check_writable(options.out, read=options.paths)
        if options.out.exists() and not options.force:
            raise UserError(f"{options.out}: is there already; name another file, or overwrite it with --force")
    from tdro.console import quiet_libraries

    quiet_libraries()
    from tdro.data.quality.data_card_table import describe_text
    from tdro.run.describe_data import describe_files

    card = describe_files(options.paths, options.base)
    print_answer(options, card, lambda: describe_text(card))
    if options.out is not None:
        card.save(options.out)
