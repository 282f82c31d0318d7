"""The JSON schema of a recipe, with which editors complete and check it: ``tdro recipe --schema``.

It is made from the sections' fields and their descriptions. It says what a recipe may look like; what else must fit
together, :func:`tdro.recipe.schema.load_recipe` checks. See docs/decisions.md, schema-beside-the-recipe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tdro.errors import UserError
from tdro.files import read_json, write_json
from tdro.recipe.schema import Recipe

SCHEMA_FILE = "recipe.schema.json"
FIRST_LINE = f"# yaml-language-server: $schema={SCHEMA_FILE}"  # of a recipe; editors read it
_TITLE = "A recipe of tdro"
_ALONE = ("Source", "TestFolder")  # sections that may be a text instead: the file or folder alone


def recipe_schema() -> dict[str, Any]:
    """The schema, of JSON Schema's draft 2020-12."""
    schema = Recipe.model_json_schema()
    sections = schema["$defs"]
    for name in _ALONE:
        section = sections[name]
        sections[name] = {"description": section.pop("description"), "anyOf": [{"type": "string"}, section]}
    sources = sections["Data"]["properties"]["sources"]
    sources["anyOf"] = [{"type": "string"}, *sources["anyOf"]]  # a file with the sources, or "paper"
    schema["properties"]["folder"].pop("default")  # runs/NAME, which no schema can say
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": _TITLE}


def schema_path(recipe: Path) -> Path:
    """Where the schema is: beside the recipe, as its first line says.

    Raises:
        UserError: another file has that name.
    """
    path = recipe.parent / SCHEMA_FILE
    if path.exists():
        found = read_json(path)
        if not isinstance(found, dict) or found.get("title") != _TITLE:
            raise UserError(f"{path}: is there already and no schema of tdro's; rename it")
    return path


def write_schema(recipe: Path) -> Path:
    """Write the schema beside a recipe; an older one is replaced. Returns and raises as :func:`schema_path`."""
    path = schema_path(recipe)
    write_json(path, recipe_schema())
    return path
