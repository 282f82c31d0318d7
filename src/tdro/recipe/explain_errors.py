"""Turns what is wrong with a recipe into messages with file, line and key, and the nearest right spelling.

Pydantic checks the values of a recipe and lists its errors. :func:`explain_errors` writes each of them as people need
it: ``recipe.yaml, line 7: weights.stepps: unknown key; did you mean 'steps'?``
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

from tdro.recipe.messages import nearest, short
from tdro.recipe.yaml_lines import dotted, line_of

_SHOWN = 3  # errors that are printed; the others are counted


def explain_errors(error: ValidationError, path: Path | str, node: yaml.Node, model: type[BaseModel]) -> str:
    """Pydantic's errors as lines of text, in the order of the file: three, and how many more there are.

    Args:
        error: what pydantic found.
        path: of the recipe.
        node: of the whole file, from :func:`tdro.recipe.yaml_lines.read_yaml`.
        model: the class that was checked, usually :class:`tdro.recipe.schema.Recipe`.
    """
    errors = error.errors(include_url=False)
    misspelt = {target for details in errors if (target := _meant_key(details, model))}
    found: list[tuple[int, str]] = []
    for details in errors:
        loc = _place(details)
        if details["type"] == "missing" and loc in misspelt:
            continue  # the misspelt key is reported already, and says that this one is meant
        if details["type"] == "too_short" and any(
            _place(other)[: len(loc)] == loc != _place(other) for other in errors
        ):
            continue  # the list is not empty: pydantic does not count items with errors of their own
        line = line_of(node, loc)
        text = f"{path}, line {line}: {dotted(loc)}: {_message(details, model)}"
        if (line, text) not in found:
            found.append((line, text))
    found.sort(key=lambda item: item[0])
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return "\n".join([text for _, text in found[:_SHOWN]] + more)


def explain_values(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Pydantic's errors about values that stand in no file: ``weights.stepps: unknown key; did you mean 'steps'?``"""
    errors = error.errors(include_url=False)
    return list(dict.fromkeys(f"{dotted(_place(details))}: {_message(details, model)}" for details in errors))[:_SHOWN]


def _place(details: ErrorDetails) -> tuple[str | int, ...]:
    """The key that the error is about. A check of several keys names it itself, in the error's context."""
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
    siblings = list(_fields_at(model, loc[:-1]))
    suggestion = nearest(str(loc[-1]), siblings)
    if suggestion:
        return f"unknown key{suggestion}"
    elsewhere = [dotted((*place, str(loc[-1]))) for place, keys in _sections(model) if loc[-1] in keys]
    if elsewhere:
        return f"unknown key here; did you mean {' or '.join(elsewhere[:4])}?"
    return f"unknown key; known here: {', '.join(siblings)}"


def _meant_key(details: ErrorDetails, model: type[BaseModel]) -> tuple[str | int, ...] | None:
    """The key that a misspelt one stands for; None if the error is another, or no key is near."""
    if details["type"] != "extra_forbidden":
        return None
    loc = details["loc"]
    match = re.search(r"'(\w+)'", nearest(str(loc[-1]), _fields_at(model, loc[:-1])))
    return (*loc[:-1], match[1]) if match else None


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    """The section in a type: ``M`` in ``M``, ``M | None``, ``tuple[M, ...]`` and ``dict[str, M]``; else None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, dict, Annotated, Union, UnionType):
        return next(filter(None, map(_inner_model, get_args(annotation))), None)
    return None


def _fields_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> Mapping[str, Any]:
    """The fields of the section at ``loc`` in ``model``."""
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            model = _inner_model(model.model_fields[part].annotation) or model
    return model.model_fields


def _sections(model: type[BaseModel], loc: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every section of ``model``, itself first, as its place and its fields."""
    yield loc, model.model_fields
    for name, field in model.model_fields.items():
        inner = _inner_model(field.annotation)
        if inner is not None:
            yield from _sections(inner, (*loc, name))
