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
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="run code that comes with the model (default: no)"
    )
    parser.set_defaults(function=_inspect)


def _inspect(options: argparse.Namespace) -> None:
    from tdro.console import log_to, quiet_libraries
    from tdro.models.inspect.facts_table import facts_table
    from tdro.models.inspect.look import inspect_model

    quiet_libraries()
    log_to(None, main=True)
    facts = inspect_model(
        options.model,
        kind=options.kind,
        layers=options.layers,
        lora=options.lora,
        trust_remote_code=options.trust_remote_code,
    )
    print(facts_table(facts))
