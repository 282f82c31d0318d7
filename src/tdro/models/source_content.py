"""What a model's source holds: a key for the base that is built from it.

A folder counts by its files, wherever it lies; so a model that was trained anew, or another project's folder of the
same relative path, is not taken for the one that was built before. An id of the hub and a packaged model are known by
their names.
"""

from __future__ import annotations

from pathlib import Path

from tdro.data.read.file_digest import file_digest
from tdro.files import fingerprint

_READ = (".json", ".safetensors", ".bin", ".gguf", ".model", ".txt", ".py", ".jinja")  # of a model's folder


def source_content(source: str) -> str:
    """The fingerprint of the files that a local model is read from; else the source as it is."""
    path = Path(source)
    if path.is_file():
        return fingerprint([path.suffix, file_digest(path)])
    if not path.is_dir():
        return source
    files = sorted(file for file in path.rglob("*") if file.suffix in _READ and file.is_file())
    return fingerprint([[file.relative_to(path).as_posix(), file_digest(file)] for file in files])
