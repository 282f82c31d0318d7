"""Parse a GGUF file once, not three times, while a model is read from it; and without a bar of transformers' own.

transformers opens the file for the configuration, for the tokenizer and for the weights, and each time the reader of
the ``gguf`` package parses the whole vocabulary: 3 s for SmolLM2. See docs/decisions.md, gguf-parsed-once.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def gguf_parsed_once() -> Iterator[None]:
    """Inside it, everybody who opens a GGUF file that is open already gets the same reader.

    The readers of the last two files are kept. It works by replacing ``gguf.GGUFReader``, which transformers looks up
    at each call. Also a decorator: ``@gguf_parsed_once()``.
    """
    try:
        import gguf
    except ImportError:  # transformers says so if a GGUF file is read
        yield
        return
    library: Any = gguf
    reader = library.GGUFReader
    library.GGUFReader = functools.lru_cache(maxsize=2)(reader)
    try:
        yield
    finally:
        library.GGUFReader = reader


@contextlib.contextmanager
def gguf_without_bar() -> Iterator[None]:
    """Inside it, transformers draws no progress bar while it reads weights from GGUF.

    It draws this one even where its bars are turned off, and 40 times into a log.
    """
    from transformers import modeling_gguf_pytorch_utils

    library: Any = modeling_gguf_pytorch_utils
    bar = library.tqdm
    library.tqdm = functools.partial(bar, disable=True)
    try:
        yield
    finally:
        library.tqdm = bar
