"""A causal language model becomes an embedder: first layers, EOS after every text, last-token pooling.

What a decoder says of a text stands at its last token, so that token has to be one and the same sign in every
text: the end-of-sequence token, appended by the tokenizer itself (a post-processor counts it when it
truncates, so it survives truncation too). Padding is to the right, and the pad token is another one than EOS:
transformers gives the pad token's embedding no gradient, and EOS's is the one that matters most. The chat
template goes, for sentence-transformers would wrap every plain text in it.

Rejected: appending the EOS string to the texts (truncation cuts it off), padding with EOS (see above), and
cutting the layer list of a loaded model (the configuration of a model read from GGUF cannot be saved).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from tdro.data.tokens.limits import positions, within
from tdro.disk import writing
from tdro.errors import UserError
from tdro.models.gguf_file import gguf_parsed_once

# Tokens that exist to pad, then ones that no plain text produces. Taken where the vocabulary has them.
PAD_TOKENS = ("<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>", "<|endoftext|>", "<|end_of_text|>")


@gguf_parsed_once()
def decoder_embedder(
    source: str | Path,
    *,
    layers: int | None = None,
    gguf_file: str | None = None,
    max_tokens: int = 512,
    prompted: Mapping[str, int] | None = None,
    trust_remote_code: bool = False,
) -> SentenceTransformer:
    """A causal language model as a sentence-transformers model with last-token pooling.

    Args:
        source: a folder, or a name on the hub.
        layers: keep the first so many; all of them if None. The final norm is kept.
        gguf_file: name of the GGUF file in ``source``, which is read dequantised to float32.
        max_tokens: longer texts are truncated, the last token is EOS all the same; no more than there are positions.
        prompted: prompt to the longest text after it, which may have so many tokens besides.
        trust_remote_code: run code that comes with the model.

    Raises:
        UserError: the source cannot be read, has fewer layers, no EOS token, or no fast tokenizer.
    """
    config, tokenizer = read_decoder(source, gguf_file=gguf_file, trust_remote_code=trust_remote_code)
    keep_layers(config, layers, source)
    try:
        model = AutoModel.from_pretrained(
            source,
            gguf_file=gguf_file,
            config=config,
            dtype=torch.float32 if gguf_file else "auto",
            trust_remote_code=trust_remote_code,
        )
    except Exception as error:  # a broken file raises anything, a plain Exception too
        raise _unreadable(source, gguf_file, error) from error
    have = within(tokenizer.model_max_length, positions(model))
    tokenizer = embedding_tokenizer(tokenizer, max_tokens=max_tokens)
    special = len(tokenizer("").input_ids)
    rows = [limit + len(tokenizer(prompt).input_ids) - special for prompt, limit in (prompted or {}).items()]
    tokenizer.model_max_length = longest = (
        within(max_tokens if not rows else max(max_tokens, *rows), have) or max_tokens
    )
    return _assemble(model, tokenizer, longest, trust_remote_code)


def read_decoder(
    source: str | Path, *, gguf_file: str | None = None, trust_remote_code: bool = False
) -> tuple[PretrainedConfig, PreTrainedTokenizerBase]:
    """Configuration and tokenizer of a causal language model as they are; no weights are read.

    Raises:
        UserError: they cannot be read, or it is not a causal language model of text alone.
    """
    options = {"gguf_file": gguf_file, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(source, **options)
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    except Exception as error:  # a broken file raises anything, a plain Exception too
        raise _unreadable(source, gguf_file, error) from error
    if getattr(config, "is_encoder_decoder", False) or not hasattr(config, "num_hidden_layers"):
        raise UserError(f"{source}: a {config.model_type} model is not a decoder of text alone")
    return config, tokenizer


def _unreadable(source: str | Path, gguf_file: str | None, error: BaseException) -> UserError:
    what = f"{source}/{gguf_file}" if gguf_file else str(source)
    line = str(error).strip().partition("\n")[0][:200]
    return UserError(f"{what}: not a causal language model that can be read ({line})")


def keep_layers(config: PretrainedConfig, layers: int | None, source: str | Path) -> None:
    """Make ``config`` describe the first ``layers`` layers, lists with an entry per layer included.

    Raises:
        UserError: it has fewer.
    """
    have = config.num_hidden_layers
    if layers is None or layers == have:
        return
    if not 1 <= layers <= have:
        raise UserError(f"{source}: layers must be 1 to {have}, found {layers}")
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == have:
            setattr(config, name, value[:layers])
    config.num_hidden_layers = layers


def embedding_tokenizer(tokenizer: PreTrainedTokenizerBase, *, max_tokens: int) -> PreTrainedTokenizerFast:
    """The same vocabulary, EOS after every text, padding right with another token, no chat template.

    A beginning-of-sequence token that the tokenizer puts itself stays. The result is of the generic class,
    whose saved post-processor is loaded as it is; model-specific classes rebuild theirs and drop the EOS.

    Raises:
        UserError: no fast tokenizer, or no EOS token.
    """
    name = tokenizer.name_or_path or "the tokenizer"
    if not tokenizer.is_fast:
        raise UserError(f"{name}: a fast (Rust) tokenizer is needed to append EOS also where it truncates")
    eos = tokenizer.eos_token
    if eos is None:
        raise UserError(f"{name}: has no end-of-sequence token; set eos_token in its tokenizer_config.json")
    starts = tokenizer("a").input_ids
    bos = tokenizer.bos_token if starts and starts[0] == tokenizer.bos_token_id else None

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    head = f"{bos} " if bos else ""
    backend.post_processor = TemplateProcessing(
        single=f"{head}$A {eos}",
        pair=f"{head}$A {eos} $B:1 {eos}:1",
        special_tokens=[(token, backend.token_to_id(token)) for token in dict.fromkeys([bos, eos]) if token],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=tokenizer.bos_token,
        eos_token=eos,
        unk_token=tokenizer.unk_token,
        pad_token=_pad_token(tokenizer, backend),
        padding_side="right",
        truncation_side="right",
        model_max_length=max_tokens,
    )


def _pad_token(tokenizer: PreTrainedTokenizerBase, backend: Tokenizer) -> str:
    """A pad token other than EOS: the tokenizer's own, an existing unused special token, or a new one."""
    special = [token.content for _, token in sorted(backend.get_added_tokens_decoder().items()) if token.special]
    reserved = [token for token in special if "reserved" in token or "unused" in token]
    known = [token for token in PAD_TOKENS if token in special]
    for token in [tokenizer.pad_token, *known, *reserved]:
        if token is not None and token not in (tokenizer.eos_token, tokenizer.bos_token):
            return token
    return "<|pad|>"


