"""``tdro init``: files looked at, settings by rules, and a recipe that is known to load before it is written."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic_core import PydanticCustomError

from tdro.disk import check_writable
from tdro.errors import UserError
from tdro.files import write_atomic
from tdro.init.hold_out import hold_out
from tdro.init.look_at_files import Looked, look, task_names
from tdro.init.recipe_text import Source, Test, recipe_text
from tdro.init.rules import Settings, settings_for
from tdro.models.base_tokens import base_tokens
from tdro.planning.base_kind import base_of
from tdro.planning.device import planned_device
from tdro.planning.shape import read_shape
from tdro.recipe.rules import beir_folder
from tdro.recipe.schema import Base, load_recipe


def init_recipe(
    files: Sequence[str],
    model: str,
    out: Path,
    columns: Mapping[str, Mapping[str, str]] | None = None,
    tests: Sequence[str] = (),
    held: int = 0,
    force: bool = False,
) -> str:
    """Write a recipe for files, and say in a few lines what was found.

    Args:
        files: data files, folders or hub ids; a task each.
        model: the base.
        out: the recipe's file.
        columns: a file's columns, by file.
        tests: folders in BEIR's layout.
        held: queries of each task to make a test set of, in the folder ``<recipe>-held-out`` beside the recipe.
        force: overwrite the recipe and that folder.

    Raises:
        UserError: a file, a model or a test set that is not there or cannot be understood, or ``out`` is there.
    """
    check_writable(out)
    if out.exists() and not force:
        raise UserError(f"{out}: is there already; name another one with --out, or overwrite it with --force")
    if stray := sorted(set(columns or {}) - set(files)):
        raise UserError(f"--columns {stray[0]}: is none of the files; write it as it stands among them")
    named = _tests(tests)
    base = base_of(model)
    tokens = base_tokens(base)
    looked = look(files, tokens.count, columns or {})
    sources = [Source(one, one.source, one.card.rows) for one in looked]
    folder = out.with_name(f"{out.stem}-held-out")
    if held:
        left = hold_out([one.task for one in looked], held, folder, force)
        sources = [Source(one, str(folder / "train" / f"{one.name}.jsonl"), left[one.name]) for one in looked]
        named = [Test(one.name, str(folder / "tests" / one.name), one.name) for one in looked] + named
    names = {one.name for one in looked}
    named = [Test(test.name, test.folder, test.task or (test.name if test.name in names else "")) for test in named]
    if twice := [test for place, test in enumerate(named) if test.name in {other.name for other in named[:place]}]:
        raise UserError(
            f"--tests {twice[0].folder}: a second test set would be named {twice[0].name!r}; rename the folder"
        )
    device = planned_device("auto", "auto")
    settings = settings_for(
        [one.card for one in looked],
        [one.rows for one in sources],
        base.kind,
        device,
        _parameters(base),
        tokens.longest,
    )
    name = re.sub(r"[^\w-]+", "-", out.stem).strip("-")[:80] or "recipe"
    text = recipe_text(name, sources, named, base, settings, device.kind)
    _loads(text)
    try:
        write_atomic(out, text)
    except BaseException:
        if held and not force:  # else the same command would find it there
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return _said(looked, sources, named, settings, out)


def _tests(folders: Sequence[str]) -> list[Test]:
    for folder in folders:
        try:
            beir_folder(folder)
        except PydanticCustomError as error:
            raise UserError(f"--tests: {error.message()}") from None
    return [Test(name, folder) for name, folder in zip(task_names(folders), folders, strict=True)]


def _parameters(base: Base) -> int | None:
    try:
        return read_shape(base).parameters
    except UserError:  # of an unusual make; nothing but a rule about memory depends on it
        return None


def _loads(text: str) -> None:
    """Raise what a run would say of the recipe."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        load_recipe(path)


def _said(
    looked: Sequence[Looked], sources: Sequence[Source], tests: Sequence[Test], settings: Settings, out: Path
) -> str:
    lines = []
    for one, source in zip(looked, sources, strict=True):
        lines += [*one.built.beside, one.built.row_counts(one.name), f"  {one.columns.summary}"]
        if one.columns.guessed:
            lines.append("  taken for what their names mean; see that it is right")
        if source.rows != one.card.rows:
            lines.append(f"  {one.card.rows - source.rows:,} rows held out for the test set, {source.rows:,} left")
    lines += _parts([one.name for one in looked])
    lines.append(
        f"{settings.steps} steps of {settings.batch} rows; {len(tests)} test sets"
        + ("" if tests else ": models will be trained and not compared; see --hold-out")
    )
    lines.append(f"{out}: fill in the instructions, then: tdro run {shlex.quote(str(out))}")
    return "\n".join(lines)


def _parts(names: Sequence[str]) -> list[str]:
    """A line for tasks whose names differ in numbers only."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(re.sub(r"\d+", "", name), []).append(name)
    return [
        f"{', '.join(some)}: if these are parts of one task, put them into a folder, and give the folder"
        for some in alike.values()
        if len(some) > 1
    ]
