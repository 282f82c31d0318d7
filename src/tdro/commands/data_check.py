"""``tdro data check FILES…``: what is wrong with training data, by file and line, and what a run does about it."""

from __future__ import annotations

import argparse
from pathlib import Path

from tdro.commands.arguments import whole_number
from tdro.commands.output import add_json, print_answer

NAME = "check"
SUMMARY = "say what is wrong with training data, by file and line, and what a run does about it"
EXAMPLE = "tdro data check mine.jsonl --bad-rows bad.jsonl"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "paths",
        metavar="FILE",
        nargs="+",
        help="a data file, a folder of them or in BEIR's layout, an id on the hub, a mixture's folder, or a recipe",
    )
    parser.add_argument(
        "--batch",
        metavar="N",
        type=whole_number("rows"),
        help="name the tasks that have fewer rows than a batch of N (default: the recipe's batch)",
    )
    parser.add_argument(
        "--bad-rows",
        metavar="FILE",
        type=Path,
        help="write every problem, with its row, to this JSONL file (default: print the first ones only)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite that file")
    parser.add_argument("--strict", action="store_true", help="end with exit status 1 if anything is found")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Check the files and print what was found."""
    from tdro.data.quality.bad_rows import bad_rows_file, not_the_data
    from tdro.data.quality.check import check_files
    from tdro.data.quality.check_table import check_text

    not_the_data(options.bad_rows, options.paths)
    with bad_rows_file(options.bad_rows, options.force) as sink:
        report = check_files(options.paths, options.batch, sink)
    print_answer(options, {"clean": report.clean, **vars(report)}, lambda: check_text(report, options.bad_rows))
    return 1 if options.strict and not report.clean else 0