def _assemble(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, max_tokens: int, trust_remote_code: bool
) -> SentenceTransformer:
    """Write model and tokenizer to a temporary folder and read them as sentence-transformers modules.

    Reading anew makes the embedding layer with the new pad token's index, so that EOS has a gradient.
    """
    _cover_vocabulary(model, vocabulary_rows(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, writing(folder):
        _plain(model).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        _forget_origin(Path(folder) / "config.json")
        transformer = Transformer(
            folder,
            max_seq_length=max_tokens,
            model_kwargs={"trust_remote_code": trust_remote_code},
            config_kwargs={"trust_remote_code": trust_remote_code},
        )
        pooling = Pooling(transformer.get_embedding_dimension(), "lasttoken")
        return SentenceTransformer(modules=[transformer, pooling], similarity_fn_name="cosine", device="cpu")


def vocabulary_rows(tokenizer: PreTrainedTokenizerBase) -> int:
    """Rows that a tokenizer's embeddings need: its largest id and one, which is more than its size if ids have gaps."""
    return max(tokenizer.get_vocab().values()) + 1


def _cover_vocabulary(model: PreTrainedModel, needed: int) -> None:
    """Give the tokens without a row of embeddings one: the mean of all rows, which nothing random goes into.

    Many models have spare rows, so a new pad token needs none. Input and output embeddings that are tied stay so, for
    transformers resizes both. The default of ``resize_token_embeddings`` was rejected: it draws around the mean, so
    the same base would be another one each time it is built.
    """
    old = cast(nn.Embedding, model.get_input_embeddings())
    have = old.num_embeddings
    if needed <= have:
        return
    mean = old.weight.detach().mean(dim=0, dtype=torch.float32)
    new = model.resize_token_embeddings(needed, mean_resizing=False)
    with torch.no_grad():
        new.weight[have:] = mean.to(new.weight.dtype)


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself, or, if it was read from a quantised file, a fresh module with its weights.

    A model whose configuration says that it came from GGUF refuses to be saved, dequantised as it is.
    """
    if getattr(model.config, "quantization_config", None) is None:
        return model
    config = copy.deepcopy(model.config)
    del config.quantization_config
    with torch.device("meta"):
        fresh = type(model)(config)
    fresh.load_state_dict(model.state_dict(), assign=True)
    return fresh


def _forget_origin(path: Path) -> None:
    """Drop what GGUF leaves in the configuration and no other model has."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_model_name_or_path", None)
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")
