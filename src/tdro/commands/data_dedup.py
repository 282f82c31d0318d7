"""``tdro data dedup MIXTURE``: near-duplicates of test queries, and of each other, leave the training rows."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    text = "take near-duplicates of test queries, and of other rows, out of training data"
    parser = commands.add_parser(
        "dedup",
        help=text,
        description=text,
        epilog="Example: tdro data dedup recipe.yaml --against tests/nq. Without --out, nothing is changed.",
    )
    parser.add_argument(
        "paths", metavar="MIXTURE", nargs="+", help="a mixture folder, a recipe, or data files (a task each)"
    )
    parser.add_argument(
        "--against",
        metavar="TESTS",
        nargs="+",
        default=[],
        help="test queries: BEIR folders, mixture folders (their test sets), text files (one a line), or mteb:NAME, "
        "a benchmark (mteb:beir) or a task as in tdro evaluate --on",
    )
    parser.add_argument(
        "--data", metavar="FOLDER", type=Path, help="look here first for mteb:NAME, in BEIR's or mteb's layout"
    )
    parser.add_argument(
        "--by",
        choices=("query", "positive", "both"),
        default="query",
        help="compare queries, positives (with the tests' relevant passages), or both (default: query)",
    )
    parser.add_argument("--within", action="store_true", help="also duplicates within a task")
    parser.add_argument(
        "--across", action="store_true", help="also duplicates across tasks; the earlier task keeps its"
    )
    parser.add_argument(
        "--threshold",
        metavar="X",
        type=_share,
        help="letters that must agree, above 0.5 and at most 1: the same words in any order (default: 0.9)",
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="write the mixture that is left to this new folder")
    parser.add_argument(
        "--audit", metavar="FILE", type=Path, help="write each duplicate, both texts, to this JSONL file"
    )
    parser.add_argument("--force", action="store_true", help="replace the mixture or the audit that is there")
    parser.set_defaults(function=_dedup)


def _dedup(options: argparse.Namespace) -> None:
    from tdro.console import show
    from tdro.data.neardup.near_duplicates import THRESHOLD
    from tdro.data.quality.dedup_files import Options, dedup_files, dedup_text
    from tdro.errors import UserError

    if options.data is not None and not options.data.is_dir():
        raise UserError(f"--data {options.data}: no such folder")
    threshold = THRESHOLD if options.threshold is None else options.threshold
    chosen = Options(options.against, options.by, options.within, options.across, threshold, options.data)
    result = dedup_files(options.paths, chosen, options.out, options.audit, options.force)
    show("done before" if result is None else dedup_text(result))
    for written in (options.out, options.audit):
        if written is not None:
            print(written)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.5 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0.5 and at most 1, found {text!r}")
    return value
