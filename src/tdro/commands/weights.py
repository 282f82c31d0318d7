"""``tdro weights FILE``: learned weights as a table, or as settings of another trainer."""

from __future__ import annotations

import argparse
from pathlib import Path

from tdro.commands.arguments import whole_number
from tdro.commands.output import add_json, print_answer

NAME = "weights"
SUMMARY = "print learned weights as a table, or as settings of another trainer"
EXAMPLE = "tdro weights runs/quickstart/weights/weights.json --mixture top-70"
TRAINERS = ("sentence-transformers", "ms-swift", "flagembedding")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "file", metavar="FILE", help='a file of weights, or "paper" for those that the paper\'s authors released'
    )
    mixture = parser.add_mutually_exclusive_group()
    mixture.add_argument(
        "--mixture", metavar="NAME", help="show what fine-tuning samples by, such as top-70^0.5 (default: the weights)"
    )
    mixture.add_argument("--top", metavar="P", type=float, help="the same as --mixture top-P")
    parser.add_argument(
        "--for",
        dest="trainer",
        choices=TRAINERS,
        help="print settings for another trainer that draws by these weights (default: print a table)",
    )
    parser.add_argument(
        "--rows",
        metavar="N",
        type=whole_number("rows"),
        help="with --for: how many rows a training reads (default: as many as the tasks have)",
    )
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Print the table or the settings."""
    from tdro.console import show
    from tdro.dro.weights_table import sizes_beside, weights_numbers, weights_table
    from tdro.errors import UserError
    from tdro.weights import TaskWeights

    if options.rows is not None and options.trainer is None:
        raise UserError("--rows: is only for --for, whose settings depend on it")
    if options.json and options.trainer is not None:
        raise UserError("--json: is for the table; --for prints settings in the other trainer's own format")
    weights = TaskWeights.paper() if options.file == "paper" else TaskWeights.load(options.file)
    sizes = sizes_beside(Path(options.file), weights)
    mixture = options.mixture if options.top is None else f"top-{options.top:g}"
    selected = None if mixture is None else weights.transfer(mixture, sizes)
    if options.trainer is None:
        numbers = weights_numbers(weights, sizes, selected)
        print_answer(options, numbers, lambda: weights_table(weights, sizes, selected))
        return
    from tdro.other_trainers import SETTINGS

    show(SETTINGS[options.trainer](selected or weights, sizes, options.rows))
