"""Reads YAML and remembers the line of each key.

:func:`read_yaml` returns the nodes of the file beside its values, so that a message about a value can name its line.
PyYAML reads YAML 1.1, which surprises people who write recipes in three ways. All three are mended here: ``1e-3`` is a
number and not text; ``no`` and ``12:30`` are text; and a key that is given twice is an error, where PyYAML silently
takes the second. See docs/decisions.md, yaml-library.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tdro.errors import UserError
from tdro.recipe.messages import short

_MOST_VALUES = 100_000  # in a file, with aliases written out; the largest built-in recipe has some 500

# What an unquoted word means in YAML 1.2 (its core schema, and merge keys): tag, pattern, possible first characters.
_SCALARS = (
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("bool", r"true|True|TRUE|false|False|FALSE", tuple("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][\d_]*)", tuple("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\d[\d_]*\.\d*|\.\d+|\d[\d_]*(?=[eE]))(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        tuple("-+.0123456789"),
    ),
    ("merge", "<<", ("<",)),
)


class _Loader(yaml.SafeLoader):
    """PyYAML's SafeLoader with the unquoted words of YAML 1.2: dates, 12:30, yes and no are text."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's name)


class RecipeDumper(yaml.SafeDumper):
    """PyYAML's SafeDumper, which also quotes a text that only YAML 1.2 takes for a number, such as "1e-3"."""


for _name, _pattern, _starts in _SCALARS:
    _tag, _whole = f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_pattern})$")
    _Loader.add_implicit_resolver(_tag, _whole, _starts)
    if _name == "float":
        RecipeDumper.add_implicit_resolver(_tag, _whole, _starts)


def read_yaml(path: Path | str) -> tuple[dict[str, Any], yaml.MappingNode]:
    """Read a recipe, or a file of sources.

    Returns:
        the values, and PyYAML's node of the whole file, in which :func:`line_of` finds the line of a key.

    Raises:
        UserError: the file is missing, is no YAML, or is no mapping of words; with the line where there is one.
    """
    try:
        loader = _Loader(Path(path).read_bytes().decode("utf-8-sig"))
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            found = "is empty" if node is None else f"line {node.start_mark.line + 1}: is no recipe"
            raise UserError(f"{path}{':' if node is None else ','} {found}; expected lines of the form 'key: value'")
        _check_keys(node, path, (), set())
        _count_values(node, path, {})
        return loader.construct_document(node), node
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; give the recipe's file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}{_yaml_problem(error)}") from None
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply to be a recipe") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        # PyYAML raises these for an explicit tag that does not fit (`!!int abc`) and for a number of 5,000 digits.
        raise UserError(f"{path}: holds a value that YAML cannot read; remove explicit tags such as !!int") from None


def plain_yaml(text: str, where: Path | str) -> Any:
    """The values of YAML that is no recipe and that other people wrote, such as the front matter of a model card.

    It is read as YAML 1.1, which most programs mean.

    Args:
        text: the YAML.
        where: it is from; stands before an error's message.

    Raises:
        UserError: it is no YAML, holds a date that does not exist (``2024-13-45``), or has endlessly many values.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count_values(node, where, {})
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise UserError(f"{where}{_yaml_problem(error)}") from None
    except (RecursionError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where}: holds a value that YAML cannot read ({type(error).__name__})") from None


def _count_values(node: yaml.Node, path: Path | str, known: dict[int, int]) -> int:
    """How many values a node has when its aliases are written out. Raises if there are more than any recipe needs.

    A file of a few lines can stand for 10 million values: ten aliases of ten aliases of ten aliases, seven times over.

    Args:
        node: to count.
        path: of the file, for the message.
        known: the counts of nodes that were counted before, by ``id``.
    """
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = _MOST_VALUES + 1  # stays until the node is counted, for a node that contains itself
    inner = node.value if isinstance(node, yaml.CollectionNode) else []
    parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
    count = 1 + sum(_count_values(part, path, known) for part in parts)
    if count > _MOST_VALUES:
        line = node.start_mark.line + 1
        raise UserError(f"{path}, line {line}: its aliases (*) make more than {_MOST_VALUES:,} values; write them out")
    known[id(node)] = count
    return count


def _yaml_problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        problem = error.problem or "not YAML"
        if "'\\t'" in problem:
            problem = "a tab; indent with spaces (YAML allows no tabs before a key)"
        return f", line {error.problem_mark.line + 1}: {problem}"
    return f": not YAML ({str(error).splitlines()[0]})"


def _check_keys(node: yaml.Node, path: Path | str, loc: tuple[str | int, ...], checked: set[int]) -> None:
    """Raise for a key that stands twice in one mapping, or that is no word.

    Args:
        node: to check, with all that is in it.
        path: of the file, for the message.
        loc: keys and places in lists that lead to the node.
        checked: ``id`` of the nodes that were checked before, which aliases lead to again.
    """
    if id(node) in checked:
        return
    checked.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _check_keys(item, path, (*loc, index), checked)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise UserError(f"{path}, line {line}: a list or mapping cannot be a key")
        if not key.tag.endswith((":str", ":merge")):
            raise UserError(f"{path}, line {line}: {dotted((*loc, key.value))}: unknown key; keys are words")
        if key.value in lines:
            place = dotted((*loc, key.value))
            raise UserError(f"{path}, line {line}: {place}: given twice (first on line {lines[key.value]})")
        lines[key.value] = line
        _check_keys(value, path, (*loc, key.value), checked)


def dotted(loc: tuple[str | int, ...]) -> str:
    """A place in a recipe as messages write it: ``weights.steps`` or ``finetune[0].seeds[1]``."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = part if re.fullmatch(r"[\w<>-]{1,60}", part) else short(part)
            text += f".{word}" if text else word
    return text


def line_of(node: yaml.Node, loc: tuple[str | int, ...]) -> int:
    """The line, from 1, of the key or list item at ``loc``.

    If it is not in the file, such as a key that is missing, the line of the innermost section around it that is.
    """
    line = node.start_mark.line + 1
    for part in loc:
        inner: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:  # the last one counts: PyYAML puts merged keys (<<) before a mapping's own
                if key.value == str(part):
                    inner, line = value, key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            inner = node.value[part]
            line = inner.start_mark.line + 1
        if inner is None:
            break
        node = inner
    return line
