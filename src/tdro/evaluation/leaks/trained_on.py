"""Finds out what a model was trained on, from its run folder or its card. The data itself is not read here.

For a model in a run folder, the run's recipe says it, with full paths. A copy of such a model has a card whose front
matter names the source, rows and fingerprint of each task, but no path of the machine that trained it. Other people's
cards name data sets on the hub, under ``datasets:`` or in the sections that sentence-transformers writes. What the
*base* model was trained on is not looked for, since cards rarely say it. See docs/decisions.md, no-queries-in-models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from tdro.data.mixtures.content import queries_content
from tdro.data.task import Task
from tdro.errors import UserError
from tdro.files import exists, fingerprint, read_json
from tdro.hub.model_files import model_file
from tdro.recipe.source_kinds import hub_file, is_hub_file, is_hub_id, looks_like_file
from tdro.recipe.yaml_lines import plain_yaml

CARD_KEY = "tdro"  # the key of a card's front matter that holds what tdro says
_SETTINGS = {"subset": str, "split": str, "columns": dict, "limit": int}  # the keys of a source in a recipe
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_TRAINING_SECTION = re.compile(r"^### Training Datasets?\s*\n(.*?)(?=^#{1,3} |\Z)", re.DOTALL | re.MULTILINE)
_ON_THE_HUB = re.compile(r"https://huggingface\.co/datasets/([\w.-]+(?:/[\w.-]+)?)\)")


@dataclass(frozen=True)
class TrainedDataSet:
    """One data set that a model was trained on, as far as is known.

    Attributes:
        name: of the task or the data set.
        place: where it is: a file, a folder, or a file or data set on the hub; for a task of a mixture, the mixture's
            folder or "sample".
        in_mixture: whether ``place`` is a mixture.
        local: whether it is known to be a file or folder on the machine of whoever trained the model.
        settings: those of ``subset``, ``split``, ``columns`` and ``limit`` that the source has.
        rows: how many there were; 0 if that is not known.
        fingerprint: of its queries when the model was trained, see :func:`task_fingerprint`; empty if not known.
    """

    name: str
    place: str
    in_mixture: bool = False
    local: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: int = 0
    fingerprint: str = ""

    @property
    def hub_id(self) -> str:
        """The id of the data set on the hub; empty if it is not from the hub."""
        if self.in_mixture or self.local or exists(self.place):
            return ""
        if is_hub_file(self.place):
            return hub_file(self.place)[0]
        return self.place if is_hub_id(self.place) and not looks_like_file(self.place) else ""


@dataclass(frozen=True)
class TrainedOn:
    """What is known of a model's training data.

    Attributes:
        told_by: in words, where this is from; empty if nothing is known.
        data: the data sets.
        unnamed: names of other data sets that the card describes without saying where they are.
        homes: folders that relative paths may start from.
    """

    told_by: str = ""
    data: tuple[TrainedDataSet, ...] = ()
    unnamed: tuple[str, ...] = ()
    homes: tuple[Path, ...] = ()


def task_fingerprint(task: Task) -> str:
    """A fingerprint of a task's queries: the same wherever its rows come from, and not changed by mining."""
    return fingerprint(queries_content(task.rows))


def trained_on(model: str) -> TrainedOn:
    """What a model's run folder or card says of its training data. A broken file counts as missing.

    Args:
        model: a folder or a hub id, whose card is downloaded.
    """
    folder = Path(model)
    if (folder / "training.json").is_file():
        for run in folder.resolve().parents[:3]:
            if (run / "run.json").is_file() and (run / "recipe.yaml").is_file():
                found = _of_run(folder, run)
                if found.data:
                    return found
    return _of_card(_card(model), folder)


def of_recipe(
    recipe: Any, tasks: Sequence[Mapping[str, Any]], weights: Mapping[str, float] | None
) -> list[TrainedDataSet]:
    """The data sets of a run that one of its trainings read.

    Args:
        recipe: the content of ``recipe.yaml``.
        tasks: the ``tasks`` of ``run.json``.
        weights: task to its weight in the training; tasks of weight 0 were not read. None: all tasks were read.
    """
    data = recipe.get("data") if isinstance(recipe, dict) else None
    data = data if isinstance(data, dict) else {}
    mixture, sources = data.get("mixture"), data.get("sources") or {}
    found = []
    for task in tasks:
        name = str(task.get("name"))
        if weights is not None and not weights.get(name):
            continue
        known: dict[str, Any] = {"rows": int(task.get("rows") or 0), "fingerprint": str(task.get("fingerprint") or "")}
        if mixture:
            found.append(TrainedDataSet(name, str(mixture), True, **known))
        elif isinstance(source := sources.get(name), dict) and source.get("source"):
            found.append(TrainedDataSet(name, str(source["source"]), settings=_settings(source), **known))
    return found


