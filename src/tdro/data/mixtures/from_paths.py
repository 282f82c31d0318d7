"""The mixture of a command that reads whole tasks: its paths are a mixture folder, a recipe, or a file a task.

A check, which reads raw rows instead, uses :mod:`tdro.data.mixtures.paths`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tdro.console import say
from tdro.data.mixtures.build import built_task
from tdro.data.mixtures.folder import read_mixture
from tdro.data.mixtures.from_recipe import source_mixture
from tdro.data.task import Mixture, Task
from tdro.errors import UserError
from tdro.recipe.data_sections import Source
from tdro.recipe.schema import load_recipe


def mixture_of(paths: Sequence[str]) -> Mixture:
    """The mixture that paths name. What is wrong with a source's rows, or is not read of them, is printed.

    Args:
        paths: any number of sources, each of which is a task; or one mixture folder; or one recipe with sources.

    Raises:
        UserError: an input is missing or broken.
    """
    if any((Path(path).expanduser() / "mixture.json").is_file() for path in paths):
        if len(paths) > 1:
            raise UserError("give one mixture folder, or data files only")
        return read_mixture(Path(paths[0]).expanduser(), say=say)
    if len(paths) == 1 and Path(paths[0]).suffix in (".yaml", ".yml"):
        return _of_recipe(paths[0])
    return Mixture(_build_tasks(paths))


def _of_recipe(path: str) -> Mixture:
    """The mixture of a recipe's sources."""
    data = load_recipe(Path(path)).data
    if data.sources is None:
        raise UserError(f"{path}: has no data.sources; give the folder of its mixture instead")
    return source_mixture(data, say)


def _build_tasks(paths: Sequence[str]) -> list[Task]:
    """Build each path as a source, in the user's cache. A task is named after its file: ``faq.csv`` becomes ``faq``."""
    tasks: dict[str, Task] = {}
    for path in paths:
        name = re.sub(r"[^\w.-]+", "-", Path(path).name.partition(".")[0]).lstrip(".-") or "task"
        if name in tasks:
            raise UserError(f"{path}: a second task would be named {name!r}; rename the file, or write a recipe")
        built = built_task(Source.model_construct(source=path), name)
        if built.notable:
            say(built.summary(name))
        tasks[name] = Task(name, built.open(), source=path, fingerprint=built.fingerprint)
    return list(tasks.values())
