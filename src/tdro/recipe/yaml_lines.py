"""What is wrong with a recipe, by file, line and key, with the nearest right spelling.

``read_yaml`` keeps the YAML nodes beside the values, so that a key's line is known after pydantic has judged
the values; ``explain`` turns pydantic's errors into lines for people. PyYAML reads YAML 1.1, with three
traps for those who write recipes, all closed here: ``1e-3`` is text to it, ``no`` and ``12:30`` are not, and
of a key that is given twice the second silently counts. Rejected: ruamel.yaml, which knows lines and YAML
1.2, for one more dependency.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tdro.errors import UserError
from tdro.recipe.messages import nearest, short

_MOST_VALUES = 100_000  # of a recipe, aliases written out; the largest built-in one has some 500
SHOWN = 3  # errors that are printed; the rest is counted

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


def explain(error: ValidationError, path: Path | str, node: yaml.Node, model: type[BaseModel]) -> str:
    """Pydantic's errors as lines ``file, line n: key: what is wrong``, in the file's order; three at most."""
    errors = error.errors(include_url=False)
    misspelt = {target for details in errors if (target := _meant(details, model))}
    found: list[tuple[int, str]] = []
    for details in errors:
        loc = _place(details)
        if details["type"] == "missing" and loc in misspelt:
            continue  # the misspelt key is reported, with this one as the right spelling
        if details["type"] == "too_short" and any(
            _place(other)[: len(loc)] == loc != _place(other) for other in errors
        ):
            continue  # pydantic counts the good items only
        line = line_of(node, loc)
        text = f"{path}, line {line}: {dotted(loc)}: {_message(details, model)}"
        if (line, text) not in found:
            found.append((line, text))
    found.sort(key=lambda item: item[0])
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return "\n".join([text for _, text in found[:SHOWN]] + more)


def _place(details: ErrorDetails) -> tuple[str | int, ...]:
    """Where the error is; rules over several keys say themselves which one it is about."""
    return (*details["loc"], *details.get("ctx", {}).get("key", ()))


def _message(details: ErrorDetails, model: type[BaseModel]) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    expected = {
        "int_type": "a whole number",
        "float_type": "a number",
        "bool_type": "true or false",
        "string_type": "text",
        "path_type": "a path",
        "tuple_type": "a list",
        "dict_type": "a mapping of names",
        "model_type": "a mapping of keys",
        "finite_number": "a finite number",
    }
    bounds = {
        "greater_than": ("gt", "above"),
        "greater_than_equal": ("ge", "at least"),
        "less_than": ("lt", "below"),
        "less_than_equal": ("le", "at most"),
    }
    if kind == "extra_forbidden":
        return _unknown_key(details["loc"], model)
    if kind in expected:
        return f"expected {expected[kind]}, found {_found(value)}"
    if kind in bounds:
        name, word = bounds[kind]
        return f"must be {word} {context[name]:g}, found {_found(value)}"
    if kind == "literal_error":
        suggestion = nearest(value, re.findall(r"'(\w+)'", context["expected"])) if isinstance(value, str) else ""
        return f"expected {context['expected']}, found {_found(value)}{suggestion}"
    plain = {"missing": "missing; this key is required", "too_short": "must not be empty"}
    return plain.get(kind, details["msg"])


def _found(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) or abs(value) < 10**15 else "a huge number"
    if isinstance(value, str):
        return f"text {short(value)}"
    if isinstance(value, Mapping):
        return "a mapping of keys"
    return "a list" if isinstance(value, list | tuple) else type(value).__name__


def _unknown_key(loc: tuple[str | int, ...], model: type[BaseModel]) -> str:
    siblings = list(fields_at(model, loc[:-1]))
    suggestion = nearest(str(loc[-1]), siblings)
    if suggestion:
        return f"unknown key{suggestion}"
    elsewhere = [dotted((*place, str(loc[-1]))) for place, keys in _sections(model) if loc[-1] in keys]
    if elsewhere:
        return f"unknown key here; did you mean {' or '.join(elsewhere[:4])}?"
    return f"unknown key; known here: {', '.join(siblings)}"


def _meant(details: ErrorDetails, model: type[BaseModel]) -> tuple[str | int, ...] | None:
    """The key that a misspelt one stands for."""
    if details["type"] != "extra_forbidden":
        return None
    loc = details["loc"]
    match = re.search(r"'(\w+)'", nearest(str(loc[-1]), fields_at(model, loc[:-1])))
    return (*loc[:-1], match[1]) if match else None


def inner_model(annotation: Any) -> type[BaseModel] | None:
    """The model in ``M``, ``M | None``, ``tuple[M, ...]`` or ``dict[str, M]``, if there is one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, dict, Annotated, Union, UnionType):
        return next(filter(None, map(inner_model, get_args(annotation))), None)
    return None


def fields_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> Mapping[str, Any]:
    """The fields of the model that stands at ``loc`` below ``model``."""
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            model = inner_model(model.model_fields[part].annotation) or model
    return model.model_fields


def _sections(model: type[BaseModel], loc: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every model below ``model`` with its place."""
    yield loc, model.model_fields
    for name, field in model.model_fields.items():
        inner = inner_model(field.annotation)
        if inner is not None:
            yield from _sections(inner, (*loc, name))
