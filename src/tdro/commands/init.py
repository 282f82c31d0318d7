"""``tdro init FILES… --base MODEL``: a commented recipe for somebody's own files."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    text = "look at your files and write a commented recipe for them, which runs as it is"
    parser = commands.add_parser(
        "init", help=text, description=text, epilog="Example: tdro init mine.jsonl --base minilm --hold-out 200"
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="a data file, a folder of a task's parts or in BEIR's layout, or a hub id; a task each",
    )
    parser.add_argument(
        "--base", metavar="MODEL", required=True, help='a model folder, a .gguf file, a hub id, "smollm2" or "minilm"'
    )
    parser.add_argument("--out", metavar="FILE", type=Path, default=Path("recipe.yaml"), help="default: recipe.yaml")
    parser.add_argument(
        "--columns",
        metavar=("FILE", "query=NAME"),
        nargs="+",
        action="append",
        default=[],
        help="which columns of a file are the query, positives, negatives and id, where their names do not tell; and "
        "the label: only rows with 1 or true there are read",
    )
    parser.add_argument(
        "--tests", metavar="FOLDER", nargs="+", default=[], help="test sets in BEIR's layout, to compare mixtures by"
    )
    parser.add_argument(
        "--hold-out",
        metavar="N",
        type=_count,
        default=0,
        help="make a test set of each task: N queries (at most a fifth), which leave its training rows",
    )
    parser.add_argument("--force", action="store_true", help="overwrite the recipe and what was held out")
    parser.set_defaults(function=_init)


def _init(options: argparse.Namespace) -> None:
    from tdro.console import quiet_libraries

    quiet_libraries()
    from tdro.init.write_recipe import init_recipe

    columns = {file: _named(file, names) for file, *names in options.columns}
    print(
        init_recipe(options.files, options.base, options.out, columns, options.tests, options.hold_out, options.force)
    )


def _named(file: str, names: list[str]) -> dict[str, str]:
    from tdro.errors import UserError

    pairs = [name.partition("=")[::2] for name in names]
    if not pairs or not all(what and "=" in name for name, (what, _) in zip(names, pairs, strict=True)):
        raise UserError(f"--columns {file}: expected query=NAME positives=NAME, found {' '.join(names) or 'nothing'}")
    return dict(pairs)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of queries, at least 1, found {text!r}")
    return int(text)
