"""``tdro data describe MIXTURE``: what the tasks of a mixture hold: rows, lengths, negatives, duplicates, samples."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    text = "a data card: rows, languages, lengths, negatives, duplicates, licences and samples of every task"
    parser = commands.add_parser(
        "describe", help=text, description=text, epilog="Example: tdro data describe recipe.yaml"
    )
    parser.add_argument(
        "paths", metavar="MIXTURE", nargs="+", help="a mixture folder, a recipe, or data files (a task each)"
    )
    parser.add_argument(
        "--base",
        metavar="MODEL",
        help="count lengths in its tokens (default: the recipe's base; without a recipe, characters)",
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write the card to this file too (default: print it only)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite that file")
    parser.set_defaults(function=_describe)


def _describe(options: argparse.Namespace) -> None:
    from tdro.disk import check_writable
    from tdro.errors import UserError

    if options.json is not None:
        check_writable(options.json)
    if options.json is not None and options.json.exists() and not options.force:
        raise UserError(f"{options.json}: is there already; name another file, or overwrite it with --force")
    from tdro.console import quiet_libraries, show

    quiet_libraries()
    from tdro.data.quality.data_card_table import describe_text
    from tdro.run.describe_data import describe_files

    card = describe_files(options.paths, options.base)
    show(describe_text(card))
    if options.json is not None:
        card.save(options.json)
