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

_MOST_VALUES = 100_000  # of a recipe, aliases written out; the largest built-in one has some 500

# Plain scalars of YAML 1.2 (core schema) and of merge keys: tag, pattern, what they start with.
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
    """SafeLoader with the plain scalars of YAML 1.2: no dates, no sexagesimal numbers, no yes and no."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's name)


class RecipeDumper(yaml.SafeDumper):
    """SafeDumper that quotes whatever either YAML version would not read back as text."""


for _name, _pattern, _starts in _SCALARS:
    _tag, _whole = f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_pattern})$")
    _Loader.add_implicit_resolver(_tag, _whole, _starts)
    if _name == "float":
        RecipeDumper.add_implicit_resolver(_tag, _whole, _starts)


def read_yaml(path: Path | str) -> tuple[dict[str, Any], yaml.MappingNode]:
    """The values of a YAML file and its nodes. Raises :class:`UserError` by line for what is no recipe."""
    try:
        loader = _Loader(Path(path).read_bytes().decode("utf-8-sig"))
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            found = "is empty" if node is None else f"line {node.start_mark.line + 1}: is no recipe"
            raise UserError(f"{path}{':' if node is None else ','} {found}; expected lines of the form 'key: value'")
        _refuse_duplicates(node, path, (), set())
        _written_out(node, path, {})
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
        # PyYAML's constructors of explicit tags (`!!int abc`) and of endless numbers raise these bare.
        raise UserError(f"{path}: holds a value that YAML cannot read; remove explicit tags such as !!int") from None


def plain_yaml(text: str, where: Path | str) -> Any:
    """The values of YAML that other people wrote and that is no recipe, such as the front matter of a model's card.

    Raises:
        UserError: it is no YAML, has a value that does not exist (``2024-13-45``), or is endless.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _written_out(node, where, {})
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise UserError(f"{where}{_yaml_problem(error)}") from None
    except (RecursionError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where}: holds a value that YAML cannot read ({type(error).__name__})") from None


def _written_out(node: yaml.Node, path: Path | str, known: dict[int, int]) -> int:
    """How many values a node has, with aliases and merges written out. Raises for one that no recipe needs.

    Ten aliases of ten aliases, seven times over, are 10 million values in a file of a few lines.
    """
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = _MOST_VALUES + 1  # until it is counted: a node in itself has no end
    inner = node.value if isinstance(node, yaml.CollectionNode) else []
    parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
    count = 1 + sum(_written_out(part, path, known) for part in parts)
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


def _refuse_duplicates(node: yaml.Node, path: Path | str, loc: tuple[str | int, ...], seen: set[int]) -> None:
    """Raise for a key that stands twice in one mapping, or is no plain word. An alias is looked at once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _refuse_duplicates(item, path, (*loc, index), seen)
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
        _refuse_duplicates(value, path, (*loc, key.value), seen)


def dotted(loc: tuple[str | int, ...]) -> str:
    """``weights.steps`` or ``finetune[0].seeds[1]``."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = part if re.fullmatch(r"[\w<>-]{1,60}", part) else short(part)
            text += f".{word}" if text else word
    return text


def line_of(node: yaml.Node, loc: tuple[str | int, ...]) -> int:
    """Line (from 1) of the key or list item at ``loc``, or of the innermost part of it that is there."""
    line = node.start_mark.line + 1
    for part in loc:
        inner: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:  # the last one wins: merged keys (<<) stand before a mapping's own
                if key.value == str(part):
                    inner, line = value, key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            inner = node.value[part]
            line = inner.start_mark.line + 1
        if inner is None:
            break
        node = inner
    return line
