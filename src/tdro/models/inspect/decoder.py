"""What `tdro inspect` says of a bare causal language model, and of the embedder that tdro would make of it.

No weight is read: the configuration gives every shape, and the tokenizer is tried. So a model of 8 B parameters takes
seconds and no memory. See docs/decisions.md, inspect-without-building.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from transformers import AutoModel, PretrainedConfig, PreTrainedModel

from tdro.models.decoder import embedding_tokenizer, keep_layers, read_decoder, vocabulary_rows
from tdro.models.gguf_file import gguf_parsed_once
from tdro.models.inspect.facts import Form, ModelFacts, State
from tdro.models.inspect.probes import attention, count_parameters, dtype_on_disk, is_causal, tokenization


@gguf_parsed_once()
def decoder_facts(
    source: str,
    form: Form,
    folder: str,
    gguf_file: str | None,
    layers: int | None,
    max_tokens: int,
    trust_remote_code: bool,
) -> tuple[ModelFacts, PreTrainedModel]:
    """The facts of a causal language model, and the model that would be built, without weights (on ``meta``).

    Args:
        source: what the user called it.
        form: the format that was found there.
        folder: where it lies, or its hub id.
        gguf_file: name of the GGUF file in ``folder``, if it is one.
        layers: how many layers would be kept; None: all.
        max_tokens: longest text that the embedder would read.
        trust_remote_code: run code that comes with the model.

    Raises:
        UserError: it cannot be read, or has fewer layers.
    """
    config, tokenizer = read_decoder(folder, gguf_file=gguf_file, trust_remote_code=trust_remote_code)
    built_tokenizer = embedding_tokenizer(tokenizer, max_tokens=max_tokens)
    built_config = copy.deepcopy(config)
    keep_layers(built_config, layers, source)
    built_config.vocab_size = max(config.vocab_size, vocabulary_rows(built_tokenizer))
    model, built = _without_weights(config, trust_remote_code), _without_weights(built_config, trust_remote_code)
    dtype = dtype_on_disk(folder, gguf_file, config)
    facts = ModelFacts(
        source=source,
        form=form,
        kind="decoder",
        architecture=(config.architectures or [type(model).__name__])[0],
        width=config.hidden_size,
        tied=bool(config.tie_word_embeddings),
        found=State(
            tokenization(tokenizer, None), config.num_hidden_layers, count_parameters(model), config.vocab_size, dtype
        ),
        built=State(
            tokenization(built_tokenizer, max_tokens),
            built_config.num_hidden_layers,
            count_parameters(built),
            built_config.vocab_size,
            "float32" if gguf_file else dtype,
            "lasttoken",
        ),
        trained=count_parameters(built),
        attention=attention(built),
    )
    warnings = []
    if not is_causal(config):
        warnings.append(f"{facts.architecture} is not a causal language model; --kind encoder is meant for it")
    if (missing := vocabulary_rows(tokenizer) - config.vocab_size) > 0:
        warnings.append(f"{missing} tokens have no row of embeddings; they get the mean of the others")
    positions = getattr(config, "max_position_embeddings", None)
    if positions and max_tokens > positions:
        warnings.append(f"it was made for texts of up to {positions} tokens, not {max_tokens}")
    if not (facts.built.tokenization.ends_in_eos and facts.built.tokenization.cut_ends_in_eos):
        warnings.append("texts do not end in the end-of-sequence token though they should; this is a bug in tdro")
    return replace(facts, warnings=tuple(warnings)), built


def _without_weights(config: PretrainedConfig, trust_remote_code: bool) -> PreTrainedModel:
    with torch.device("meta"):
        return AutoModel.from_config(config, trust_remote_code=trust_remote_code)
