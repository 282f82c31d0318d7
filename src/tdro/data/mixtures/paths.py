"""The raw rows that a data command's paths name: a mixture folder's, a recipe's, or one source's.

A folder with a ``mixture.json`` is a mixture, a YAML file is a recipe, everything else a source. Commands that need
whole tasks use :mod:`tdro.data.mixtures.from_paths`. See docs/decisions.md, paths-without-options.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tdro.data.read.jsonl import raw_rows
from tdro.data.read.sources import Part, open_source
from tdro.errors import UserError
from tdro.files import exists
from tdro.recipe.builtin import find, names_recipe
from tdro.recipe.source_kinds import looks_like_file

if TYPE_CHECKING:
    from tdro.recipe.schema import Recipe


@dataclass(frozen=True)
class RawTask:
    """One task's raw rows.

    Attributes:
        name: the task's name.
        parts: a function that opens the task's files.
        columns: which of the files' columns is which of ours, as :func:`tdro.data.read.rows.row_from` takes it:
            ``{"query": "question"}``, say. None: they are recognised by their names.
        limit: how many usable rows are read; None for all.
        batch: the rows of the largest training step that is filled from one task; None if no recipe says.
        mixture: whether it is the file of a mixture folder. Such files are read strictly: one wrong row, and no
            training begins.
        beside: a line for each file that lies beside the task's files and is not read.
    """

    name: str
    parts: Callable[[], list[Part]]
    columns: Mapping[str, str] | None = None
    limit: int | None = None
    batch: int | None = None
    mixture: bool = False
    beside: Sequence[str] = ()


def find_raw_tasks(path: str) -> list[RawTask]:
    """The tasks that a path names.

    Args:
        path: a source, which is one task; or a mixture folder; or a recipe, as a YAML file or by a built-in name.

    Raises:
        UserError: there is no such file, folder, recipe or data set, or it is broken.
    """
    if names_recipe(path):
        from tdro.recipe.schema import load_recipe  # it takes as long as a check of 5,000 rows

        return list(_of_recipe(load_recipe(find(path))))
    there = exists(path)
    if not there and (not path or looks_like_file(path)):
        raise UserError(f"{path}: no such file or folder")
    place = Path(path).expanduser()
    if there and (place / "mixture.json").is_file():
        return list(_of_mixture(place))
    opened = open_source(path)
    return [RawTask(place.name.partition(".")[0] or path, opened.parts, beside=opened.beside)]


def _of_mixture(folder: Path, chosen: Iterable[str] | None = None, batch: int | None = None) -> Iterator[RawTask]:
    """The tasks of a mixture folder: those that are chosen, or all."""
    from tdro.data.mixtures.folder import task_files

    # A mixture's files call their columns as we do, and have no labels.
    own = {name: name for name in ("query", "positives", "negatives")} | {"label": ""}
    for name, file in task_files(folder).items():
        if chosen is None or name in chosen:
            parts = functools.partial(_jsonl_part, file)
            yield RawTask(name, parts, own, batch=batch, mixture=True)


def _jsonl_part(file: Path) -> list[Part]:
    """A JSONL file as the only part of a source."""
    try:
        size = file.stat().st_size
    except OSError as error:
        raise UserError(f"{file}: cannot be opened ({error.strerror})") from error
    return [Part(str(file), functools.partial(raw_rows, file), size, "B")]


def _of_recipe(recipe: Recipe) -> Iterator[RawTask]:
    """The tasks that a recipe trains on."""
    data = recipe.data
    batch = max([recipe.reference.batch, *(group.batch for group in recipe.finetune)])
    if data.mixture == "sample":
        from tdro.disk import cache_folder

        folder = cache_folder() / "sample-mixture"
        if not folder.is_dir():
            raise UserError("the sample mixture is not built yet; run `tdro sample` first")
        yield from _of_mixture(folder, data.tasks, batch)
    elif data.mixture is not None:
        yield from _of_mixture(Path(data.mixture).expanduser(), data.tasks, batch)
    for name, source in (data.sources or {}).items():
        if data.tasks is None or name in data.tasks:
            opened = open_source(source.source, source.subset, source.split)
            yield RawTask(name, opened.parts, source.columns, source.limit, batch, beside=opened.beside)
