"""The fingerprint of a model: a key for what it computes, made from the content of its files.

Stored embeddings and evaluation results carry it, so that they are used again for the same model only, wherever its
folder lies.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sentence_transformers import SentenceTransformer

from tdro.disk import writing
from tdro.errors import UserError
from tdro.files import sha256
from tdro.models.sources import source_content

_IGNORED_FILES = {"training.json", "special_tokens_map.json"}
# Files of older formats count only where their successor is not beside them: pytorch_model.bin, vocab.txt and so on.
_SUCCESSORS = {".bin": "*.safetensors", ".pt": "*.safetensors", ".txt": "tokenizer.json", ".model": "tokenizer.json"}
# Keys of JSON files that say which library wrote them, or from where, and change nothing that is computed.
_IGNORED_KEYS = {"__version__", "transformers_version", "_name_or_path", "peft_version", "name_or_path"}


def model_fingerprint(model: SentenceTransformer | Path | str) -> str:
    """16 hex digits of what a model computes: its weights, tokenizer, module settings and code, by content.

    A folder, a copy of it, and the model that was loaded from it have the same fingerprint (unless the folder is of an
    older format, which is not what a loaded model would be saved as). Versions of libraries, the model card and notes
    of the training do not count. An adapter counts together with the base that it names.

    Raises:
        UserError: not a model folder.
    """
    if isinstance(model, SentenceTransformer):
        with TemporaryDirectory(ignore_cleanup_errors=True) as temporary, writing(temporary):
            model.save_pretrained(temporary, create_model_card=False)
            return model_fingerprint(temporary)
    folder = Path(model)
    if not (folder / "modules.json").exists():
        raise UserError(f"{folder}: not a sentence-transformers model (no modules.json)")
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if not _counts(path):
            continue
        content = json.dumps(_content(path), sort_keys=True) if path.suffix == ".json" else sha256(path)
        digest.update(f"{path.relative_to(folder).as_posix()}\n{content}\n".encode())
    return digest.hexdigest()[:16]


def _counts(path: Path) -> bool:
    """Whether a file is a part of what a model computes."""
    if path.name in _IGNORED_FILES or path.suffix not in (".safetensors", ".json", ".py", *_SUCCESSORS):
        return False
    successor = _SUCCESSORS.get(path.suffix)
    return successor is None or not any(path.parent.glob(successor))


def _content(path: Path) -> Any:
    """The value of a JSON file, without the keys that do not change the model's output."""
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        return value
    value = {key: item for key, item in value.items() if key not in _IGNORED_KEYS}
    if path.name == "tokenizer.json" and (path.parent / "sentence_bert_config.json").exists():
        # transformers leaves the last call's padding and truncation here; both are set anew at every call.
        value = {key: item for key, item in value.items() if key not in ("padding", "truncation")}
    if path.name == "adapter_config.json" and (Path(base := value["base_model_name_or_path"])).is_dir():
        whole = (Path(base) / "modules.json").exists()  # a plain folder of transformers has no such file
        value["base_model_name_or_path"] = model_fingerprint(base) if whole else source_content(base)
    return value
