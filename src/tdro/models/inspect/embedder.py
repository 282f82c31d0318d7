"""What `tdro inspect` says of an embedding model, which tdro takes as it is (``base.kind: encoder``)."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from torch import nn
from transformers import PretrainedConfig

from tdro.errors import UserError
from tdro.models.embedder_check import check_embedder, token_ids
from tdro.models.inspect.facts import Form, ModelFacts, State, Tokenization
from tdro.models.inspect.probes import attention, count_parameters, dtype_on_disk, is_causal, tokenization
from tdro.models.own_encode import leaves_out_prompt, needs_own_encode
from tdro.models.similarity import similarity_of, trained_similarity


def embedder_facts(source: str, form: Form, folder: str, model: SentenceTransformer) -> ModelFacts:
    """The facts of a loaded embedder. A bare transformer has got a pooling from sentence-transformers.

    Args:
        source: what the user called it.
        form: the format that was found there.
        folder: where its weights are, or its hub id.
        model: the model that was loaded from there.

    Raises:
        UserError: it is neither a transformer nor a static model.
    """
    first, inner = model[0], model.transformers_model
    config = None if inner is None else inner.config.get_text_config()
    dtype = dtype_on_disk(folder, None, config)
    if not isinstance(first, (Transformer, StaticEmbedding)):
        raise UserError(f"{source}: it {needs_own_encode(model)}; it can be evaluated and mined with, but not trained")
    if inner is not None and config is not None:
        tokens = tokenization(model.tokenizer, model.max_seq_length, lambda text: token_ids(model, text))
        rows = cast(nn.Embedding, inner.get_input_embeddings()).num_embeddings
        found = State(tokens, config.num_hidden_layers, count_parameters(model), rows, dtype, _pooling(model))
    else:
        tokens = Tokenization(first.tokenizer.get_vocab_size(), max_tokens=None)
        found = State(tokens, None, count_parameters(model), first.embedding.num_embeddings, dtype, "mean")
    return ModelFacts(
        source=source,
        form=form,
        kind="encoder",
        architecture=type(inner or first).__name__,
        width=model.get_embedding_dimension() or 0,
        tied=None,
        found=replace(found, pooling=None) if form == "transformers" else found,
        built=found,
        trained=count_parameters(model),
        similarity=similarity_of(model).name,
        trained_similarity=trained_similarity(model),
        whole_width=_whole_width(model),
        attention=None if inner is None else attention(inner),
        prompts={name: text for name, text in model.prompts.items() if text},
        warnings=tuple(_embedder_warnings(model, found, config)),
    )


def _whole_width(model: SentenceTransformer) -> int | None:
    """The length of the embeddings before ``truncate_dim`` cuts them; None where nothing is cut."""
    if model.truncate_dim is None:
        return None
    with model.truncate_embeddings(None):
        return model.get_embedding_dimension()


def _pooling(model: SentenceTransformer) -> str | None:
    modes = next((module.pooling_mode for module in model if isinstance(module, Pooling)), None)
    return modes if modes is None or isinstance(modes, str) else "+".join(modes)


def _embedder_warnings(model: SentenceTransformer, found: State, config: PretrainedConfig | None) -> list[str]:
    causal = config is not None and is_causal(config)
    warnings = check_embedder(model)
    if warnings:
        hint = "; --kind decoder makes an embedder of it anew" if causal else ""
        warnings.append(f"so tdro does not take it as it is{hint}")
    if causal and found.pooling not in (None, "lasttoken"):
        warnings.append(f"{found.pooling} pooling of a causal model takes in tokens that have not seen the later ones")
    if beyond := sum(token_id >= found.rows for token_id in model.tokenizer.get_vocab().values()):
        warnings.append(f"{beyond} tokens have no row of embeddings; a text with one of them cannot be embedded")
    if leaves_out_prompt(model):
        warnings.append(
            "its pooling leaves the prompt out, and training pools it: set data.prompts to false to train it"
        )
    if (kept := trained_similarity(model)) != (own := similarity_of(model).name):
        warnings.append(f"it ranks by {own}, and training by the {kept}; a trained model is saved with the {kept}")
    if name := model.default_prompt_name:
        warnings.append(f"encode puts the prompt '{name}' before every text, which training does not")
    return warnings
