"""Decides which text is put before the queries and passages of a test set: an instruction, or the model's own prompt.

The user's instruction comes first. Without one, the model's prompts are looked up as mteb does, by the names that
:func:`tdro.models.prompts.saved_prompts` gives them: first the test set's name, then the kind of task (``Retrieval``),
then the kind of text (``query``, ``document``), as ``encode_query`` and ``encode_document`` do. So a model that tdro
trained gets the prompts of its training, and one that wants "query: " and "passage: " gets those. See
docs/decisions.md, no-instructions-unasked.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tdro.data.task import TestSet, prompt_of
from tdro.errors import UserError
from tdro.files import read_json
from tdro.recipe.yaml_lines import plain_yaml

# A model always has these two, empty if it does not say otherwise. So its default prompt is never used here, nor is a
# prompt named "passage": encode_document looks for "document".
_KINDS = {"query": "", "document": ""}
_TASK_TYPE = "Retrieval"  # mteb's name for the kind of task that every test set is


@dataclass(frozen=True)
class ModelPrompts:
    """A model's prompts by name."""

    by_name: Mapping[str, str]


@dataclass(frozen=True)
class Instruction:
    """What the queries of a test set ask for; if ``symmetric``, it is put before the passages too."""

    text: str
    symmetric: bool = False


def read_prompts(model: Path | str) -> ModelPrompts:
    """The prompts of a model's sentence-transformers folder; none if it has no file with them."""
    path = Path(model) / "config_sentence_transformers.json"
    return prompts_of(read_json(path)) if path.is_file() else ModelPrompts({})


def prompts_of(config: Mapping[str, Any]) -> ModelPrompts:
    """The prompts in a model's configuration (or ``vars(model)``)."""
    return ModelPrompts({name: text for name, text in (config.get("prompts") or {}).items() if isinstance(text, str)})


def read_instructions(given: Sequence[str]) -> dict[str, Instruction]:
    """Read the values of ``--instruction``: each is ``NAME=INSTRUCTION``, or a YAML or JSON file of instructions.

    A file maps each name to an instruction or to ``{instruction, symmetric}``, as a recipe's ``data.test_sets`` does.
    The name is that of a test set, of an mteb task, or of a benchmark. For one name, the last value given is taken.

    Raises:
        UserError: a value is neither of these, or a file holds something else.
    """
    found: dict[str, Instruction] = {}
    for text in given:
        name, equals, instruction = text.partition("=")
        if Path(text).suffix in (".yaml", ".yml", ".json"):
            found |= _file(Path(text))
        elif equals and name.strip():
            found[name.strip()] = Instruction(instruction.strip())
        else:
            raise UserError(f"--instruction {text}: expected NAME=INSTRUCTION, or a file of them (.yaml or .json)")
    return found


def prompts_for(
    names: Sequence[str], benchmark: str, instructions: Mapping[str, Instruction], prompts: ModelPrompts
) -> tuple[str, str]:
    """The text to put before the queries of a test set, and the one to put before its passages.

    Args:
        names: of the test set, the narrowest first: its own, its mteb task's, and that of what it is a part of.
        benchmark: the name that it was asked for by.
        instructions: of the user; if one of them fits, it is taken.
        prompts: of the model.
    """
    for name in (*names, benchmark):
        if given := instructions.get(name):
            prompt = prompt_of(given.text)
            return prompt, prompt if given.symmetric else ""
    return _own("query", names, prompts), _own("document", names, prompts)


def with_prompts(test: TestSet, prompts: ModelPrompts) -> TestSet:
    """The test set with the prompts to use: its own, else by its instruction, else the model's."""
    if test.prompts is not None:
        return test
    given = {test.name: Instruction(test.instruction, test.symmetric)} if test.instruction else {}
    return replace(test, prompts=prompts_for([test.name], "", given, prompts))


def as_its_recipe_says(test: TestSet) -> TestSet:
    """The test set for a model that its own recipe trained: with the recipe's prompts, whatever the model has.

    A model is saved with the prompts that the recipe's test sets had then. They may have changed since.
    """
    return replace(test, prompts=(test.prompt, test.passage_prompt))


def check_used(instructions: Mapping[str, Instruction], names: Iterable[str]) -> None:
    """Raise :class:`UserError` for an instruction whose name is none of these names."""
    names = set(names)
    for name in instructions:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(names)[:20])}"
            raise UserError(f"--instruction: nothing named {name!r} is evaluated; {hint}")


def _own(side: str, names: Sequence[str], prompts: ModelPrompts) -> str:
    """The model's own prompt before one kind of text, ``query`` or ``document``."""
    by_name = {**_KINDS, **prompts.by_name}
    wholes = (*(f"{name}-test" for name in names), *names, _TASK_TYPE)
    keys = [key for whole in wholes for key in (f"{whole}-{side}", whole)]
    return next(by_name[key] for key in (*keys, side) if key in by_name)


def _file(path: Path) -> dict[str, Instruction]:
    try:
        content = plain_yaml(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected names of test sets, and an instruction for each")
    return {str(name): _instruction(value, f"{path}: {name}") for name, value in content.items()}


def _instruction(value: Any, where: str) -> Instruction:
    entry = {"instruction": value} if isinstance(value, str) else value
    if not isinstance(entry, dict) or not entry.keys() <= {"instruction", "symmetric"}:
        raise UserError(f"{where}: expected an instruction, or 'instruction' and 'symmetric', found {value!r}")
    text, symmetric = entry.get("instruction"), entry.get("symmetric", False)
    if not isinstance(text, str) or not isinstance(symmetric, bool):
        raise UserError(f"{where}: 'instruction' must be text and 'symmetric' true or false")
    return Instruction(text.strip(), symmetric)
