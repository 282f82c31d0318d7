"""Turn mteb's retrieval tasks into BEIR folders: mteb's own loader reads them, and they are written once.

From then on, every test set is evaluated in the same way. The folders are in the user's cache, named by task, subset,
split and revision. A folder is there whole or not at all, and the corpus is never whole in memory. See
docs/decisions.md, mteb-as-folders.

:func:`tdro.search.exact.search` never returns a passage with the query's own id. mteb returns such passages in most
tasks. So if a query and a passage of such a task have the same id, the queries get ``query-`` before their ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tdro.console import progress_bar
from tdro.data.testsets.benchmarks import BenchmarkSet
from tdro.disk import cache_folder
from tdro.errors import UserError
from tdro.files import fingerprint, whole_folder
from tdro.hub.faults import hub_fault

_ROWS_AT_ONCE = 1000


def wanted_of(name: str) -> list[BenchmarkSet]:
    """The test sets of one of mteb's tasks: one for each of its subsets and splits.

    Args:
        name: the task's name, or ``NAME:SUBSET`` for one subset only.

    Raises:
        UserError: mteb is not installed, or it has no such task, or the task is not about retrieving text.
    """
    task_name, _, subset = name.partition(":")
    task = get_task(task_name)
    parts = getattr(task, "tasks", None)  # mteb's aggregates (CQADupStack) have these
    if parts is not None:
        return [replace(each, whole=task_name) for part in parts for each in wanted_of(part.metadata.name)]
    subsets = list(task.hf_subsets) if getattr(task.metadata, "is_multilingual", False) else ["default"]
    if subset and subset not in subsets:
        raise UserError(f"{task_name}: no subset {subset!r}; it has {', '.join(subsets)}")
    splits = list(task.eval_splits)
    found = []
    for each in [subset] if subset else subsets:
        for split in splits:
            ends = [*([] if each == "default" else [each]), *([split] if len(splits) > 1 else [])]
            test = "-".join([task_name, *ends])
            folders = (test, "/".join([task_name, *ends]))
            languages = tuple(task.metadata.hf_subsets_to_langscripts[each])
            main_score = str(task.metadata.main_score)
            found.append(
                BenchmarkSet(test, task_name, each, split, folders, languages=languages, main_score=main_score)
            )
    return found


def get_task(name: str, **chosen: Any) -> Any:
    """One of mteb's tasks. ``chosen`` is handed to ``mteb.get_task``. Errors as :func:`wanted_of`."""
    try:
        import mteb
    except ImportError as error:
        raise UserError(
            f"{name}: no such folder, and for mteb's tasks its package is needed: pip install 'tdro[mteb]'.\n"
            "A copy of the data in BEIR's layout needs no mteb: --data FOLDER."
        ) from error
    try:
        task = mteb.get_task(name, **chosen)
    except KeyError as error:
        hint = str(error.args[0]).removeprefix("KeyError: ")
        raise UserError(
            f"{name}: no folder, no benchmark (beir, miracl, nano-beir, mkqa:FOLDER); mteb: {hint}"
        ) from error
    modalities = list(task.metadata.modalities)
    if task.metadata.type != "Retrieval" or modalities != ["text"]:
        found = "/".join(modalities)
        raise UserError(
            f"{name}: a task of the type {task.metadata.type} on {found}; only those of retrieving text can be"
        )
    if getattr(task, "skip_first_result", False):
        raise UserError(f"{name}: its first result is to be skipped, which is not done here; use mteb for it")
    return task


def mteb_folder(wanted: BenchmarkSet, data: Path | None = None) -> tuple[Path, str]:
    """A test set of mteb's as a BEIR folder, made if it is not there yet.

    Args:
        wanted: the test set.
        data: a folder with copies of mteb's repositories, each under its name (``scifact`` or ``mteb/scifact``).

    Returns:
        The folder, and the hub's revision of the data, empty for a local copy.

    Raises:
        UserError: as :func:`wanted_of`, or the data cannot be loaded.
    """
    task, source, local, folder = _sources(wanted, data)
    if local:
        kept = {key: value for key, value in source.items() if key != "state"}
        task.metadata = task.metadata.model_copy(update={"dataset": kept})
    if not folder.is_dir():
        write_folder(_load(task, wanted), folder, leave_out_own=bool(getattr(task, "ignore_identical_ids", False)))
    return folder, "" if local else str(source["revision"])


def mteb_is_there(wanted: BenchmarkSet, data: Path | None = None) -> bool:
    """Whether :func:`mteb_folder` needs no hub, because there is a local copy or the folder was made before.

    Arguments and errors as there.
    """
    _, _, local, folder = _sources(wanted, data)
    return local is not None or folder.is_dir()


def _sources(wanted: BenchmarkSet, data: Path | None) -> tuple[Any, dict[str, Any], Path | None, Path]:
    """mteb's task; where its data come from; the local copy of them, if there is one; and the BEIR folder to make."""
    chosen: dict[str, Any] = {"eval_splits": [wanted.split]}
    if wanted.subset != "default":
        chosen["hf_subsets"] = [wanted.subset]
    task = get_task(wanted.task, **chosen)
    source = dict(task.metadata.dataset)
    local = _local_copy(source["path"], data)
    if local:
        source = {**source, "path": str(local), "state": _file_states(local)}
    folder = cache_folder() / "benchmarks" / f"{wanted.name}-{wanted.split}-{fingerprint(source)}"
    return task, source, local, folder


