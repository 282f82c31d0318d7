"""What an embedder really does: does the end of the text reach the pool? And what it is, by content.

A tokenizer that forgets EOS, truncates it away, pads with it or wraps texts in a chat template gives a model
that trains without complaint and retrieves badly. So nothing is believed that a configuration says: texts are
encoded the way training encodes them, and the last token is looked at. Rejected: comparing scores of a few
sentences, which a bad pooling passes too often.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from torch import Tensor

from tdro.disk import writing
from tdro.errors import UserError
from tdro.files import sha256
from tdro.models.own_encode import needs_own_encode, prompt_is_message

_TEXTS = ["a", "What is a task?", "Où est le chat ? 猫はどこですか。"]
_LONGEST_TRIED = 4096
# Not part of what a model computes: cards, training notes, and adapters' and libraries' versions inside JSON.
_NOT_CONTENT = {"training.json", "special_tokens_map.json"}
_OLDER = {".bin": "*.safetensors", ".pt": "*.safetensors", ".txt": "tokenizer.json", ".model": "tokenizer.json"}
_VERSIONS = {"__version__", "transformers_version", "_name_or_path", "peft_version", "name_or_path"}


def check_embedder(model: SentenceTransformer) -> list[str]:
    """What is wrong with how a model turns texts into one vector, as the base of a training; empty if nothing is.

    Nothing goes through the transformer, so it is quick for a model of any size.
    """
    first = model[0]
    if reason := needs_own_encode(model):
        return [f"it {reason}, and training reads tokens only"]
    if isinstance(first, StaticEmbedding):
        return [] if torch.isfinite(first.embedding.weight).all() else ["its vectors are not all finite numbers"]
    findings: list[str] = []
    if prompt_is_message(model):
        findings.append("a chat template wraps every text: set the tokenizer's chat_template to none")
    pooling = next((module for module in model if isinstance(module, Pooling)), None)
    if pooling is not None and pooling.pooling_mode == "lasttoken":
        findings += _check_last_token(model, pooling)
    return findings


def _check_last_token(model: SentenceTransformer, pooling: Pooling) -> list[str]:
    tokenizer = model.tokenizer
    eos = tokenizer.eos_token_id
    if eos is None:
        return ["its tokenizer has no end-of-sequence token"]
    findings = []
    if tokenizer.pad_token_id in (None, eos):
        findings.append("its pad token is missing or the end-of-sequence token itself, which then has no gradient")
    if tokenizer.padding_side != "right":
        findings.append(f"it pads on the {tokenizer.padding_side}, not on the right")
    limit = min(model.max_seq_length or _LONGEST_TRIED, _LONGEST_TRIED)
    texts = [*_TEXTS, "word " * (limit + 50)]
    for text in texts:
        if token_ids(model, text)[-1] != eos:
            what = f"a text cut to {limit} tokens" if text == texts[-1] else repr(text)
            findings.append(f"no end-of-sequence token at the end of {what}")
            break
    rows = [token_ids(model, text) for text in _TEXTS]
    for side in ("right", "left"):
        if not _pools_last(pooling, rows, side):
            findings.append(f"the pool is not the last token when padding is on the {side}")
    return findings


def token_ids(model: SentenceTransformer, text: str) -> list[int]:
    """The tokens of one text as training sees them, without padding. Not for static models."""
    features = model.preprocess([text])
    ids = features["input_ids"][0]
    if (mask := features.get("attention_mask")) is not None:
        ids = ids[mask[0].bool()]
    return ids.tolist()


def _pools_last(pooling: Pooling, rows: list[list[int]], side: str) -> bool:
    """Pool token ids in the place of token embeddings: what comes out says which position was taken."""
    longest = max(map(len, rows))
    ids, mask = torch.full((len(rows), longest), -1.0), torch.zeros(len(rows), longest, dtype=torch.long)
    for row, values in enumerate(rows):
        where = slice(0, len(values)) if side == "right" else slice(longest - len(values), longest)
        ids[row, where] = torch.tensor(values, dtype=torch.float)
        mask[row, where] = 1
    features: dict[str, Tensor | Any] = {"token_embeddings": ids[..., None], "attention_mask": mask}
    pooled = pooling(features)["sentence_embedding"][:, 0]
    return pooled.tolist() == [float(values[-1]) for values in rows]


def model_fingerprint(model: SentenceTransformer | Path | str) -> str:
    """16 hex digits of what a model computes: weights, tokenizer and module settings, by content.

    The same for a folder, a copy of it, and the model read from it (as far as its files have today's formats). Code
    that comes with it counts. Versions of libraries, the model card and training notes do not. An adapter counts
    together with the base it names.

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
    """Whether a file is a part of what a model computes. Of older formats, where there is no newer one beside them."""
    if path.name in _NOT_CONTENT or path.suffix not in (".safetensors", ".json", ".py", *_OLDER):
        return False
    newer = _OLDER.get(path.suffix)
    return newer is None or not any(path.parent.glob(newer))


def _content(path: Path) -> Any:
    """A JSON file without what does not change the model's output."""
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        return value
    value = {key: item for key, item in value.items() if key not in _VERSIONS}
    if path.name == "tokenizer.json" and (path.parent / "sentence_bert_config.json").exists():
        # transformers leaves the last call's padding and truncation here; both are set anew at every call
        value = {key: item for key, item in value.items() if key not in ("padding", "truncation")}
    if path.name == "adapter_config.json" and (Path(base := value["base_model_name_or_path"])).is_dir():
        value["base_model_name_or_path"] = model_fingerprint(base) if (Path(base) / "modules.json").exists() else base
    return value
