"""``tdro weights FILE``: learned weights as a table."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "weights"
SUMMARY = "print learned weights as a table"
EXAMPLE = "tdro weights runs/quickstart/weights/weights.json --top 70"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "file", metavar="FILE", help='a file of weights, or "paper" for those that its authors released'
    )
    parser.add_argument(
        "--top",
        metavar="P",
        type=float,
        help="show which tasks top-P keeps: the P %% with the largest weights (default: all)",
    )


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    from tdro.console import show
    from tdro.dro.weights_table import sizes_beside, weights_table
    from tdro.weights import TaskWeights

    weights = TaskWeights.paper() if options.file == "paper" else TaskWeights.load(options.file)
    selected = None if options.top is None else weights.top(options.top)
    show(weights_table(weights, sizes_beside(Path(options.file), weights), selected))
