"""A GGUF file is parsed once while a model is read from it, and not three times.

gguf's reader makes an array of each of 49 k tokens and as many merges, 3 s for SmolLM2, and transformers reads the file
anew for the configuration, the tokenizer and the weights. Rejected: a parser of our own, and passing transformers a
reader (it takes none).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def gguf_parsed_once() -> Iterator[None]:
    """Within, all who open the same GGUF file share its reader; the last two files are kept until the end."""
    try:
        import gguf
    except ImportError:  # whoever needs it will say so
        yield
        return
    library: Any = gguf
    reader = library.GGUFReader
    library.GGUFReader = functools.lru_cache(maxsize=2)(reader)  # looked up by each call, not at import
    try:
        yield
    finally:
        library.GGUFReader = reader
