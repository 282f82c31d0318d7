"""``tdro recipe NAME``: prints a built-in recipe, or with ``--keys`` what every key means."""

from __future__ import annotations

import argparse

from tdro.commands.output import add_json, as_json, print_answer

NAME = "recipe"
SUMMARY = "list the built-in recipes, or print one to save and edit"
EXAMPLE = "tdro recipe quickstart > recipe.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="the recipe's name (default: list all)")
    parser.add_argument("--keys", action="store_true", help="print every key of a recipe and what it means")
    parser.add_argument(
        "--schema",
        action="store_true",
        help="print the JSON schema of a recipe; save it as recipe.schema.json beside a recipe, and editors complete "
        "and check the recipe",
    )
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Print the recipe, the names of all recipes, or the page of all keys."""
    from tdro.recipe.builtin import built_in, built_in_file

    if options.schema:
        from tdro.recipe.json_schema import recipe_schema

        print(as_json(recipe_schema()))
    elif options.keys:
        from tdro.recipe.keys_page import keys_as_markdown, keys_of_sections

        print_answer(options, keys_of_sections(), lambda: keys_as_markdown().removesuffix("\n"))
    elif options.name is None:
        print_answer(options, built_in(), lambda: "\n".join(built_in()))
    elif options.json:
        from tdro.recipe.yaml_lines import read_yaml

        print(as_json(read_yaml(built_in_file(options.name))[0]))
    else:
        from tdro.recipe.json_schema import FIRST_LINE

        print(FIRST_LINE)
        print(built_in_file(options.name).read_text(encoding="utf-8"), end="")
