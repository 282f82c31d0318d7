"""``tdro recipe NAME``: prints a built-in recipe, or with ``--keys`` what every key means."""

from __future__ import annotations

import argparse

NAME = "recipe"
SUMMARY = "list the built-in recipes, or print one to save and edit"
EXAMPLE = "tdro recipe quickstart > recipe.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="the recipe's name (default: list all)")
    parser.add_argument("--keys", action="store_true", help="print every key of a recipe and what it means")


def run(options: argparse.Namespace) -> None:
    """Print the recipe, the names of all recipes, or the page of all keys."""
    from tdro.recipe.builtin import built_in, built_in_file

    if options.keys:
        from tdro.recipe.keys_page import keys_as_markdown

        print(keys_as_markdown(), end="")
    elif options.name is None:
        print("\n".join(built_in()))
    else:
        print(built_in_file(options.name).read_text(encoding="utf-8"), end="")
