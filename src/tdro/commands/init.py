"""``tdro init FILES… --base MODEL``: a commented recipe for somebody's own files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tdro.commands.arguments import whole_number

NAME = "init"
SUMMARY = "look at your files and write a commented recipe for them, which runs as it is"
EXAMPLE = "tdro init mine.jsonl --base minilm --hold-out 200"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="a task: a data file, a folder with the parts of a task or in BEIR's layout, or an id on the hub",
    )
    parser.add_argument(
        "--base",
        metavar="MODEL",
        required=True,
        help='the model to fine-tune: a folder, a .gguf file, an id on the hub, "smollm2" or "minilm"',
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        default=Path("recipe.yaml"),
        help="write the recipe to this file (default: recipe.yaml)",
    )
    parser.add_argument(
        "--columns",
        metavar=("FILE", "query=NAME"),
        nargs="+",
        action="append",
        default=[],
        help="say which columns of a file are query, positives, negatives and id, where their names do not tell: "
        "--columns faq.csv query=frage positives=antwort. With label=NAME too, only rows that have 1 or true in that "
        "column are read",
    )
    parser.add_argument(
        "--tests", metavar="FOLDER", nargs="+", default=[], help="test sets in BEIR's layout, to compare mixtures by"
    )
    parser.add_argument(
        "--hold-out",
        metavar="N",
        type=whole_number("queries"),
        default=0,
        help="make a test set of each task: N of its queries (at most a fifth), which are not trained on then",
    )
    parser.add_argument("--force", action="store_true", help="overwrite the recipe and what was held out")


def run(options: argparse.Namespace) -> None:
    """Write the recipe and print what was found in the files."""
    from tdro.console import quiet_libraries

    quiet_libraries()
    from tdro.init.write_recipe import init_recipe

    columns = {file: parse_columns(file, words) for file, *words in options.columns}
    print(
        init_recipe(options.files, options.base, options.out, columns, options.tests, options.hold_out, options.force)
    )


def parse_columns(file: str, words: Sequence[str]) -> dict[str, str]:
    """``{"query": "question"}`` of the words ``query=question`` that stand after ``--columns FILE``."""
    from tdro.errors import UserError

    pairs = [word.partition("=") for word in words]
    if not pairs or not all(role and equals for role, equals, _ in pairs):
        raise UserError(f"--columns {file}: expected query=NAME positives=NAME, found {' '.join(words) or 'nothing'}")
    return {role: column for role, _, column in pairs}
