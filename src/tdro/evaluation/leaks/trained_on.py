"""What was a model trained on? As its run folder says it, or its card; nothing is read or loaded here but these.

A model in a run folder has the recipe two folders up, with the whole paths. A copy of it has its card, whose front
matter names each task's source, rows and fingerprint, but no path of the machine that trained it. Other people's cards
name data sets of the hub (``datasets:``, and the sections that sentence-transformers writes). What a *base* model was
trained on is not asked: cards rarely say it, and a chain of guesses is none. Rejected: a list of the training queries
in the model's folder, which would publish them.
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
from tdro.files import fingerprint, read_json
from tdro.recipe.rules import exists
from tdro.recipe.source_kinds import hub_file, is_hub_file, is_hub_id, looks_like_file
from tdro.recipe.yaml_lines import plain_yaml

CARD_KEY = "tdro"  # of a card's front matter
_SETTINGS = {"subset": str, "split": str, "columns": dict, "limit": int}  # of a source, as a recipe has them
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_TRAINING_SECTION = re.compile(r"^### Training Datasets?\s*\n(.*?)(?=^#{1,3} |\Z)", re.DOTALL | re.MULTILINE)
_ON_THE_HUB = re.compile(r"https://huggingface\.co/datasets/([\w.-]+(?:/[\w.-]+)?)\)")


@dataclass(frozen=True)
class TrainingData:
    """One data set that a model was trained on, as far as is known.

    Attributes:
        name: of the task, or of the data set.
        place: a file, a folder, a file or a data set on the hub; of a mixture's task, the mixture's folder or "sample".
        in_mixture: whether ``place`` is a mixture.
        local: whether it is known to be a file or a folder of whoever trained.
        settings: ``subset``, ``split``, ``columns`` and ``limit`` of a source, those that are given.
        rows: how many there were; 0 if that is not known.
        fingerprint: :func:`task_fingerprint` at the training; empty if that is not known.
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
        """The id of the data set on the hub; empty where it is not from there."""
        if self.in_mixture or self.local or exists(self.place):
            return ""
        if is_hub_file(self.place):
            return hub_file(self.place)[0]
        return self.place if is_hub_id(self.place) and not looks_like_file(self.place) else ""


@dataclass(frozen=True)
class TrainedOn:
    """What is known of a model's training data.

    Attributes:
        told_by: what says so, in words; empty where nothing does.
        data: the data sets.
        unnamed: others that are spoken of, without a word of where they are.
        homes: folders that relative paths may be meant from.
    """

    told_by: str = ""
    data: tuple[TrainingData, ...] = ()
    unnamed: tuple[str, ...] = ()
    homes: tuple[Path, ...] = ()


def task_fingerprint(task: Task) -> str:
    """16 hex digits of a task's queries, wherever its rows come from; mining does not change them."""
    return fingerprint(queries_content(task.rows))


def trained_on(model: str) -> TrainedOn:
    """What a model's run folder or card says of its training data; what is broken there says nothing.

    Args:
        model: a folder, or an id of the hub, whose card is looked up (a request of at most 10 seconds).
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
) -> list[TrainingData]:
    """The data sets of a run that a training read.

    Args:
        recipe: as in ``recipe.yaml``.
        tasks: as in ``run.json``.
        weights: of the training, by task; those of weight 0 were not read. None: all were.
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
            found.append(TrainingData(name, str(mixture), True, **known))
        elif isinstance(source := sources.get(name), dict) and source.get("source"):
            found.append(TrainingData(name, str(source["source"]), settings=_settings(source), **known))
    return found


def for_card(data: TrainingData, place: str) -> dict[str, Any]:
    """One data set as a card's front matter has it, with ``place`` as it may be shown; :func:`trained_on` reads it."""
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
    """Where the run was started, if the recipe's own folder is relative to it: its paths are."""
    own = Path(str(recipe.get("folder") or ""))
    parts = len(own.parts)
    return run.parents[parts - 1] if parts and not own.is_absolute() and run.parts[-parts:] == own.parts else Path()


def _card(model: str) -> str:
    """The text of a model's card; empty where there is none."""
    path = Path(model) / "README.md"
    if not Path(model).is_dir():
        if not is_hub_id(model):
            return ""
        from huggingface_hub import hf_hub_download

        try:
            path = Path(hf_hub_download(model, "README.md"))
        except Exception:  # no such file or model, no network: httpx's errors, the client's, OSError
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
        data = [TrainingData(name, name) for name in dict.fromkeys(names)]
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


def _entry(entry: Mapping[str, Any]) -> TrainingData | None:
    """A task of tdro's own card; None for what is none."""
    kind = next((kind for kind in ("mixture", "source", "file") if kind in entry), "")
    place, name = entry.get(kind), entry.get("name")
    if not _plain(place) or not _plain(name):
        return None
    rows, digest = entry.get("rows"), str(entry.get("fingerprint") or "")
    rows = rows if isinstance(rows, int) else 0
    return TrainingData(name, place, kind == "mixture", kind == "file", _settings(entry), rows, digest)


def _settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are given, each as it may be; a name is no way out of a folder."""
    found = {key: entry[key] for key, kind in _SETTINGS.items() if isinstance(entry.get(key), kind)}
    return {key: value for key, value in found.items() if not isinstance(value, str) or re.fullmatch(r"[\w.-]+", value)}


def _without_id(section: str) -> list[str]:
    """Data sets that sentence-transformers' card describes but does not link."""
    blocks = re.split(r"^#### ", section, flags=re.MULTILINE)[1:]
    names = [block.partition("\n")[0].strip() for block in blocks if not _ON_THE_HUB.search(block)]
    return [name for name in names if _plain(name)]


def _plain(value: Any) -> TypeGuard[str]:
    """Whether a value of somebody's card is a text that may be printed, and looked for on a disk."""
    return isinstance(value, str) and bool(value) and value.isprintable()
