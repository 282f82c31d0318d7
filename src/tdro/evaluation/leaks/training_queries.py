"""Reads the queries of a data set that a model was trained on, from wherever they are quickly found.

These places are tried in this order: the mixture or files that the model's run or card names; what ``tdro`` built from
them before; the cache of the ``datasets`` library; and the hub, streamed and for a limited time. If the fingerprint of
the training data is known, a local copy must have it. Code that comes with a data set is never run. See
docs/decisions.md, streamed-training-queries.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tdro.console import progress_bar
from tdro.data.mixtures.build import built_file, built_task
from tdro.data.mixtures.built import BuiltTask, read_built
from tdro.data.mixtures.folder import task_files
from tdro.data.read.layout import Layout, layout_of
from tdro.disk import cache_folder
from tdro.errors import UserError
from tdro.evaluation.leaks.trained_on import TrainedDataSet
from tdro.files import fingerprint, read_json, write_json
from tdro.hub.faults import hub_fault
from tdro.recipe.data_sections import Source
from tdro.recipe.source_kinds import is_hub_file, looks_like_file

HUB_SECONDS = 120  # for all data sets of one command together
_REQUEST_SECONDS = 10
_TEXT = ("string", "large_string")
_QUERY_COLUMNS = ("query", "anchor", "question", "sentence1")


class TrainingQueries:
    """Reads the queries of data sets, each data set once.

    Args:
        homes: folders where local copies are looked for, after those given with a data set.
        seconds: how long reading from the hub may take, for all data sets together.
    """

    def __init__(self, homes: Sequence[Path] = (), seconds: float = HUB_SECONDS) -> None:
        self._homes, self._seconds = tuple(homes), seconds
        self._known: dict[str, tuple[list[str], str] | UserError] = {}

    def read(self, data: TrainedDataSet, homes: Sequence[Path] = ()) -> tuple[list[str], str]:
        """The queries of a data set, and why some are missing; the reason is empty if none is.

        Args:
            data: the data set.
            homes: folders that a relative path of it may start from.

        Raises:
            UserError: they cannot be read; the message is a few words, such as "not found here".
        """
        places = dict.fromkeys(Path(home) / _expanded(data.place) for home in (*homes, *self._homes))
        key = fingerprint([data.__dict__, [str(place.resolve()) for place in places]])
        if key not in self._known:
            try:
                self._known[key] = self._read(data, list(places))
            except UserError as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, UserError):
            raise found
        return found

    def _read(self, data: TrainedDataSet, places: Sequence[Path]) -> tuple[list[str], str]:
        changed: list[Path] = []
        for place in places:
            found = _of_mixture(data, place) if data.in_mixture else _of_source(data, place)
            if found is not None:
                if data.fingerprint in ("", found[0]):
                    return found[1], ""
                changed.append(place)
        if not data.in_mixture:
            built = _built_before(data)
            if built is not None:
                return built.open()["query"][:], ""
            if data.hub_id and not is_hub_file(data.place):
                return self._of_hub(data)
        if changed:
            raise UserError("changed since the training")
        raise UserError("not found here")

    def _of_hub(self, data: TrainedDataSet) -> tuple[list[str], str]:
        started = time.monotonic()
        try:
            cached = list(dict.fromkeys(_of_datasets_cache(data)))[: data.settings.get("limit")]
            if cached:
                return cached, ""
            return _streamed(data, started + self._seconds)
        except UserError:
            raise
        except Exception as error:  # the hub client raises its own errors, httpx's, OSError, ValueError; formats theirs
            fault = hub_fault(error, data.hub_id, "data set") or f"cannot be read ({type(error).__name__})"
            raise UserError(fault.removeprefix(f"{data.hub_id}: ")) from error
        finally:
            self._seconds -= time.monotonic() - started


def _expanded(place: str) -> Path:
    try:
        return Path(place).expanduser()
    except RuntimeError:  # ~name of a user that does not exist
        return Path(place)


def _of_mixture(data: TrainedDataSet, folder: Path) -> tuple[str, list[str]] | None:
    """Fingerprint and queries of a task of a mixture; None if the mixture or the task is not there."""
    if data.place == "sample":
        folder = cache_folder() / "sample-mixture"
    if not (folder / "mixture.json").is_file():
        return None
    file = task_files(folder).get(data.name)
    if file is None:
        return None
    built = built_file(file, data.name)
    return fingerprint(built.queries), built.open()["query"][:]


def _of_source(data: TrainedDataSet, place: Path) -> tuple[str, list[str]] | None:
    """Fingerprint and queries of local files; None if there are none.

    If a card only says a name, such as ``squad``, a local file or folder of that name is something else.
    """
    meant = data.fingerprint or looks_like_file(data.place) or "/" in data.place
    if not meant or not place.exists():
        return None
    try:
        source = Source.model_validate({"source": str(place), **data.settings})
    except ValidationError as error:
        raise UserError(f"its settings do not fit ({error.errors()[0]['msg']})") from error
    built = built_task(source, data.name)
    return fingerprint(built.queries), built.open()["query"][:]


def _built_before(data: TrainedDataSet) -> BuiltTask | None:
    """The task that tdro built from this source before, even if the source is gone."""
    for file in sorted((cache_folder() / "tasks").glob("*/task.json")):
        try:
            built, about = read_built(file.parent), read_json(file)
        except (UserError, KeyError):
            continue
        if data.fingerprint:
            same = data.fingerprint == fingerprint(built.queries)
        else:
            settings = {key: value for key, value in about.get("settings", {}).items() if value is not None}
            same = about.get("source") == data.place and settings == dict(data.settings)
        if same:
            return built
    return None


def _of_datasets_cache(data: TrainedDataSet) -> Iterator[str]:
    """The queries in the cache of the ``datasets`` library: the newest version of each subset."""
    import datasets
    from datasets.naming import camelcase_to_snakecase

    *owner, name = data.hub_id.split("/")
    name = camelcase_to_snakecase(name)
    root = Path(datasets.config.HF_DATASETS_CACHE) / "___".join([*owner, name])
    newest: dict[str, Path] = {}
    for folder in sorted(root.glob("*/*/*"), key=lambda each: each.stat().st_mtime):
        if folder.is_dir():
            newest[folder.parts[-3]] = folder
    for subset, folder in newest.items():
        if data.settings.get("subset") in (None, subset):
            for file in sorted(folder.glob(f"{name}-{data.settings.get('split', 'train')}*.arrow")):
                rows = datasets.Dataset.from_file(str(file))
                yield from map(str, rows[_query_column(data, rows.features)][:])


def _streamed(data: TrainedDataSet, deadline: float) -> tuple[list[str], str]:
    """The queries of all subsets, streamed from the hub; if they came in time, they are kept in the user's cache."""
    from datasets import get_dataset_config_names, load_dataset
    from huggingface_hub import HfApi

    if time.monotonic() > deadline:
        raise UserError("the time for the hub is used up")
    revision = HfApi().dataset_info(data.hub_id, timeout=_REQUEST_SECONDS).sha
    kept = cache_folder() / "training-queries" / f"{fingerprint([data.hub_id, revision, data.settings])}.json"
    if kept.is_file():
        return list(read_json(kept)["queries"]), ""
    subset, split = data.settings.get("subset"), data.settings.get("split", "train")
    found: dict[str, None] = {}
    for name in [subset] if subset else get_dataset_config_names(data.hub_id, revision=revision):
        rows: Any = load_dataset(data.hub_id, name, split=split, streaming=True, revision=revision)
        column = _query_column(data, rows.features or next(iter(rows)))
        rows = rows.select_columns([column])
        if limit := data.settings.get("limit"):
            rows = rows.take(limit)
        for row in progress_bar(rows, f"reading {data.hub_id}", unit=" rows"):
            found[str(row[column])] = None
            if time.monotonic() > deadline:
                return list(found), f"after {len(found):,} queries the time for the hub was used up"
    write_json(kept, {"source": data.hub_id, "revision": revision, "queries": list(found)})
    return list(found), ""


def _query_column(data: TrainedDataSet, features: Any) -> str:
    """The column of the queries: the one that the settings or its name say, else the first column of text, which is the
    anchor in the data sets of sentence-transformers."""
    layout = layout_of(list(features), {"label": "", **(data.settings.get("columns") or {})})
    names = [layout.query] if isinstance(layout, Layout) else list(_QUERY_COLUMNS)
    texts = [name for name, kind in features.items() if getattr(kind, "dtype", "") in _TEXT or isinstance(kind, str)]
    column = next((name for name in (*names, *texts) if name in features and name != "id"), None)
    if column is None:
        raise UserError("no column of text")
    return column
