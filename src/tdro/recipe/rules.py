"""The checks of a value that types cannot express, such as "this folder exists".

A check takes the value of a key and returns it, or raises an error that says what to do. The sections of the recipe
name the checks of their keys (``AfterValidator(rules.check_device)``). A check that looks at several keys names the one
that its message is about, so that the message gets that key's line. Checks look whether files exist and read the names
in a mixture.json; they load nothing else, so a recipe is checked in an instant.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from tdro.errors import UserError
from tdro.files import exists, read_json
from tdro.hub.repo_id import wrong_repo_id
from tdro.mixture_name import parse_mixture
from tdro.recipe.messages import nearest, short, wrong
from tdro.recipe.source_kinds import BEIR_FILES, is_hub_file, is_hub_id, looks_like_file

Items = TypeVar("Items", bound=Sequence[Hashable])
Named = TypeVar("Named", bound=Mapping[str, Any])
COLUMNS = ("id", "query", "positives", "negatives", "label")  # what a row is made of; a file may use other names
PACKAGED = {"smollm2": "decoder", "minilm": "encoder"}  # models that come from the package index, and their kind


def check_folder_name(value: str) -> str:
    """A name that becomes the name of a folder."""
    if not re.fullmatch(r"\w[\w.-]{0,99}", value):
        rule = "at most 100 characters" if len(value) > 100 else "letters, digits, '_', '-' and '.' only, no '.' first"
        raise wrong(f"{short(value)} cannot name a folder; use {rule}")
    return value


def _needs_training_data(info: ValidationInfo) -> bool:
    """Whether the recipe is read in order to train; to evaluate or report, its training data may be gone."""
    return not (info.context and info.context.get("data_may_be_gone"))


def check_run_folder(value: Path) -> Path:
    """The folder of a run. The current folder itself is refused, since a run would fill it with its files."""
    if value.expanduser().resolve() == Path.cwd().resolve() or "\0" in str(value):
        raise wrong("cannot be the current folder; give a folder of its own, for instance runs/first")
    return value


def check_repo_id(value: str) -> str:
    """The id of a repository on the hub that something is pushed to. Nothing is asked of the hub."""
    if problem := wrong_repo_id(value):
        raise wrong(f"{short(value)}: {problem}")
    return value


def check_no_duplicates(values: Items) -> Items:
    """A list in which no item stands twice."""
    for index, value in enumerate(values):
        if value in values[:index]:
            raise wrong(f"{value!r} is listed twice", index)
    return values


def check_sizes(values: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes of embeddings: none or several different ones, in any order. They are returned largest first."""
    check_no_duplicates(values)
    if len(values) == 1:
        raise wrong(f"{values[0]} alone is no choice of sizes; add smaller ones, or remove this")
    return tuple(sorted(values, reverse=True))


def check_mixture(value: str) -> str:
    """``sample``, the built-in mixture, or a folder with a mixture.json."""
    if value == "sample":
        return value
    if not exists(value):
        raise wrong(f"no such folder: {short(value)}{nearest(value, ['sample'])}")
    if not (Path(value).expanduser() / "mixture.json").is_file():
        raise wrong(f"{short(value)} holds no mixture.json")
    return value


def check_names_in_mixture(mixture: str, chosen: Mapping[str, Sequence[str] | None]) -> None:
    """Raise for a task or test set in ``data.tasks``, ``data.tests`` … that the mixture on disk does not have.

    A mixture.json that is not as it should be is left for the loading of the mixture to complain about.
    """
    if mixture == "sample":
        return
    content = read_json(Path(mixture).expanduser() / "mixture.json")
    for kind, names in chosen.items():
        entries = content.get("tests" if kind == "tests" else "tasks") if isinstance(content, dict) else None
        if not isinstance(entries, list) or names is None:
            continue
        known = [str(entry.get("name")) for entry in entries if isinstance(entry, dict)]
        for index, wanted in enumerate(names):
            if wanted not in known:
                what = "test set" if kind == "tests" else "task"
                raise wrong(f"the mixture has no {what} {short(wanted)}{nearest(wanted, known)}", kind, index)


def check_keys_name_folders(values: Named) -> Named:
    """A mapping whose keys become names of folders: valid names, and different on disks that ignore case."""
    folded: dict[str, str] = {}
    for key in values:
        try:
            check_folder_name(key)
        except PydanticCustomError as error:
            raise wrong(error.message(), key) from None
        if (other := folded.setdefault(key.casefold(), key)) != key:
            raise wrong(f"{short(key)} and {short(other)} differ in case only; rename one", key)
    return values


