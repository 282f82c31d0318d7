"""``tdro data mine MIXTURE --out FOLDER``: hard negatives for the rows that lack them."""

from __future__ import annotations

import argparse
from pathlib import Path

from tdro.commands.arguments import add_mixtures, add_trust_remote_code
from tdro.commands.output import add_json, print_answer
from tdro.launch import takes_processes

NAME = "mine"
SUMMARY = "find hard negatives for the rows that lack them, by an embedding model, BM25, or both"
EXAMPLE = "tdro data mine mine.jsonl --out mined"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_mixtures(parser)
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, required=True, help="write the mixture with its negatives to this folder"
    )
    parser.add_argument(
        "--by",
        choices=("dense", "bm25", "both"),
        default="dense",
        help="search by an embedding model (dense), by BM25, or by both in turn (default: dense)",
    )
    parser.add_argument(
        "--model", default="minilm", help="the embedding model: a folder, an id on the hub or minilm (default: minilm)"
    )
    parser.add_argument(
        "--per-row", metavar="N", type=int, default=8, help="negatives that each row has afterwards (default: 8)"
    )
    parser.add_argument(
        "--ranks",
        metavar="FROM-TO",
        type=_ranks,
        default=(1, 50),
        help="take passages from these ranks; the row's own answers and those above the margins are not counted "
        "(default: 1-50)",
    )
    parser.add_argument(
        "--draw",
        choices=("best", "random"),
        default="best",
        help="take the best of these ranks, or some by chance (default: best)",
    )
    parser.add_argument(
        "--margin",
        metavar="M",
        type=float,
        help="leave out a passage that scores above the row's positive less M (default: no such limit)",
    )
    parser.add_argument(
        "--relative-margin",
        metavar="R",
        type=float,
        default=0.05,
        help="leave out a passage that scores above the row's positive less this share of that score (default: 0.05)",
    )
    parser.add_argument(
        "--random",
        action="store_true",
        help="take half of the negatives by chance from all passages, and more where the search finds too few",
    )
    parser.add_argument(
        "--corpus",
        metavar="FILE",
        help="search these passages too, beside the tasks' own: a BEIR folder, JSONL with text (and title), or .txt",
    )
    parser.add_argument("--prompts", action="store_true", help="put the tasks' instructions before their queries")
    takes_processes(parser)
    parser.add_argument("--samples", metavar="K", type=int, default=10, help="rows of each task to show (default: 10)")
    parser.add_argument("--force", action="store_true", help="overwrite the mixture that is in that folder")
    add_trust_remote_code(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Mine the negatives and print what was found."""
    from tdro.console import log_to, quiet_libraries
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
    mined = mine_files(options.paths, chosen, options.out, options.force)
    if mined is not None:
        value = {"done_before": mined.tasks is None, "tasks": mined.tasks, "written": options.out}
        print_answer(options, value, lambda: f"{mined.text}\n{options.out}")


def _ranks(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first.isdigit() and last.isdigit()):
        raise argparse.ArgumentTypeError(f"expected FROM-TO, such as 10-50, found {text!r}")
    return int(first), int(last)
