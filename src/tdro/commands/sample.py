"""``tdro sample``: builds the sample mixture."""

from __future__ import annotations

import argparse
from pathlib import Path

from tdro.commands.output import add_json, print_answer

NAME = "sample"
SUMMARY = "build the sample mixture of real text, and print where it is and the licences of its texts"
EXAMPLE = "tdro sample my-folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "folder", metavar="FOLDER", nargs="?", type=Path, help="the mixture's folder (default: one in tdro's cache)"
    )
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Build the mixture."""
    from tdro.disk import cache_folder
    from tdro.quickstart import build_sample, licence_table, licences

    folder = build_sample(options.folder or cache_folder() / "sample-mixture")
    print_answer(options, {"folder": folder, "packages": licences()}, lambda: f"{folder}\n{licence_table()}")
