"""Notes which model the results in a folder are of, so that a folder never holds the results of two models.

``tdro evaluate`` writes a note into a model's folder of results before it writes the first result. If the note there
names another model, it refuses to go on.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from tdro.errors import UserError
from tdro.evaluation.results import note_path
from tdro.evaluation.scoring.model_prompts import ModelPrompts
from tdro.files import read_json, write_json
from tdro.versions import versions

_FORMAT = "tdro-evaluated/1"


def claim_folder(
    folder: Path, model: str, content: str, prompts: ModelPrompts, test_sets: Mapping[str, str], force: bool
) -> None:
    """Write down which model the results in a folder are of, and where the test sets are.

    Args:
        folder: the folder of results; it may not exist yet.
        model: the model's folder or id on the hub.
        content: the model's fingerprint.
        prompts: the model's own prompts.
        test_sets: by the name of a test set, the folder that it is in.
        force: whether the results of another model are removed.

    Raises:
        UserError: the folder has results of another model, and ``force`` is off; or the folder is a model itself.
    """
    if (folder / "modules.json").exists():
        raise UserError(f"{folder} is a model, and its results would be put into it; give another --out")
    path = note_path(folder)
    source = str(Path(model).resolve()) if Path(model).is_dir() else model
    before = read_json(path) if path.exists() else {}
    if before and content != before.get("fingerprint"):
        if not force:
            whose = "other weights of it" if source == before.get("model") else before.get("model")
            raise UserError(
                f"{folder} has the results of {whose}.\n"
                "Give another folder (--out), or --force to replace them, those on other test sets included."
            )
        _remove_results(folder)
        before = {}
    about = {"format": _FORMAT, "model": source, "fingerprint": content, "prompts": dict(prompts.by_name)}
    write_json(path, {**about, "test_sets": {**before.get("test_sets", {}), **test_sets}, "versions": versions()})


def _remove_results(folder: Path) -> None:
    """Remove the files that an evaluation wrote into a folder, and nothing else."""
    for path in folder.glob("*.json"):
        content = read_json(path)
        if isinstance(content, dict) and "queries" in content:
            path.unlink()
            path.with_suffix(".trec").unlink(missing_ok=True)
            shutil.rmtree(folder / path.stem, ignore_errors=True)  # of its parts, such as CQADupStack's forums
    for name in ("mteb", "mteb-own", ".embeddings"):
        shutil.rmtree(folder / name, ignore_errors=True)