def check_data_source(value: str, info: ValidationInfo) -> str:
    """The source of a task: a file or folder that exists, a file on the hub, or the id of a data set there.

    Nothing is asked of the hub.
    """
    if exists(value) or is_hub_file(value) or not _needs_training_data(info):
        return value
    if value.startswith("hf://"):
        raise wrong(f"{short(value)} names no file of a data set; expected hf://datasets/OWNER/NAME/FILE")
    if looks_like_file(value) or not is_hub_id(value):
        raise wrong(f"no such file or folder: {short(value)}")
    return value


def check_columns(values: dict[str, str]) -> dict[str, str]:
    """A mapping from the parts of a row (``query``, ``positives`` …) to the columns of a file."""
    for key in values:
        if key not in COLUMNS:
            raise wrong(f"unknown column{nearest(key, COLUMNS) or '; known: ' + ', '.join(COLUMNS)}", key)
    return values


def check_beir_folder(value: str) -> str:
    """A folder with the three files of a test set in BEIR's layout."""
    if not exists(value):
        raise wrong(f"no such folder: {short(value)}")
    for file in BEIR_FILES:
        if not (Path(value).expanduser() / file).is_file():
            raise wrong(f"{short(value)} holds no {file}")
    return value


def check_model(value: str) -> str:
    """A base model: a packaged one, a folder that exists, or a hub id."""
    if value in PACKAGED or exists(value):
        return value
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", value):
        raise wrong(f"no such folder: {short(value)}")
    suggestion = nearest(value, PACKAGED, cutoff=0.75)
    if "/" not in value and suggestion:
        raise wrong(f"unknown model {short(value)}{suggestion}")
    return value


def check_embedding_model(value: str) -> str:
    """A model that hard negatives are mined with: as :func:`check_model`, but it must embed texts."""
    if PACKAGED.get(value) == "decoder" or value.endswith(".gguf"):
        raise wrong(f"{short(value)} is a language model, not an embedding model; take minilm or a model you trained")
    return check_model(value)


def check_ranks(value: tuple[int, int]) -> tuple[int, int]:
    """The first and the last rank of a range."""
    if not 1 <= value[0] <= value[1]:
        raise wrong(f"expected [FROM, TO] with 1 <= FROM <= TO, found {list(value)}")
    return value


def check_batch_fits_ranks(value: int) -> int:
    """A batch that the processes of a torchrun can share equally. Their number is in the environment."""
    ranks = os.environ.get("WORLD_SIZE", "1")
    if ranks.isdecimal() and value < int(ranks):
        raise wrong(f"a batch of {value} is smaller than the {ranks} ranks of this run")
    if ranks.isdecimal() and int(ranks) and value % int(ranks):
        raise wrong(f"a batch of {value} cannot be shared equally by the {ranks} ranks of this run")
    return value


def check_warmup(warmup: float, steps: int) -> None:
    """Raise unless the warm-up is a share below 1, or a whole number of steps that end before the training does."""
    if warmup >= 1 and warmup != int(warmup):
        raise wrong(f"expected a share below 1 or a whole number of steps, found {warmup:g}", "warmup_steps")
    if warmup >= max(steps, 1) and warmup >= 1:
        raise wrong(f"a warm-up of {warmup:g} steps does not end within the {steps} steps of training", "warmup_steps")


def check_weights_source(value: str) -> str:
    """``paper``, the weights that the paper's authors released, or a weights file."""
    if value != "paper" and not (exists(value) and Path(value).expanduser().is_file()):
        raise wrong(f"no such file: {short(value)}{nearest(value, ['paper'])}")
    return value


def check_count_or_auto(value: Any) -> Any:
    """A whole number above 0, or the word ``auto``."""
    if value == "auto" or (type(value) is int and value >= 1):
        return value
    found = short(value) if isinstance(value, str) else repr(value)
    raise wrong(f"expected 'auto' or a whole number of at least 1, found {found[:60]}")


def check_mixture_name(value: str) -> str:
    """A mixture that a model is fine-tuned on: ``uniform``, ``top-70`` …"""
    try:
        return str(parse_mixture(value))
    except UserError as error:
        raise wrong(str(error)) from None


def check_times_longer(value: float) -> float:
    """How many times longer a training is: a number that a folder's name gives back."""
    if float(f"{value:g}") != value:
        raise wrong(f"{value!r} has too many digits; {value:.3g} will do")
    return value


def check_device(value: str) -> str:
    """A device by torch's name for it. Whether this machine has it shows when it is used."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", value):
        suggestion = nearest(value, ["auto", "cpu", "mps", "cuda"])
        raise wrong(f"unknown device {short(value)}{suggestion or '; known: auto, cpu, mps, cuda, cuda:N'}")
    return value