def write_folder(split: Mapping[str, Any], folder: Path, leave_out_own: bool) -> None:
    """Write a BEIR folder, whole or not at all.

    Args:
        split: has ``corpus`` and ``queries`` (rows with ``id``, ``text`` and perhaps ``title`` or ``instruction``; or
            mappings from ids to such rows) and ``relevant_docs`` (query id to passage id to relevance).
        folder: where to write it.
        leave_out_own: whether the task wants that a query never finds the passage with its own id.
    """
    qrels = {str(query): scores for query, scores in split["relevant_docs"].items() if scores}
    with whole_folder(folder) as made:
        (made / "qrels").mkdir()
        ids_shared = _write_corpus(made / "corpus.jsonl", split["corpus"], qrels)
        before = "query-" if ids_shared and not leave_out_own else ""
        with (made / "queries.jsonl").open("w", encoding="utf-8") as file:
            for row in _rows(split["queries"]):
                if (key := str(row["id"])) in qrels:
                    file.write(_line({"_id": before + key, "text": _query_text(row, folder)}))
        with (made / "qrels" / "test.tsv").open("w", encoding="utf-8") as file:
            file.write("query-id\tcorpus-id\tscore\n")
            for query, scores in qrels.items():
                file.writelines(f"{before}{query}\t{passage}\t{int(score)}\n" for passage, score in scores.items())


def _load(task: Any, wanted: BenchmarkSet) -> Mapping[str, Any]:
    """Corpus, queries and judgements of a subset and split, read by mteb's own loader, of version 2 or before."""
    try:
        task.load_data()
    except Exception as error:  # no network, a data set that is gone, a broken file: all classes of errors
        line = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        fault = hub_fault(error, str(task.metadata.dataset["path"]), "data set")
        raise UserError(
            f"{wanted.task}: its data cannot be loaded ({fault or line}).\n"
            f"Offline, give a local copy: --data FOLDER, in BEIR's layout or a copy of {task.metadata.dataset['path']}"
        ) from error
    parts = ("corpus", "queries", "relevant_docs")
    try:
        if all(hasattr(task, part) for part in parts):  # before mteb 2, and in tasks with a loader of their own
            of_split = {}
            for part in parts:
                found = getattr(task, part)
                of_split[part] = found.get(wanted.subset, found)[wanted.split]
            return of_split
        of_split = task.dataset[wanted.subset][wanted.split]
        if of_split.get("top_ranked"):
            raise UserError(f"{wanted.task}: it ranks given passages again, it does not retrieve; use mteb for it")
        return {part: of_split[part] for part in parts}
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{wanted.task}: no corpus, queries and judgements of {wanted.subset}/{wanted.split}"
        ) from error


def _write_corpus(path: Path, corpus: Any, queries: Mapping[str, Any]) -> bool:
    """Write the passages; returns whether one of them has the id of a query."""
    ids_shared = False
    title = f"writing {path.parent.parent.name.strip('.')[:40]}"
    with (
        path.open("w", encoding="utf-8") as file,
        progress_bar(total=len(corpus), title=title, unit=" passages") as bar,
    ):
        for row in _rows(corpus):
            key = str(row["id"])
            ids_shared = ids_shared or key in queries
            file.write(_line({"_id": key, "title": row.get("title") or "", "text": row["text"]}))
            bar.update()
    return ids_shared


def _rows(table: Any) -> Iterator[Mapping[str, Any]]:
    """The rows of a corpus or of queries: a table, which is read in batches, or a mapping from ids to texts or rows."""
    if isinstance(table, Mapping):
        for key, value in table.items():
            yield {"id": key, **(value if isinstance(value, Mapping) else {"text": value})}
    elif hasattr(table, "iter"):
        for batch in table.iter(batch_size=_ROWS_AT_ONCE):
            yield from (dict(zip(batch, row, strict=True)) for row in zip(*batch.values(), strict=True))
    else:
        yield from table


def _query_text(row: Mapping[str, Any], folder: Path) -> str:
    """A query's text, and behind it, as in mteb, the query's own instruction if it has one."""
    if not isinstance(row["text"], str):
        raise UserError(f"{folder.name}: its queries are conversations, not texts; use mteb for it")
    return " ".join(filter(None, (row["text"], row.get("instruction"))))


def _line(row: dict[str, str]) -> str:
    """A row as a line of JSONL."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def _local_copy(repository: str, data: Path | None) -> Path | None:
    """The copy of a repository of the hub in ``data``, if there is one. ``mteb/scifact`` may lie in ``scifact``."""
    if data is None:
        return None
    places = (data / repository, data / repository.rpartition("/")[2])
    return next((place.resolve() for place in places if place.is_dir()), None)


def _file_states(folder: Path) -> Iterable[tuple[str, int, int]]:
    """Names, sizes and times of change of a folder's files, so that a copy that was changed counts as another one."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
