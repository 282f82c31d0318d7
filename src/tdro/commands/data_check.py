"""``tdro data check FILES…``: what is wrong with training data, by file and line, and what a run does about it."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    text = "what is wrong with training data, by file and line, and what is done about it"
    parser = commands.add_parser(
        "check", help=text, description=text, epilog="Example: tdro data check mine.jsonl --bad-rows bad.jsonl"
    )
    parser.add_argument(
        "paths",
        metavar="FILE",
        nargs="+",
        help="a data file, a folder of them or in BEIR's layout, a hub id, a mixture folder, or a recipe",
    )
    parser.add_argument(
        "--batch", metavar="N", type=_count, help="tell tasks with fewer rows (default: the recipe's batch)"
    )
    parser.add_argument(
        "--bad-rows",
        metavar="FILE",
        type=Path,
        help="write every problem, with its row, to this JSONL (default: the first ones are printed)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite the file of bad rows")
    parser.add_argument("--strict", action="store_true", help="exit status 1 if anything is found")
    parser.set_defaults(function=_check)


def _check(options: argparse.Namespace) -> int:
    from tdro.console import show
    from tdro.data.quality.bad_rows import bad_rows_file, not_the_data
    from tdro.data.quality.check import check_files
    from tdro.data.quality.check_table import check_text

    not_the_data(options.bad_rows, options.paths)
    with bad_rows_file(options.bad_rows, options.force) as sink:
        report = check_files(options.paths, options.batch, sink)
    show(check_text(report, options.bad_rows))
    return 1 if options.strict and not report.clean else 0


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of rows, at least 1, found {text!r}")
    return int(text)
