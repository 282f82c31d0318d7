"""``tdro data dedup MIXTURE``: takes near-duplicates of test queries, and of each other, out of the training rows."""

from __future__ import annotations

import argparse
from pathlib import Path

from tdro.commands.arguments import add_mixtures, real_number
from tdro.commands.output import add_json, print_answer

NAME = "dedup"
SUMMARY = "take near-duplicates of test queries, and of other rows, out of training data (without --out: count them)"
EXAMPLE = "tdro data dedup recipe.yaml --against tests/nq"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_mixtures(parser)
    parser.add_argument(
        "--against",
        metavar="TESTS",
        nargs="+",
        default=[],
        help="the test queries: BEIR folders, folders of mixtures (their test sets), text files (a query a line), or "
        "mteb:NAME, where NAME is a benchmark (mteb:beir) or a task as in tdro evaluate --on",
    )
    parser.add_argument(
        "--data", metavar="FOLDER", type=Path, help="look for mteb:NAME here first, in BEIR's or mteb's layout"
    )
    parser.add_argument(
        "--by",
        choices=("query", "positive", "both"),
        default="query",
        help="compare the queries, the positives (with the tests' relevant passages), or both (default: query)",
    )
    parser.add_argument("--within", action="store_true", help="also take out duplicates within a task")
    parser.add_argument(
        "--across",
        action="store_true",
        help="also take out duplicates across tasks; the task that comes first keeps its row",
    )
    parser.add_argument(
        "--threshold",
        metavar="X",
        type=_share,
        help="the share of letters that two texts must have in common, whatever the order of their words; above 0.5 "
        "and at most 1 (default: 0.9)",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help="write the mixture without the duplicates to this new folder"
    )
    parser.add_argument(
        "--audit", metavar="FILE", type=Path, help="write each duplicate, with both texts, to this JSONL file"
    )
    parser.add_argument("--force", action="store_true", help="overwrite that folder and that file")
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Look for the duplicates and print their numbers."""
    from tdro.data.neardup.near_duplicates import THRESHOLD
    from tdro.data.quality.dedup_files import DedupOptions, dedup_files
    from tdro.data.quality.dedup_table import dedup_counts, dedup_text
    from tdro.errors import UserError

    if options.data is not None and not options.data.is_dir():
        raise UserError(f"--data {options.data}: no such folder")
    threshold = THRESHOLD if options.threshold is None else options.threshold
    chosen = DedupOptions(options.against, options.by, options.within, options.across, threshold, options.data)
    result = dedup_files(options.paths, chosen, options.out, options.audit, options.force)
    counts = None if result is None else dedup_counts(result)
    written = [path for path in (options.out, options.audit) if path is not None]
    value = {"done_before": result is None, "tasks": counts, "written": written}
    print_answer(options, value, lambda: "done before" if result is None else dedup_text(result))
    if not options.json:
        for path in written:
            print(path)


def _share(text: str) -> float:
    value = real_number(text)
    if not 0.5 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0.5 and at most 1, found {text!r}")
    return value
