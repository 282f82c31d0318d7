"""``tdro data mine MIXTURE --out FOLDER``: hard negatives for the rows that lack them."""

from __future__ import annotations

import argparse
from pathlib import Path

from tdro.launch import takes_processes


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    text = "mine hard negatives for the rows that lack them, by an embedding model, BM25, or both"
    parser = commands.add_parser(
        "mine",
        help=text,
        description=text,
        epilog="Example: tdro data mine mine.jsonl --out mined",
    )
    parser.add_argument(
        "paths", metavar="MIXTURE", nargs="+", help="a mixture folder, a recipe, or data files (a task each)"
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, required=True, help="write the mixture with its negatives to this folder"
    )
    parser.add_argument(
        "--by", choices=("dense", "bm25", "both"), default="dense", help="who finds candidates (default: dense)"
    )
    parser.add_argument(
        "--model", default="minilm", help="embedding model: a folder, a hub id or minilm (default: minilm)"
    )
    parser.add_argument(
        "--per-row", metavar="N", type=int, default=8, help="negatives that a row has then (default: 8)"
    )
    parser.add_argument(
        "--ranks",
        metavar="FROM-TO",
        type=_ranks,
        default=(1, 50),
        help="take from these ranks of what is no answer and below the margins (default: 1-50)",
    )
    parser.add_argument(
        "--draw", choices=("best", "random"), default="best", help="which of these ranks (default: best)"
    )
    parser.add_argument(
        "--margin",
        metavar="M",
        type=float,
        help="leave out what scores above the row's positive less M (default: none)",
    )
    parser.add_argument(
        "--relative-margin",
        metavar="R",
        type=float,
        default=0.05,
        help="leave out what scores above the row's positive less this share of it (default: 0.05)",
    )
    parser.add_argument(
        "--random", action="store_true", help="half by chance from all passages, and where the search finds too few"
    )
    parser.add_argument(
        "--corpus",
        metavar="FILE",
        help="more passages than the tasks' own positives: a BEIR folder, JSONL with text (and title), or .txt",
    )
    parser.add_argument("--prompts", action="store_true", help="put the tasks' instructions before their queries")
    takes_processes(parser)
    parser.add_argument("--samples", metavar="K", type=int, default=10, help="rows of each task to show (default: 10)")
    parser.add_argument("--force", action="store_true", help="replace the mixture that is there")
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="run code that comes with the model (default: no)"
    )
    parser.set_defaults(function=_mine)


def _mine(options: argparse.Namespace) -> None:
    from tdro.console import log_to, quiet_libraries, show
    from tdro.machine import this_machine
    from tdro.mining.mine_files import MiningOptions, mine_files
    from tdro.mining.mining_settings import MiningSettings

    settings = MiningSettings(
        by=options.by,
        per_row=options.per_row,
        ranks=options.ranks,
        margin=options.margin,
        relative_margin=options.relative_margin,
        draw=options.draw,
        random=options.random,
    )
    quiet_libraries()
    log_to(None, this_machine().main)
    chosen = MiningOptions(
        settings,
        options.model,
        options.corpus,
        options.prompts,
        max(options.samples, 0),
        options.trust_remote_code,
    )
    text = mine_files(options.paths, chosen, options.out, options.force)
    if text is not None:
        show(text)
        print(options.out)


def _ranks(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit()):
        raise argparse.ArgumentTypeError(f"expected FROM-TO, such as 10-50, found {text!r}")
    return int(first), int(last)
