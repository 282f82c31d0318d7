"""``tdro weights FILE``: learned weights as a table."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    text = "print learned weights as a table"
    example = "Example: tdro weights runs/quickstart/weights/weights.json --top 70"
    parser = commands.add_parser("weights", help=text, description=text, epilog=example)
    parser.add_argument("file", metavar="FILE", help='a weights file, or "paper"')
    parser.add_argument(
        "--top", metavar="P", type=float, help="the selection of the P %% largest instead (default: all)"
    )
    parser.set_defaults(function=_weights)


def _weights(options: argparse.Namespace) -> None:
    from tdro.console import show
    from tdro.dro.weights_table import sizes_beside, weights_table
    from tdro.weights import TaskWeights

    weights = TaskWeights.paper() if options.file == "paper" else TaskWeights.load(options.file)
    selected = None if options.top is None else weights.top(options.top)
    show(weights_table(weights, sizes_beside(Path(options.file), weights), selected))
