"""Choose the files of a folder that are a task's training rows, and report the others.

A folder is one task in several files. If it holds training data beside validation or test data, as a data set cloned
from the hub does (``train-00000-of-00002.parquet``, ``dev.jsonl``, ``data/test.csv``, ``test/0000.parquet``), only the
training data are read. If it is not clear what is meant (no training data, several subsets, the same data in two
formats), the user is asked by an error. Every file that is not read is named. See docs/decisions.md, folder-by-names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tdro.data.read.splits import HELD_OUT, TRAIN, split_of, without_split
from tdro.errors import UserError
from tdro.recipe.source_kinds import ENDINGS

# Names of data in formats that are not read, such as part-3.jsonl.zst or more.xlsx. They must not be left out silently.
_OTHER_DATA = re.compile(r"\.(jsonl|ndjson|json|csv|tsv|parquet)\.|\.(arrow|xlsx?|ods|zip|zst|xz|bz2|7z)$", re.I)
_ABOUT = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "croissant.json"}
_TEXT_ABOUT = re.compile(r"(readme|licen[cs]e|citation|changelog|notice)\b.*|.*\.md", re.I)
_OF_ITS_OWN = {  # a folder that has one of these files is not a folder of a task's data files; what it is instead
    "mixture.json": "a mixture",
    "corpus.jsonl": "a folder in BEIR's layout",
    "state.json": "a saved data set",
}
_SHARD = re.compile(r"(.*?)[-_.]?\d{5}-of-\d{5}")  # train-00000-of-00002, en-train-00000-of-00002
_DEEPEST = 4  # folders within folders that are looked into, such as data/en/train/0000.parquet
_SHOWN = 6


def files_in(folder: Path, wanted: str | None = None) -> tuple[list[Path], list[str]]:
    """The data files of a folder that are read, sorted by name, and notes about what is not read.

    If data files are in the folder itself, only these count; else those in the folders within it. A broken link counts
    as a file, and is refused later, so that no part of the data is left out silently. Names that begin with a dot do
    not count.

    Args:
        folder: to look into.
        wanted: the split to read. None for ``train`` if the names tell of splits, and else for all files.

    Raises:
        UserError: there is no data, or it is not clear which data are meant.
    """
    every = sorted(_walk(folder, 0, set()))
    own = [file for file in every if _is_data(file) and file.parent == folder]
    found = own or [file for file in every if _is_data(file)]
    _refuse_beir(folder, found)
    others = [file for file in every if _OTHER_DATA.search(file.name) and not _is_data(file)]
    if not found:
        raise UserError(_nothing(folder, every, others))
    read = _of_split(folder, found, wanted)
    _refuse_several(folder, read)
    splits = {_split(folder, file) for file in read}
    held_out = any(_split(folder, file) in HELD_OUT for file in found)
    beside = [file for file in others if file.parent in {other.parent for other in read}]
    for file in beside:
        if not held_out or _split(folder, file) in splits or _split(folder, file) is None:
            raise UserError(f"{file}: no known format, and would be left out; convert it, or move it elsewhere")
    return read, _notes(folder, read, [file for file in every if file not in read])


def _walk(folder: Path, depth: int, seen: set[Path]) -> Iterator[Path]:
    """All files in a folder and in the folders within it.

    A folder that is no folder of data files (:data:`_OF_ITS_OWN`), such as a mixture, comes as one path.
    """
    seen.add(folder.resolve())
    try:
        there = sorted(os.scandir(folder), key=lambda entry: entry.name)
        for entry in there:
            path = folder / entry.name
            if entry.name.startswith((".", "__")):
                continue
            if not path.is_dir():  # nor is a link that leads in a circle
                yield path
            elif depth < _DEEPEST and path.resolve() not in seen:
                if any((path / name).is_file() for name in _OF_ITS_OWN):
                    yield path
                else:
                    yield from _walk(path, depth + 1, seen)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror or error})") from error


def _is_data(file: Path) -> bool:
    """Whether a file's name says that it holds rows, in a format that is read."""
    return file.name.lower().endswith(ENDINGS) and file.name.lower() not in _ABOUT and not file.is_dir()


def _stem(file: Path) -> str:
    """A data file's name without its ending."""
    endings = [ending for ending in ENDINGS if file.name.lower().endswith(ending)]
    return file.name[: -max(map(len, endings))] if endings else file.name.partition(".")[0]


def _split(folder: Path, file: Path) -> str | None:
    """The split that a file's name tells or, if it tells none, the name of a folder that it is in."""
    parents = reversed(file.relative_to(folder).parent.parts)
    return next((split for name in (_stem(file), *parents) if (split := split_of(name))), None)


