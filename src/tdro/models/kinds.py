"""Refuse models that are no embedding models, before they are loaded, from their files alone.

sentence-transformers loads almost anything as an embedding model. Of a reranker, a sparse or a late-interaction model
it takes the transformer and adds mean pooling, and the scores are then those of a model that nobody has made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tdro.errors import UserError
from tdro.files import read_json
from tdro.hub.model_files import model_file

# sentence-transformers' modules that read a text's tokens and nothing else (see :mod:`tdro.models.own_encode`).
TOKEN_MODULES = frozenset(
    ["Transformer", "StaticEmbedding", "Pooling", "Dense", "Normalize", "LayerNorm", "Dropout", "WeightedLayerPooling"]
)
ROUTES = "sends queries and passages through different modules (Router)"

_SPARSE = "a sparse model (SparseEncoder, SPLADE): a weight a word"
_MULTI = "a late-interaction model (multi-vector, ColBERT): a vector a token"
_CROSS = "a reranker (CrossEncoder): it scores pairs and gives no vectors"
_IMAGE = "a model of images and text (CLIP)"
# model_type in config_sentence_transformers.json.
_TYPES = {"SparseEncoder": _SPARSE, "MultiVectorEncoder": _MULTI, "ColBERT": _MULTI, "CrossEncoder": _CROSS}
# Parts of the types of modules in modules.json.
_MODULES = {
    "sparse_encoder": _SPARSE,
    "SpladePooling": _SPARSE,
    "SparseStaticEmbedding": _SPARSE,
    "SparseAutoEncoder": _SPARSE,
    "multi_vector_encoder": _MULTI,
    "pylate": _MULTI,
    "cross_encoder": _CROSS,
    "CLIPModel": _IMAGE,
}
_IMAGES = ("clip", "siglip", "altclip", "align")  # parts of model_type in config.json


def refuse_other_models(source: Path | str) -> None:
    """Raise :class:`UserError` for a model that is known not to give one vector a text, and say what it is.

    Args:
        source: a folder or a hub id. If a file is broken, nothing is raised: loading it will fail anyway.
    """
    if what := _other_kind(str(source)):
        raise UserError(f"{source}: {what}; tdro takes embedding models, which give one vector a text")


def refuse_as_base(source: Path | str) -> None:
    """Raise :class:`UserError` for a model that cannot be trained: it gives no embeddings, or needs more than tokens.

    Args:
        source: as in :func:`refuse_other_models`.
    """
    refuse_other_models(source)
    for module in _read(str(source), "modules.json") or ():
        if (name := str(module.get("type")).rpartition(".")[2]) not in TOKEN_MODULES:
            what = ROUTES if name in ("Router", "Asym") else f"has a module of another kind ({name})"
            raise UserError(f"{source}: it {what}, and training reads tokens only; it can be evaluated")


def about_bare(name: str, pooling: object, adapter: bool = False) -> str:
    """A sentence's end that says what sentence-transformers makes of a model without ``modules.json``.

    ``a bare transformer (BertModel), which says nothing of pooling; sentence-transformers takes mean pooling``.

    Args:
        name: name of the transformer's class.
        pooling: the pooling that sentence-transformers chose.
        adapter: whether the model is an adapter of that transformer.
    """
    what = "an adapter of a bare transformer" if adapter else "a bare transformer"
    how = {"lasttoken": "the last token's vector", "mean": "mean pooling"}.get(str(pooling), f"pooling {pooling}")
    return f"{what} ({name}), which says nothing of pooling; sentence-transformers takes {how}"


def is_bare(source: Path | str) -> bool:
    """Whether a model has no ``modules.json``, so that sentence-transformers chooses the pooling."""
    return _read(str(source), "modules.json") is None


def _other_kind(source: str) -> str | None:
    """What a model is, in words, if it is no embedding model; else None."""
    settings = _read(source, "config_sentence_transformers.json") or {}
    if what := _TYPES.get(str(settings.get("model_type"))):
        return what
    if str(settings.get("similarity_fn_name")).lower() == "maxsim":
        return _MULTI
    modules = _read(source, "modules.json")
    types = [str(module.get("type")) for module in modules or ()]
    if found := [what for part, what in _MODULES.items() if any(part in name for name in types)]:
        return found[0]
    folder = str(modules[0].get("path") or "") if modules else ""
    return _other_transformer(_read(source, f"{folder}/config.json".lstrip("/")) or {}, bare=modules is None)


def _other_transformer(config: dict[str, Any], bare: bool) -> str | None:
    """As :func:`_other_kind`, by the transformer's configuration; ``bare``: there is no modules.json."""
    if any(part in str(config.get("model_type")) for part in _IMAGES):
        return _IMAGE
    names = [str(name) for name in config.get("architectures") or ()]
    if any("colbert" in name.lower() for name in names):
        return _MULTI
    one_score = len(config.get("id2label") or "..") == 1 or "sentence_transformers" in config
    if bare and one_score and any(name.endswith("ForSequenceClassification") for name in names):
        return _CROSS
    return None


def _read(source: str, name: str) -> Any:
    """The value of a JSON file of a model; None if there is no such file, or it is broken.

    Raises:
        UserError: no such model on the hub, or the hub cannot be asked.
    """
    if Path(source).exists():
        try:
            return read_json(Path(source) / name) if (Path(source) / name).is_file() else None
        except UserError:  # whoever loads the model will say what is wrong
            return None
    path = model_file(source, name)
    try:
        return None if path is None else read_json(path)
    except UserError:  # as above
        return None
