"""What stands before the queries and the passages of a test set: the user's instruction, or the model's own prompts.

A model's prompts are looked up as mteb does it, and as :func:`tdro.retriever.prompts.saved_prompts` names them: by the
test set's name, then by the kind of text (``query``, ``document``). So a model that tdro trained is asked as it was
trained, and one that wants "query: " and "passage: " gets them. Rejected: mteb's own instructions for its tasks where
nobody asked for them; a model that has never seen an instruction is worse with one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdro.data.task import prompt_of
from tdro.errors import UserError
from tdro.files import read_json

_QUERY, _PASSAGE = ("query",), ("document", "passage", "corpus")  # names of prompts, as sentence-transformers has them


@dataclass(frozen=True)
class Prompts:
    """A model's prompts by name, and the text that it puts before everything else (``default_prompt_name``)."""

    by_name: Mapping[str, str]
    default: str = ""


@dataclass(frozen=True)
class Instruction:
    """What the queries of a test set ask for; ``symmetric``: it stands before the passages too."""

    text: str
    symmetric: bool = False


def read_prompts(model: Path | str) -> Prompts:
    """The prompts of a sentence-transformers folder; none if it has no such file."""
    path = Path(model) / "config_sentence_transformers.json"
    return prompts_of(read_json(path)) if path.is_file() else Prompts({})


def prompts_of(config: Mapping[str, Any]) -> Prompts:
    """The prompts in a model's configuration (or ``vars(model)``): ``prompts`` and ``default_prompt_name``."""
    by_name = {name: text for name, text in (config.get("prompts") or {}).items() if isinstance(text, str)}
    return Prompts(by_name, by_name.get(config.get("default_prompt_name") or "", ""))


def read_instructions(given: Sequence[str]) -> dict[str, Instruction]:
    """Instructions by test set, from ``NAME=INSTRUCTION`` and from YAML or JSON files.

    A file maps names to an instruction or to ``{instruction, symmetric}``, as in a recipe's ``data.test_sets``. Names
    are those of test sets, of mteb's tasks, or of benchmarks; what is given later wins.

    Raises:
        UserError: neither a file nor NAME=INSTRUCTION, or something else in a file.
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


def sides(
    names: Sequence[str], benchmark: str, instructions: Mapping[str, Instruction], prompts: Prompts
) -> tuple[str, str]:
    """The texts before queries and before passages.

    Args:
        names: of the test set, the narrowest first: its own, mteb's task, the whole that it is a part of.
        benchmark: that it was asked for with.
        instructions: of the user; they win.
        prompts: of the model.
    """
    for name in (*names, benchmark):
        if given := instructions.get(name):
            prompt = prompt_of(given.text)
            return prompt, prompt if given.symmetric else ""
    for name in (*(f"{name}-test" for name in names), *names):
        both = prompts.by_name.get(name)
        query, passage = (prompts.by_name.get(f"{name}-{side}", both) for side in ("query", "document"))
        if query is not None or passage is not None:
            return query or "", passage or ""
    return _first(prompts, _QUERY), _first(prompts, _PASSAGE)


def check_used(instructions: Mapping[str, Instruction], names: Iterable[str]) -> None:
    """Raise :class:`UserError` for an instruction that is for none of the names."""
    names = set(names)
    for name in instructions:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(names)[:20])}"
            raise UserError(f"--instruction: nothing named {name!r} is evaluated; {hint}")


def _first(prompts: Prompts, names: Sequence[str]) -> str:
    return next((prompts.by_name[name] for name in names if name in prompts.by_name), prompts.default)


def _file(path: Path) -> dict[str, Instruction]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())[:200]})") from error
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
