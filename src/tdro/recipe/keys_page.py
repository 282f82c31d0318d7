"""The page of all keys, made from the fields of :class:`tdro.recipe.schema.Recipe`, so that it is never out of date.

``tdro recipe --keys`` prints it and ``docs/recipe.md`` is a copy, which a test compares. To renew the copy:
``tdro recipe --keys > docs/recipe.md``.
"""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tdro.recipe.data_sections import Data, Negatives, Source, TestFolder
from tdro.recipe.finetune_section import Finetune
from tdro.recipe.schema import Evaluate, Recipe
from tdro.recipe.target_section import Target
from tdro.recipe.training_sections import Base, Gain, LearnWeights, Lora, Training

_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text"}
_SIGNS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
# Title of a section, the class of its keys, and the class whose keys it shares, which are not listed again.
_SECTIONS: tuple[tuple[str, type[BaseModel], type[BaseModel] | None], ...] = (
    ("Top level", Recipe, None),
    ("data", Data, None),
    ("data.sources.<name>", Source, None),
    ("data.test_sets.<name>", TestFolder, None),
    ("negatives", Negatives, None),
    ("base", Base, None),
    ("base.lora", Lora, None),
    ("reference", Training, None),
    ("weights", LearnWeights, Training),
    ("gain", Gain, None),
    ("gain.target", Target, None),
    ("finetune", Finetune, Training),
    ("evaluate", Evaluate, None),
)
_INTRODUCTION = """# Every key of a recipe

A recipe is a YAML file: `tdro run recipe.yaml`. `name` and `base` are required; everything else has a
default, the paper's unless said otherwise. Print a recipe to start from with `tdro recipe quickstart`. Paths
are relative to the current folder. A key that is unknown, given twice, of a wrong type or impossible is
refused with its line.

*This page is made by `tdro recipe --keys`; edit the descriptions in `src/tdro/recipe/*.py` instead.*
"""


def keys_of_sections() -> dict[str, list[dict[str, str]]]:
    """For each section of a recipe its keys, each with ``key``, ``type``, ``default`` and ``meaning``."""
    return {
        title: [_cells(name, field) for name, field in _listed(model, shared)] for title, model, shared in _SECTIONS
    }


def keys_as_markdown() -> str:
    """The page: for each section of a recipe a heading and a table with key, type, default and meaning."""
    parts = [_INTRODUCTION]
    for title, model, shared in _SECTIONS:
        heading = title if title == "Top level" else f"`{title}`"
        text = " ".join((model.__doc__ or "").split())
        if title == "finetune":
            text += " A list: each entry begins with `- name: ...`."
        if shared is not None:
            text += " All keys of `reference` (above) with the same defaults, but for:"
        rows = [_row(name, field) for name, field in _listed(model, shared)]
        table = "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])
        parts.append(f"## {heading}\n\n{text}\n\n{table}\n")
    return "\n".join(parts)


def _listed(model: type[BaseModel], shared: type[BaseModel] | None) -> list[tuple[str, FieldInfo]]:
    """The keys of a section, without those that it shares with another."""
    return [
        (name, field)
        for name, field in model.model_fields.items()
        if shared is None or not _same(field, shared.model_fields.get(name))
    ]


def _same(field: FieldInfo, other: FieldInfo | None) -> bool:
    return other is not None and (field.default, field.description) == (other.default, other.description)


def _row(name: str, field: FieldInfo) -> str:
    key, *cells = _cells(name, field).values()
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in [f'`{key}`', *cells])} |"


def _cells(name: str, field: FieldInfo) -> dict[str, str]:
    limits = [
        f"{sign} {value:,}" if isinstance(value := getattr(limit, bound), int) else f"{sign} {value:g}"
        for limit in field.metadata
        for bound, sign in _SIGNS.items()
        if hasattr(limit, bound)
    ]
    kind = " ".join([_type(field.annotation), ", ".join(limits)]).strip()
    return {"key": name, "type": kind, "default": _default(name, field), "meaning": field.description or ""}


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if name == "folder":
        return "`runs/<name>`"  # the field's own default is replaced by one that is made from the name
    if field.default is PydanticUndefined or isinstance(field.default, BaseModel):
        return "its defaults"
    value = field.default
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if value is None or isinstance(value, bool):
        return f"`{ {None: 'null', True: 'true', False: 'false'}[value] }`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`" if value != "" else "empty"


def _type(annotation: Any) -> str:
    """A type in words. That a key may be null is said by its description."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_type(part) for part in arguments if part is not type(None))
    if origin in (tuple, dict):
        item = _type(arguments[0] if origin is tuple else arguments[1]).replace("section", "sections")
        return f"list of {item}" if origin is tuple else f"mapping of names to {item}"
    return _WORDS.get(annotation, "path")
