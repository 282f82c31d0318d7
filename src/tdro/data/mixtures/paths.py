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
from tdro.recipe.source_kinds import looks_like_file

if TYPE_CHECKING:
    from tdro.recipe.data_sections import Source
    from tdro.recipe.schema import Recipe


@dataclass(frozen=True)
class RawTask:
    """One task's raw rows.

    Attributes:
        name: of the task.
        parts: opens its files.
        columns: names of the schema to the files' own, as :func:`tdro.data.read.rows.row_from` takes them.
        limit: usable rows after which no more are read.
        batch: rows of the largest step that one task fills, where a recipe says.
        mixture: a mixture's file, which is read strictly: one wrong row and no training begins.
        beside: what lies beside its files and is not read, a line each.
    """

    name: str
    parts: Callable[[], list[Part]]
    columns: Mapping[str, str] | None = None
    limit: int | None = None
    batch: int | None = None
    mixture: bool = False
    beside: Sequence[str] = ()


def find_raw_tasks(path: str) -> list[RawTask]:
    """The tasks that a path names: a mixture folder's, a recipe's (a YAML file or a built-in name), or the one source.

    Raises:
        UserError: there is no such file, folder, recipe or data set, or it is broken.
    """
    from tdro.recipe.builtin import built_in, find
    from tdro.recipe.data_sections import Source
    from tdro.recipe.rules import exists
    from tdro.recipe.schema import load_recipe

    there = exists(path)
    if Path(path).suffix in (".yaml", ".yml") or (not there and path in built_in()):
        return list(_of_recipe(load_recipe(find(path))))
    if not there and (not path or looks_like_file(path)):
        raise UserError(f"{path}: no such file or folder")
    place = Path(path).expanduser()
    if there and (place / "mixture.json").is_file():
        return list(_of_mixture(place))
    return [_of_source(Source.model_construct(source=path), place.name.partition(".")[0] or path)]


def _of_mixture(folder: Path, chosen: Iterable[str] | None = None, batch: int | None = None) -> Iterator[RawTask]:
    from tdro.data.mixtures.folder import task_files

    own = {what: what for what in ("query", "positives", "negatives")} | {"label": ""}  # it has no other names for them
    for name, file in task_files(folder).items():
        if chosen is None or name in chosen:
            parts = functools.partial(_jsonl, file)
            yield RawTask(name, parts, own, batch=batch, mixture=True)


def _jsonl(file: Path) -> list[Part]:
    try:
        size = file.stat().st_size
    except OSError as error:
        raise UserError(f"{file}: cannot be opened ({error.strerror})") from error
    return [Part(str(file), functools.partial(raw_rows, file), size, "B")]


def _of_recipe(recipe: Recipe) -> Iterator[RawTask]:
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
            yield _of_source(source, name, batch)


def _of_source(source: Source, name: str, batch: int | None = None) -> RawTask:
    opened = open_source(source)
    return RawTask(name, opened.parts, source.columns, source.limit, batch, beside=opened.beside)