def _of_split(folder: Path, found: Sequence[Path], wanted: str | None) -> list[Path]:
    """The files of the wanted split; if that is None, those to train on."""
    by_split: dict[str | None, list[Path]] = {}
    for file in found:
        by_split.setdefault(_split(folder, file), []).append(file)
    names = ", ".join(name for name in (TRAIN, *HELD_OUT) if name in by_split)
    if wanted is not None:
        split = split_of(wanted)
        if split is None or split not in by_split:
            raise UserError(f"{folder}: no file is of the split {wanted!r}; there are {names or 'no splits'}")
        return by_split[split]
    held_out = [file for split in HELD_OUT for file in by_split.get(split, ())]
    if not held_out:
        return list(found)
    shown = held_out[0].relative_to(folder)
    if None in by_split:
        raise UserError(
            f"{folder}: is {by_split[None][0].relative_to(folder)} to be trained on beside {shown}, which is held out "
            "by its name?\nGive the files to train on, or put them into a folder of their own"
        )
    if TRAIN not in by_split:
        raise UserError(
            f"{folder}: holds no training data, by its names ({names}).\n"
            f"To train on {shown} all the same, name the file, or the split (`split: {split_of(names.split(',')[0])}`)"
        )
    return by_split[TRAIN]


def _refuse_several(folder: Path, read: Sequence[Path]) -> None:
    """Raise if the files belong to several data sets, or if a file is there in two formats."""
    groups: dict[tuple[str, ...], Path] = {}
    stems: dict[Path, Path] = {}
    for file in read:
        parts = [name for name in file.relative_to(folder).parent.parts if without_split(name) not in ("", "data")]
        shard = _SHARD.fullmatch(_stem(file))
        groups.setdefault((*parts, without_split(shard[1]) if shard else ""), file)
        stem = file.parent / _stem(file)
        if (other := stems.setdefault(stem, file)) != file:
            raise UserError(f"{folder}: are {other.name} and {file.name} the same rows? Give one of them")
    if len(groups) > 1:
        places = [str(file.parent if file.parent != folder else file) for file in groups.values()]
        raise UserError(
            f"{folder}: holds several data sets ({', '.join(_short(places))}).\n"
            "Give one of them, or each as a task of its own; what is one task, put into one folder"
        )


def _refuse_beir(folder: Path, found: Sequence[Path]) -> None:
    """Raise for a folder that is nearly in BEIR's layout: corpus and queries in files or folders of another name."""
    stems = {_stem(file) if file.parent == folder else file.relative_to(folder).parts[0]: file for file in found}
    if "corpus" in stems and "queries" in stems:
        raise UserError(
            f"{folder}: holds {stems['corpus'].relative_to(folder)} and {stems['queries'].relative_to(folder)}; in "
            "BEIR's layout, they are corpus.jsonl and queries.jsonl, unpacked, and qrels/train.tsv"
        )


def _nothing(folder: Path, every: Sequence[Path], others: Sequence[Path]) -> str:
    """The error for a folder without data files."""
    for path in every:
        own = next((what for name, what in _OF_ITS_OWN.items() if path.is_dir() and (path / name).is_file()), None)
        if own:
            return f"{folder}: holds no data file, but {own} in it: {path}; give that"
    if others:
        hint = "; of save_to_disk's folders, dataset_info.json and state.json belong to it" * (
            others[0].suffix == ".arrow"
        )
        return f"{others[0]}: no known format{hint or ', and would be left out; convert it, or move it elsewhere'}"
    return f"{folder}: holds no data file ({', '.join(ENDINGS)}) and no BEIR corpus.jsonl"


def _notes(folder: Path, read: Sequence[Path], others: Sequence[Path]) -> list[str]:
    """A line that names the files that are not read, and a line for each empty file."""
    unread = [str(file.relative_to(folder)) for file in others if not _TEXT_ABOUT.fullmatch(file.name)]
    notes = []
    if unread:
        what = f"{len(read)} files are" if len(read) > 1 else f"{read[0].relative_to(folder)} is"
        if any(_split(folder, file) == TRAIN for file in read):
            what += " read, the split train" if len(read) > 1 else " read"
        else:
            what += " read"
        notes.append(f"{folder}: {what}; not read: {', '.join(_short(unread))}")
    empty = [file for file in read if file.is_file() and not file.stat().st_size]
    return notes + [f"{file}: is empty" for file in empty if len(read) > 1]


def _short(names: Sequence[str]) -> list[str]:
    """The first six names, and how many more there are."""
    more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return [*names[:_SHOWN], *more]
