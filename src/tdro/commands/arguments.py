"""Arguments that several commands share, and the types of numbers that they take."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from tdro.launch import takes_processes
from tdro.recipe.names import TRACKERS


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Add ``RECIPE``."""
    parser.add_argument(
        "recipe", metavar="RECIPE", help="a recipe: the YAML file that describes a run, or the name of a built-in one"
    )


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add ``--force`` to a command that works in a run folder."""
    parser.add_argument(
        "--force",
        action="store_true",
        help="overwrite results that other settings or another recipe made (default: stop and name them)",
    )


def add_merge(parser: argparse.ArgumentParser) -> None:
    """Add ``--merge`` to a command that fine-tunes."""
    parser.add_argument(
        "--merge",
        action="store_true",
        help="save LoRA adapters merged into the model, in every group (default: as the recipe says)",
    )


def add_report_to(parser: argparse.ArgumentParser) -> None:
    """Add ``--report-to`` to a command that trains or evaluates by a recipe."""
    parser.add_argument(
        "--report-to",
        metavar="TRACKER",
        action="append",
        choices=TRACKERS,
        help=f"report the trainings to an experiment tracker: {', '.join(TRACKERS)}; may be given several times "
        "(default: as the recipe says)",
    )


def add_sharing(parser: argparse.ArgumentParser) -> None:
    """Add ``--processes`` and ``--workers`` to a command that trains or evaluates several models by a recipe."""
    either = parser.add_mutually_exclusive_group()
    takes_processes(either)
    either.add_argument(
        "--workers",
        metavar="N",
        type=whole_number("workers"),
        default=1,
        help="train and evaluate N models at once, each on a core or a GPU of its own (default: 1)",
    )


def add_mixtures(parser: argparse.ArgumentParser) -> None:
    """Add ``MIXTURE …`` as ``paths`` to a command about data."""
    parser.add_argument(
        "paths", metavar="MIXTURE", nargs="+", help="the folder of a mixture, a recipe, or data files (each is a task)"
    )


def add_trust_remote_code(parser: argparse.ArgumentParser, note: str = "") -> None:
    """Add ``--trust-remote-code``; ``note`` stands before its help."""
    parser.add_argument(
        "--trust-remote-code", action="store_true", help=f"{note}run code that comes with a model (default: no)"
    )


def whole_number(of: str, least: int = 1) -> Callable[[str], int]:
    """The type of an argument that is a number of something, such as ``rows``."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a number of {of}, at least {least}, found {text!r}")
        return int(text)

    return parse


def real_number(text: str) -> float:
    """A number, or NaN for what is none; the caller says what is allowed."""
    try:
        return float(text)
    except ValueError:
        return math.nan
