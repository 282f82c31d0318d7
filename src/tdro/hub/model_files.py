"""The files of a model on the hub: a single one, or all but its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tdro.errors import UserError
from tdro.hub.faults import hub_fault

_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.onnx", "*.h5", "*.msgpack", "*.gguf", "*.ot", "*.mlmodel")
_EXPORTS = ("onnx/*", "openvino/*", "coreml/*")


def model_file(model: str, name: str) -> Path | None:
    """The path of a model's file in the hub client's cache, downloaded if it is new; None if there is no such file.

    Args:
        model: the model's id. One without an owner is one of sentence-transformers', if there is one, as for that
            library.
        name: the file's path in the model's repository.

    Raises:
        UserError: there is no such model, or the hub cannot be asked and the model has never been downloaded.

    Example::

        model_file("owner/name", "modules.json")
    """
    from huggingface_hub import hf_hub_download

    return _ask(model, lambda model_id: hf_hub_download(model_id, name))


def model_folder(model: str) -> Path | None:
    """A folder with all files of a model but its weights, downloaded if they are new.

    Arguments and errors as in :func:`model_file`. None where the model was downloaded before, but none of these files.
    """
    from huggingface_hub import snapshot_download

    return _ask(model, lambda model_id: snapshot_download(model_id, ignore_patterns=[*_WEIGHTS, *_EXPORTS]))


def _ask(model: str, ask: Callable[[str], str]) -> Path | None:
    if "/" not in model:
        try:
            return _ask(f"sentence-transformers/{model}", ask)
        except UserError:  # no such model there
            pass
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RemoteEntryNotFoundError

    try:
        return Path(ask(model))
    except RemoteEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise UserError(f"{model}: no such folder, and no id that a model on the hub could have") from error
    except LocalEntryNotFoundError as error:
        if _was_downloaded(model):  # without this file, as far as anybody knows here
            return None
        raise UserError(hub_fault(error, model) or f"{model}: cannot be downloaded ({error})") from error
    except Exception as error:  # the client's own, httpx's, OSError
        line = hub_fault(error, model)
        if line is None:
            raise
        raise UserError(line) from error


def _was_downloaded(model: str) -> bool:
    """Whether the cache has some files of a model."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=model, repo_type="model")
    return any(folder.glob("snapshots/*/*"))
