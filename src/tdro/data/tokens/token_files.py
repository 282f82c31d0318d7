"""The tokens on disk: written by one process, mapped by all that read them.

A folder holds ``ids.raw`` (all token ids), ``starts.raw`` (where each text's ids start, int64) and ``tokens.json``,
which describes them and is written last. Only a batch is in memory at a time, and a process goes on where a killed one
stopped. See docs/decisions.md, raw-token-files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tdro.data.tokens.stored_texts import AnyTexts, StoredTexts
from tdro.data.tokens.tokenize import Tokens, row_lengths, token_format, tokenized, tokenizer_state
from tdro.errors import UserError
from tdro.files import fingerprint, make_once, read_json, write_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FORMAT = "tdro-tokens/1"


def kept_tokens(
    model: SentenceTransformer,
    texts: AnyTexts,
    max_tokens: int,
    folder: Path,
    *,
    content: str,
    texts_name: str = "texts",
) -> Tokens:
    """The tokens of texts, memory-mapped from ``folder``. If they are not there yet, they are made first.

    Args:
        model: its tokenizer is used.
        texts: they are read only if their tokens are not there yet.
        max_tokens: the most tokens of a text; the prompts of :class:`StoredTexts` come on top.
        folder: may hold the tokens of any number of texts. Each gets its own folder in it, named after a fingerprint of
            the tokenizer, the texts and where they are cut.
        content: a digest of the texts in their order. Equal digests mean equal texts.
        texts_name: names the texts in the progress bar and in errors.

    Raises:
        UserError: the folder cannot be written or read, or a prompt leaves nothing of the texts.
    """
    rows = row_lengths(model, texts, max_tokens, texts_name)
    key = [FORMAT, tokenizer_state(model), content, *_cuts(texts, rows)]
    place = Path(folder) / fingerprint(key)
    make_once(place / "tokens.json", lambda: _write(model, texts, rows, place, texts_name))
    try:
        return _open(place)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{place}: cannot be read ({error}); remove the folder, it is made again") from error


def _cuts(texts: AnyTexts, rows: Mapping[str, int]) -> list[object]:
    """Where texts are cut, as a part of their folder's name.

    The prompts are in it too if there are any. A text with its prompt is one string, which does not say where the
    prompt ends, and the cut depends on that.
    """
    if rows.keys() == {""} or not isinstance(texts, StoredTexts):
        return list(rows.values())
    return [[[prompt, rows[prompt]] for prompt in texts.prompts]]


def _write(model: SentenceTransformer, texts: AnyTexts, rows: Mapping[str, int], place: Path, texts_name: str) -> None:
    """Tokenize the texts that are not on disk yet, and append them to the files."""
    ids_format = token_format(model)
    with (place / "ids.raw").open("ab") as ids_file, (place / "starts.raw").open("ab") as starts_file:
        done, end = _written(place, ids_file, starts_file, ids_format.dtype)
        for ids, lengths in tokenized(model, texts, rows, ids_format, texts_name, done):
            # First the ids, then the starts that point to them: so every start on disk is right.
            _append(ids_file, ids)
            _append(starts_file, end + np.cumsum(lengths, dtype=np.int64))
            end += len(ids)
    about = {"format": FORMAT, "texts": len(texts), "dtype": ids_format.dtype.name, "padding": ids_format.padding}
    write_json(place / "tokens.json", about)


def _written(place: Path, ids: BinaryIO, starts: BinaryIO, dtype: np.dtype) -> tuple[int, int]:
    """How many texts and tokens an earlier process has written. What it wrote in part is cut off the files."""
    found = np.fromfile(place / "starts.raw", dtype=np.int64)
    # If the machine went down, the end of the file may be zeros. Only starts that rise and have their ids count.
    whole = (np.diff(found, prepend=0) >= 0) & (found * dtype.itemsize <= ids.tell())
    known = int(np.logical_and.accumulate(whole).sum())
    end = int(found[known - 1]) if known else 0
    starts.truncate(found.itemsize * known)
    ids.truncate(dtype.itemsize * end)
    if not known:
        _append(starts, np.zeros(1, dtype=np.int64))
    return max(known - 1, 0), end


def _append(file: BinaryIO, values: NDArray) -> None:
    """Write an array to the end of a file, and wait until it is on disk."""
    file.write(values.tobytes())
    file.flush()
    os.fsync(file.fileno())


def _open(place: Path) -> Tokens:
    """Map finished tokens from their folder."""
    about = read_json(place / "tokens.json")
    ids = _mapped(place / "ids.raw", np.dtype(about["dtype"]))
    starts = _mapped(place / "starts.raw", np.dtype(np.int64))
    if len(starts) != about["texts"] + 1 or len(ids) != starts[-1]:
        raise ValueError("a file is not as long as it was")
    return Tokens(ids, starts, about["padding"])


def _mapped(path: Path, dtype: np.dtype) -> NDArray:
    """A memory-mapped array, as a plain array: NumPy's own class for maps makes every small look-up slower."""
    if not path.stat().st_size:  # an empty file cannot be mapped
        return np.zeros(0, dtype=dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))
