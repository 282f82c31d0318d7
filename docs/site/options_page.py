"""The page of all commands and their options, made from the parser of the command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from tdro.commands.parser import command_line


def options_as_markdown() -> str:
    """A heading for each command, with its summary, usage, arguments and example."""
    return "\n\n".join(_page(parser) for parser in _commands(command_line()))


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers that do something, in the order of the help: those without commands of their own."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield parser
    for action in inner:
        for command in action.choices.values():
            yield from _commands(command)


def _page(parser: argparse.ArgumentParser) -> str:
    lines = [f"## `{parser.prog}`", _text(parser.description or "")]
    lines += [f"```sh\n{line}\n```" for line in re.findall(r"^Example: (.*)", parser.epilog or "", re.DOTALL)]
    shown = [action for action in parser._actions if action.help not in (None, argparse.SUPPRESS)]
    lines += [_argument(parser, action) for action in shown if action.dest != "help"]
    return "\n\n".join(lines)


def _argument(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """An argument as it is typed, and below it what it does."""
    names = [f"`{name}`" for name in action.option_strings]
    value = _value(action)
    if names and value:
        names[-1] = f"{names[-1][:-1]} {value}`"
    words = parser._get_formatter()._expand_help(action)  # which fills in %(default)s
    return f"{', '.join(names) or f'`{value}`'}\n: {_text(words)}"


def _value(action: argparse.Action) -> str:
    """What is typed for the argument; empty for a switch."""
    if action.nargs == 0:
        return ""
    if isinstance(action.metavar, tuple):
        return " ".join([*action.metavar, "…"])
    name = action.metavar or (",".join(map(str, action.choices)) if action.choices else action.dest.upper())
    return {"+": f"{name} …", "*": f"[{name} …]", "?": f"[{name}]"}.get(str(action.nargs), name)


def _text(words: str) -> str:
    """Plain text as Markdown: its signs stand for themselves."""
    return re.sub(r"([\\`*_<>\[\]|{}$])", r"\\\1", words)
