"""Which kind of model lies somewhere, from its files alone, so that one that is no embedder is refused before any work.

sentence-transformers loads almost anything as an embedder: of a reranker, a sparse or a late-interaction model it takes
the transformer and puts a new mean pooling on it, and the scores are those of a model that nobody made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tdro.errors import UserError
from tdro.files import read_json

# Modules that read a text's tokens and nothing else (see :mod:`tdro.models.own_encode`).
FROM_TOKENS = frozenset(
    ["Transformer", "StaticEmbedding", "Pooling", "Dense", "Normalize", "LayerNorm", "Dropout", "WeightedLayerPooling"]
)
ROUTES = "sends queries and passages through different modules (Router)"

_SPARSE = "a sparse model (SparseEncoder, SPLADE): a weight a word"
_MULTI = "a late-interaction model (multi-vector, ColBERT): a vector a token"
_CROSS = "a reranker (CrossEncoder): it scores pairs and gives no vectors"
_IMAGE = "a model of images and text (CLIP)"
_TYPES = {"SparseEncoder": _SPARSE, "MultiVectorEncoder": _MULTI, "ColBERT": _MULTI, "CrossEncoder": _CROSS}
# Parts of modules' types in modules.json.
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
_IMAGES = ("clip", "siglip", "altclip", "align")  # in the model_type of a configuration


def refuse_other_models(source: Path | str) -> None:
    """Raise :class:`UserError` for a model that is known not to give one vector a text; say what it is.

    Args:
        source: a folder or a hub id. What cannot be read is for whoever loads it.
    """
    if what := _other_kind(str(source)):
        raise UserError(f"{source}: {what}; tdro takes embedding models, which give one vector a text")


def refuse_as_base(source: Path | str) -> None:
    """Raise :class:`UserError` for a model that cannot be trained: no embedder, or one that reads more than tokens.

    Args:
        source: as in :func:`refuse_other_models`.
    """
    refuse_other_models(source)
    for module in _read(str(source), "modules.json") or ():
        if (name := str(module.get("type")).rpartition(".")[2]) not in FROM_TOKENS:
            what = ROUTES if name in ("Router", "Asym") else f"has a module of another kind ({name})"
            raise UserError(f"{source}: it {what}, and training reads tokens only; it can be evaluated")


def about_bare(name: str, pooling: object, adapter: bool = False) -> str:
    """What sentence-transformers makes of a model without ``modules.json``, as what follows its name.

    Args:
        name: of the transformer's class.
        pooling: that it got.
        adapter: it is an adapter of that transformer.
    """
    what = "an adapter of a bare transformer" if adapter else "a bare transformer"
    how = {"lasttoken": "the last token's vector", "mean": "mean pooling"}.get(str(pooling), f"pooling {pooling}")
    return f"{what} ({name}), which says nothing of pooling; sentence-transformers takes {how}"


def is_bare(source: Path | str) -> bool:
    """Whether a model has no ``modules.json``, so that sentence-transformers chooses the pooling."""
    return _read(str(source), "modules.json") is None


def _other_kind(source: str) -> str | None:
    about = _read(source, "config_sentence_transformers.json") or {}
    if what := _TYPES.get(str(about.get("model_type"))):
        return what
    if str(about.get("similarity_fn_name")).lower() == "maxsim":
        return _MULTI
    modules = _read(source, "modules.json")
    types = [str(module.get("type")) for module in modules or ()]
    if found := [what for part, what in _MODULES.items() if any(part in name for name in types)]:
        return found[0]
    folder = str(modules[0].get("path") or "") if modules else ""
    return _of_transformer(_read(source, f"{folder}/config.json".lstrip("/")) or {}, bare=modules is None)


def _of_transformer(config: dict[str, Any], bare: bool) -> str | None:
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
    """A JSON file of a model; None if it has none, it cannot be read, or that cannot be known."""
    if Path(source).exists():
        try:
            return read_json(Path(source) / name) if (Path(source) / name).is_file() else None
        except UserError:  # said in full by whoever reads the model
            return None
    from huggingface_hub import hf_hub_download

    for owner in ("",) if "/" in source else ("sentence-transformers/", ""):  # as sentence-transformers looks
        try:
            return read_json(Path(hf_hub_download(owner + source, name)))
        except (OSError, ValueError, UserError):  # no such file, model or network
            continue
    return None
