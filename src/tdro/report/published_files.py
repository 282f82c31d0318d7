"""What of a fine-tuned model is published: the model, its card and the learned weights, without the training's records.

``training.json`` and ``log.jsonl`` stay here: they name paths of this machine, and the card says what others need.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tdro.errors import UserError
from tdro.files import read_json
from tdro.gain.learned_weights import ALPHA, GAIN
from tdro.mixture_name import known_mixture
from tdro.models.saving import ADAPTER
from tdro.report.hide_paths import without_paths

CARD = "README.md"
WEIGHTS = "weights.json"
_OURS = ("training.json", "log.jsonl")
_OF_TRAINERS = re.compile(r"training|runs|checkpoint-\d+")  # folders that trainers leave beside a model
_LOADING = re.compile(r'SentenceTransformer\("[^"]*"\)(?:  # or the folder of this file)?')


def published_files(model: Path | str, repo: str) -> dict[str, Path | bytes]:
    """The files of a model's repository on the hub: their names, and where they are or what they hold.

    Args:
        model: the model's folder. If it is in a run's folder, ``weights.json`` is the run's weights that the model's
            mixture is made from.
        repo: the repository's id, which the card then names in its example.

    Raises:
        UserError: no model, a model without a card, or adapters of a base that nobody else has.
    """
    folder = Path(model)
    _check_model(folder)
    found: dict[str, Path | bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and not hidden and str(name) not in _OURS and not _OF_TRAINERS.fullmatch(name.parts[0]):
            found[name.as_posix()] = path
    found[CARD] = _card(folder / CARD, repo)
    if (weights := _weights(folder)) is not None:
        found[WEIGHTS] = weights
    return dict(sorted(found.items()))


def _check_model(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if not (folder / "modules.json").is_file():
        models = sorted(folder.glob("models/*/*/modules.json"))
        hint = f"; it is a run: name one of its models, such as {models[0].parent}" if models else ""
        raise UserError(f"{folder}: no model of sentence-transformers (modules.json is not there){hint}")
    if not (folder / CARD).is_file():
        raise UserError(f"{folder / CARD}: no such file; a model is published with its card, so write one")
    base = read_json(folder / ADAPTER).get("base_model_name_or_path") if (folder / ADAPTER).is_file() else None
    if base and (Path(base).is_absolute() or Path(base).exists()):
        raise UserError(
            f"{folder}: adapters of a base that only this machine has ({base}).\n"
            "Save them merged: tdro finetune RECIPE --merge"
        )


def _card(path: Path, repo: str) -> bytes:
    text = path.read_text(encoding="utf-8")
    return _LOADING.sub(f'SentenceTransformer("{repo}")', text, count=1).encode()


def _weights(folder: Path) -> bytes | None:
    """The weights of the run that the model is in, without paths of this machine; None where there are none."""
    if not (folder / _OURS[0]).is_file():
        return None
    mixture = known_mixture(str(read_json(folder / _OURS[0]).get("mixture")))
    by_gain = mixture is not None and mixture.uses_gain
    file = folder.resolve().parents[2] / (GAIN if by_gain else ALPHA)
    if not file.is_file():
        return None
    content: Any = without_paths(read_json(file))
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
