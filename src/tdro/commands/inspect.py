"""``tdro inspect MODEL``: what a model is, what tdro would make of it, and what is wrong with it."""

from __future__ import annotations

import argparse


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command."""
    text = "what a model is, and what tdro would make of it"
    parser = commands.add_parser(
        "inspect", help=text, description=text, epilog="Example: tdro inspect smollm2 --layers 6"
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help='a model folder, an adapter\'s folder, a .gguf file, a hub id, "smollm2" or "minilm"',
    )
    parser.add_argument(
        "--kind",
        choices=("decoder", "encoder"),
        help="how to read it, as base.kind in a recipe (default: by what it is)",
    )
    parser.add_argument("--layers", metavar="N", type=int, help="keep the first N layers of a decoder (default: all)")
    parser.add_argument("--lora", action="store_true", help="train low-rank adapters instead of all weights")
    parser.set_defaults(function=_inspect)


def _inspect(options: argparse.Namespace) -> None:
    from tdro.console import quiet_libraries
    from tdro.facts_table import facts_table
    from tdro.retriever.inspect import inspect_model

    quiet_libraries()
    print(facts_table(inspect_model(options.model, kind=options.kind, layers=options.layers, lora=options.lora)))
