"""From what a user calls a model (``base.source``) to the files that it is read from.

A source is a folder, an id of the Hugging Face hub, a ``.gguf`` file, or one of the packaged models ``smollm2`` and
``minilm``.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from tokenizers import Tokenizer

from tdro.data.read.file_digest import file_digest
from tdro.errors import UserError
from tdro.files import fingerprint
from tdro.hub.faults import hub_fault
from tdro.hub.model_files import model_file
from tdro.models.packaged import packaged_model

_MODEL_FILES = (".json", ".safetensors", ".bin", ".gguf", ".model", ".txt", ".py", ".jinja")  # that models are read of


def model_source(source: str) -> tuple[str, str | None]:
    """A folder or hub id that transformers understands, and the name of the GGUF file in it or None.

    ``models/a.gguf`` gives ``("models", "a.gguf")``; ``org/name`` gives ``("org/name", None)``.

    Raises:
        UserError: a packaged model cannot be downloaded, or a GGUF file is meant and its package is not installed.
    """
    if (source == "smollm2" or source.endswith(".gguf")) and find_spec("gguf") is None:
        raise UserError(f"base.source {source}: read from a GGUF file, which needs a package: pip install 'tdro[gguf]'")
    path = packaged_model(source) or Path(source)
    if path.suffix == ".gguf":
        return str(path.parent), path.name
    return str(path), None


def encoder_source(source: str) -> str:
    """A folder or hub id of a model that is taken as it is. Raises :class:`UserError` for a GGUF file."""
    folder, gguf_file = model_source(source)
    if gguf_file:
        raise UserError(f"{source}: GGUF files are read as decoders; set base.kind to decoder")
    return folder


def plain_tokenizer(source: str) -> Tokenizer:
    """The fast (Rust) tokenizer of a source, which static models use. Raises :class:`UserError` where it has none."""
    folder, gguf_file = model_source(source)
    path = Path(folder) / "tokenizer.json"
    try:
        if path.exists():
            return Tokenizer.from_file(str(path))
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf_file)
        return Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    except Exception as error:  # tokenizers raises plain Exception for a broken file
        fault = hub_fault(error, source)
        raise UserError(fault or f"base.source {source}: no fast tokenizer can be read from it ({error})") from error


def has_file(source: str, name: str) -> bool:
    """Whether a folder or a model on the hub has a file of this name.

    Raises:
        UserError: no such model on the hub, or the hub cannot be asked.
    """
    if Path(source).exists():
        return (Path(source) / name).exists()
    return model_file(source, name) is not None


def source_content(source: str) -> str:
    """A key for what a source holds: the pipeline builds the base anew when the key has changed.

    Of a folder or file it is a digest of the files' bytes, wherever they lie. So a model that was trained once more in
    the same place is noticed, and so is another project's ``models/base``. A hub id or a packaged model stands for
    itself.
    """
    path = Path(source)
    if path.is_file():
        return fingerprint([path.suffix, file_digest(path)])
    if not path.is_dir():
        return source
    files = sorted(file for file in path.rglob("*") if file.suffix in _MODEL_FILES and file.is_file())
    return fingerprint([[file.relative_to(path).as_posix(), file_digest(file)] for file in files])
