"""``tdro inspect MODEL``: what a model is, what tdro would make of it, and what is wrong with it."""

from __future__ import annotations

import argparse

from tdro.commands.arguments import add_trust_remote_code
from tdro.commands.output import add_json, print_answer

NAME = "inspect"
SUMMARY = "say what a model is, and what tdro would make of it"
EXAMPLE = "tdro inspect smollm2 --layers 6"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help='the folder of a model or of an adapter, a .gguf file, an id on the hub, "smollm2" or "minilm"',
    )
    parser.add_argument(
        "--kind",
        choices=("decoder", "encoder"),
        help="take it for a model of this kind, as base.kind in a recipe does (default: what its files say)",
    )
    parser.add_argument("--layers", metavar="N", type=int, help="keep the first N layers of a decoder (default: all)")
    parser.add_argument(
        "--lora",
        action="store_true",
        help="show it with low-rank adapters (LoRA), which are trained instead of all weights",
    )
    add_trust_remote_code(parser)
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Look at the model and print its table."""
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
    print_answer(options, facts, lambda: facts_table(facts))
