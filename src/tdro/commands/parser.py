"""Builds the parser of the command line: which commands there are, in the order of ``tdro --help``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Protocol

from tdro import __version__
from tdro.commands import (
    compare,
    data_build,
    data_check,
    data_dedup,
    data_describe,
    data_mine,
    evaluate,
    finetune,
    init,
    inspect,
    learn,
    plan,
    push,
    recipe,
    reference,
    report,
    run,
    sample,
    study,
    weights,
)


class Command(Protocol):
    """What the file of a command has.

    Attributes:
        NAME: of the command, as it is typed.
        SUMMARY: what it does, in a line.
        EXAMPLE: a whole command line that works; the last line of the help.
    """

    NAME: str
    SUMMARY: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None:
        """Add the command's arguments to its parser."""

    def run(self, options: argparse.Namespace, /) -> int | None:
        """Do the work and print the result. Returns an exit status other than 0, or None."""


STAGE_COMMANDS: tuple[Command, ...] = (reference, learn, finetune, evaluate, report)
OTHER_COMMANDS: tuple[Command, ...] = (init, plan, recipe, sample, compare, study, weights, inspect, push)
DATA_COMMANDS: tuple[Command, ...] = (data_check, data_describe, data_dedup, data_mine, data_build)  # of `tdro data`


def command_line() -> argparse.ArgumentParser:
    """The parser of ``tdro``. The options that it returns have the command's ``run`` as ``function``."""
    parser = argparse.ArgumentParser(
        prog="tdro",
        description="Learn how much of each data set to fine-tune an embedding model on, and fine-tune it so. "
        "A recipe is the YAML file that describes a run.",
        epilog="Begin with: tdro run quickstart. With files of your own: tdro init FILE... --base minilm. Exit "
        "status of every command: 0, done; 1, --strict found something; 2, an error that you can mend; 130, stopped by "
        "Ctrl-C.",
    )
    parser.add_argument("--version", action="version", version=f"tdro {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add(commands, (run, *STAGE_COMMANDS, *OTHER_COMMANDS))
    summary = "check, describe, deduplicate and build training data, and mine its hard negatives"
    example = "Example: tdro data check mine.jsonl"
    data = commands.add_parser("data", help=summary, description=_sentence(summary), epilog=example)
    _add(data.add_subparsers(dest="subcommand", metavar="COMMAND", title="commands", required=True), DATA_COMMANDS)
    return parser


def _add(parsers: argparse._SubParsersAction[argparse.ArgumentParser], commands: Sequence[Command]) -> None:
    """Give each command a parser, in which ``function`` is the command's ``run``."""
    for command in commands:
        parser = parsers.add_parser(
            command.NAME,
            help=command.SUMMARY,
            description=_sentence(command.SUMMARY),
            epilog=f"Example: {command.EXAMPLE}",
        )
        command.add_arguments(parser)
        parser.add_argument(
            "-q", "--quiet", action="store_true", help="print nothing but errors and what the command was called for"
        )
        parser.set_defaults(function=command.run)


def _sentence(summary: str) -> str:
    """A command's summary as a sentence."""
    return f"{summary[0].upper()}{summary[1:]}."
