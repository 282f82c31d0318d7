"""A base model's tokenizer and longest text, read from its files, without its weights.

For what is said before anything is built: `tdro plan` counts tokens with it, and the pipeline sees what the recipe's
limits cut off. The tokens are those of the embedder that :func:`tdro.models.base.build_base` would make.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from tdro.data.tokens.limits import positions, within
from tdro.errors import UserError, first_line
from tdro.files import read_json
from tdro.hub.model_files import model_folder
from tdro.models.decoder import embedding_tokenizer
from tdro.models.gguf_file import gguf_parsed_once
from tdro.models.sources import has_file, model_source, plain_tokenizer

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from tdro.recipe.training_sections import Base

# Where sentence-transformers keeps max_seq_length; the first file that is there counts.
_LENGTH_FILES = [
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
]


@dataclass(frozen=True)
class BaseTokens:
    """How a base model makes tokens of texts.

    Attributes:
        name: the recipe's ``base.source``.
        encode: ``encode(texts, max_tokens)`` gives the token ids of texts, special tokens included, cut to
            ``max_tokens`` or whole where that is None.
        longest: the most tokens that the model reads, prompt included; None: no limit.
    """

    name: str
    encode: Callable[[list[str], int | None], list[list[int]]]
    longest: int | None

    def count(self, texts: list[str]) -> NDArray[np.int64]:
        """The number of tokens of each whole text, special tokens included; shape (len(texts),)."""
        return np.array([len(ids) for ids in self.encode(texts, None)] if texts else [], dtype=np.int64)


@gguf_parsed_once()
def base_tokens(base: Base, trust_remote_code: bool = False) -> BaseTokens:
    """How the embedder that is built from a recipe's ``base`` makes tokens of texts.

    Raises:
        UserError: the tokenizer cannot be read.
    """
    if base.kind == "static":
        return _static(base.source, base.source, cut=False)
    folder, gguf_file = base_files(base)
    if base.kind == "encoder" and is_static(folder):
        return _static(base.source, folder, cut=True)
    from transformers import AutoConfig, AutoTokenizer

    options = {"gguf_file": gguf_file, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(folder, **options)
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"base.source {base.source}: its tokenizer cannot be read ({first_line(error)})") from error
    limit = tokenizer.model_max_length
    if base.kind == "decoder":
        tokenizer = embedding_tokenizer(tokenizer, max_tokens=1_000_000)  # so that it does not warn of long texts
    else:
        limit = _max_seq_length(folder) or limit

    def encode(texts: list[str], max_tokens: int | None) -> list[list[int]]:
        return tokenizer(texts, truncation=max_tokens is not None, max_length=max_tokens).input_ids

    return BaseTokens(base.source, encode, within(limit, _positions(config, trust_remote_code)))


def base_tokens_or_none(base: Base, trust_remote_code: bool = False) -> BaseTokens | None:
    """As :func:`base_tokens`; None where the tokenizer cannot be read in this way, though training may read it."""
    try:
        return base_tokens(base, trust_remote_code)
    except UserError:
        return None


def base_files(base: Base) -> tuple[str, str | None]:
    """The folder with a base's ``config.json`` and tokenizer, and the name of the GGUF file in it or None.

    In a sentence-transformers model they may be in the folder of its first module. Of such a model on the hub, all
    files but the weights are downloaded.

    Raises:
        UserError: no such model on the hub, or the hub cannot be asked.
    """
    folder, gguf_file = model_source(base.source)
    if base.kind == "encoder" and not Path(folder).exists() and has_file(folder, "modules.json"):
        folder = str(model_folder(folder) or folder)
    modules = Path(folder) / "modules.json"
    if modules.is_file() and not (Path(folder) / "config.json").is_file():
        return str(Path(folder) / read_json(modules)[0]["path"]), gguf_file
    return folder, gguf_file


def is_static(folder: str) -> bool:
    """Whether a folder holds a static model: a tokenizer, and no configuration of a transformer."""
    path = Path(folder)
    return (path / "tokenizer.json").is_file() and not (path / "config.json").is_file()


def _static(name: str, source: str, cut: bool) -> BaseTokens:
    """The tokens of a static model.

    Args:
        name: the recipe's ``base.source``.
        source: where the tokenizer is.
        cut: keep the tokenizer's truncation. A finished static model has it on purpose; a new one, which only borrows
            the tokenizer, reads whole texts.
    """
    tokenizer = plain_tokenizer(source)
    longest = tokenizer.truncation["max_length"] if cut and tokenizer.truncation else None
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def encode(texts: list[str], max_tokens: int | None) -> list[list[int]]:
        return [found.ids[:max_tokens] for found in tokenizer.encode_batch(texts, add_special_tokens=False)]

    return BaseTokens(name, encode, longest)


def _max_seq_length(folder: str) -> int | None:
    """The ``max_seq_length`` in a sentence-transformers model's files; None where it leaves that to the tokenizer."""
    from transformers.utils import cached_file

    for name in _LENGTH_FILES:
        try:
            path = cached_file(folder, name, _raise_exceptions_for_missing_entries=False)
        except OSError:  # no such model here, and no network
            return None
        if path is not None:
            found = read_json(Path(path))
            return found.get("max_seq_length") if isinstance(found, dict) else None
    return None


def _positions(config: PretrainedConfig, trust_remote_code: bool) -> int | None:
    from transformers import AutoModel

    try:
        with torch.device("meta"):
            model: Any = AutoModel.from_config(config, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError):  # AutoModel does not know it, though training may load it otherwise
        return within(getattr(config.get_text_config(), "max_position_embeddings", None) or None)
    return positions(model)