def for_card(data: TrainedDataSet, place: str) -> dict[str, Any]:
    """The entry of a data set in a card's front matter, which :func:`trained_on` reads; ``place`` may be published."""
    kind = "mixture" if data.in_mixture else "source" if data.hub_id else "file"
    entry: dict[str, Any] = {"name": data.name, kind: place, **data.settings}
    return entry | {"rows": data.rows, "fingerprint": data.fingerprint}


def _of_run(folder: Path, run: Path) -> TrainedOn:
    try:
        recipe = plain_yaml((run / "recipe.yaml").read_text(encoding="utf-8"), run / "recipe.yaml")
        tasks = read_json(run / "run.json").get("tasks") or []
        data = of_recipe(recipe, tasks, read_json(folder / "training.json").get("weights"))
        return TrainedOn(f"its run folder {run}", tuple(data), (), (_working_folder(recipe, run),))
    except (UserError, OSError, ValueError, TypeError, AttributeError):
        return TrainedOn()


def _working_folder(recipe: Any, run: Path) -> Path:
    """The folder that the run was started in, which relative paths of its recipe start from.

    If the recipe's ``folder`` is relative, the run folder's path ends with it; what comes before is the answer.
    """
    own = Path(str(recipe.get("folder") or ""))
    parts = len(own.parts)
    return run.parents[parts - 1] if parts and not own.is_absolute() and run.parts[-parts:] == own.parts else Path()


def _card(model: str) -> str:
    """The text of a model's card; empty if there is none."""
    path = Path(model) / "README.md"
    if not Path(model).is_dir():
        if not is_hub_id(model):
            return ""
        try:
            path = model_file(model, "README.md") or path
        except UserError:  # no such model, or no network
            return ""
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError:
        return ""


def _of_card(text: str, folder: Path) -> TrainedOn:
    front = _front_matter(text)
    own = front.get(CARD_KEY)
    entries = own.get("tasks") if isinstance(own, dict) else None
    data = [found for entry in entries or () if isinstance(entry, dict) and (found := _entry(entry))]
    unnamed: list[str] = []
    if not data:
        listed = front.get("datasets") or []
        names = [name for name in (listed if isinstance(listed, list) else [listed]) if _plain(name)]
        section = _TRAINING_SECTION.search(text)
        if section:
            names += _ON_THE_HUB.findall(section[1])
            unnamed = _without_id(section[1])
        data = [TrainedDataSet(name, name) for name in dict.fromkeys(names)]
    if not data and not unnamed:
        return TrainedOn()
    return TrainedOn("its card", tuple(data), tuple(unnamed), (Path(), folder))


def _front_matter(text: str) -> dict[str, Any]:
    match = _FRONT_MATTER.match(text)
    try:
        found = plain_yaml(match[1], "the card") if match else None
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}


def _entry(entry: Mapping[str, Any]) -> TrainedDataSet | None:
    """One task as tdro's own card names it; None if the entry is not one."""
    kind = next((kind for kind in ("mixture", "source", "file") if kind in entry), "")
    place, name = entry.get(kind), entry.get("name")
    if not _plain(place) or not _plain(name):
        return None
    rows, digest = entry.get("rows"), str(entry.get("fingerprint") or "")
    rows = rows if isinstance(rows, int) else 0
    return TrainedDataSet(name, place, kind == "mixture", kind == "file", _settings(entry), rows, digest)


def _settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a source that are of the right type; text only if it is a plain name, and not a path."""
    found = {key: entry[key] for key, kind in _SETTINGS.items() if isinstance(entry.get(key), kind)}
    return {key: value for key, value in found.items() if not isinstance(value, str) or re.fullmatch(r"[\w.-]+", value)}


def _without_id(section: str) -> list[str]:
    """The data sets that a card of sentence-transformers describes but does not link to."""
    blocks = re.split(r"^#### ", section, flags=re.MULTILINE)[1:]
    names = [block.partition("\n")[0].strip() for block in blocks if not _ON_THE_HUB.search(block)]
    return [name for name in names if _plain(name)]


def _plain(value: Any) -> TypeGuard[str]:
    """Whether a value from somebody's card is text that is safe to print and to look for on disk."""
    return isinstance(value, str) and bool(value) and value.isprintable()
