"""A causal language model becomes an embedder: first layers, EOS after every text, last-token pooling.

Only the last token of a causal model has seen the whole text, so its vector is the text's embedding. That needs:

- the same last token in every text: the end-of-sequence token (EOS). The tokenizer's post-processor appends it, and
  keeps it where a text is truncated;
- a pad token other than EOS. transformers gives the pad token's embedding no gradient, and EOS's needs one;
- no chat template, because sentence-transformers would wrap every plain text in it.

See docs/decisions.md, eos-by-post-processor and layers-by-configuration.
"""

from __future__ import annotations

import contextlib
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
from tdro.errors import UserError, first_line
from tdro.hub.faults import hub_fault
from tdro.models.gguf_file import gguf_parsed_once, gguf_without_bar

# Where a tokenizer names no pad token, the first of these that it has. The last two are not made for padding, but no
# plain text produces them.
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
        layers: how many of the first layers to keep; all if None. The final norm is always kept.
        gguf_file: name of the GGUF file in ``source``, if it is one; its weights are dequantised to float32.
        max_tokens: longer texts are truncated (the last token is EOS all the same). Lowered to the model's positions.
        prompted: prompt → longest text after it. ``max_tokens`` is raised so that prompt and text fit together.
        trust_remote_code: run code that comes with the model.

    Raises:
        UserError: the source cannot be read, has fewer layers, no EOS token, or no fast tokenizer.
    """
    config, tokenizer = read_decoder(source, gguf_file=gguf_file, trust_remote_code=trust_remote_code)
    keep_layers(config, layers, source)
    try:
        with gguf_without_bar() if gguf_file else contextlib.nullcontext():
            model = AutoModel.from_pretrained(
                source,
                gguf_file=gguf_file,
                config=config,
                dtype=torch.float32 if gguf_file else "auto",
                trust_remote_code=trust_remote_code,
            )
    except Exception as error:  # a broken file raises anything, a plain Exception too
        raise _unreadable(source, gguf_file, error) from error
    available = within(tokenizer.model_max_length, positions(model))
    tokenizer = embedding_tokenizer(tokenizer, max_tokens=max_tokens)
    special = len(tokenizer("").input_ids)
    wanted = [limit + len(tokenizer(prompt).input_ids) - special for prompt, limit in (prompted or {}).items()]
    tokenizer.model_max_length = longest = within(max([max_tokens, *wanted]), available) or max_tokens
    return _assemble(model, tokenizer, longest, trust_remote_code)


def read_decoder(
    source: str | Path, *, gguf_file: str | None = None, trust_remote_code: bool = False
) -> tuple[PretrainedConfig, PreTrainedTokenizerBase]:
    """The configuration and the tokenizer of a causal language model, unchanged; no weights are read.

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
    fault = hub_fault(error, str(source))
    return UserError(fault or f"{what}: not a causal language model that can be read ({first_line(error)})")


def keep_layers(config: PretrainedConfig, layers: int | None, source: str | Path) -> None:
    """Change ``config`` so that it describes the first ``layers`` layers only; None changes nothing.

    Lists with an entry for each layer, such as ``layer_types``, are cut too.

    Raises:
        UserError: the model has fewer layers.
    """
    available = config.num_hidden_layers
    if layers is None or layers == available:
        return
    if not 1 <= layers <= available:
        raise UserError(f"{source}: layers must be 1 to {available}, found {layers}")
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == available:
            setattr(config, name, value[:layers])
    config.num_hidden_layers = layers


def embedding_tokenizer(tokenizer: PreTrainedTokenizerBase, *, max_tokens: int) -> PreTrainedTokenizerFast:
    """A tokenizer of the same vocabulary that appends EOS to every text and pads on the right with another token.

    It has no chat template. If the tokenizer begins texts with a beginning-of-sequence token (BOS), this one does too.
    It is a ``PreTrainedTokenizerFast``, which loads its post-processor as it was saved. The classes of single models
    (``LlamaTokenizerFast``) would rebuild theirs when they are loaded, and drop the EOS.

    Raises:
        UserError: no fast tokenizer, or no EOS token.
    """
    name = tokenizer.name_or_path or "the tokenizer"
    if not tokenizer.is_fast:
        raise UserError(f"{name}: a fast (Rust) tokenizer is needed to append EOS also where it truncates")
    eos = tokenizer.eos_token
    if eos is None:
        raise UserError(f"{name}: has no end-of-sequence token; set eos_token in its tokenizer_config.json")
    ids = tokenizer("a").input_ids
    bos = tokenizer.bos_token if ids and ids[0] == tokenizer.bos_token_id else None

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    start = f"{bos} " if bos else ""
    backend.post_processor = TemplateProcessing(
        single=f"{start}$A {eos}",
        pair=f"{start}$A {eos} $B:1 {eos}:1",
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
    """A pad token other than EOS and BOS: the tokenizer's own, else an unused special token, else a new ``<|pad|>``."""
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
    """Make a sentence-transformers model of both, by way of a temporary folder.

    Loading the model once more makes its embedding layer with the id of the new pad token; the layer that was loaded
    first may still have EOS as its pad token, and would give it no gradient.
    """
    _cover_vocabulary(model, vocabulary_rows(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder, writing(folder):
        _unquantised(model).save_pretrained(folder)
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
    """How many rows of embeddings a tokenizer needs: its largest id plus one, as ids may have gaps."""
    return max(tokenizer.get_vocab().values()) + 1


def _cover_vocabulary(model: PreTrainedModel, needed: int) -> None:
    """Add rows to the embeddings until there are ``needed``; each new row is the mean of the old ones.

    Most models have spare rows, so that a new pad token needs none. See docs/decisions.md, mean-rows.
    """
    old = cast(nn.Embedding, model.get_input_embeddings())
    rows = old.num_embeddings
    if needed <= rows:
        return
    mean = old.weight.detach().mean(dim=0, dtype=torch.float32)
    new = model.resize_token_embeddings(needed, mean_resizing=False)
    with torch.no_grad():
        new.weight[rows:] = mean.to(new.weight.dtype)


def _unquantised(model: PreTrainedModel) -> PreTrainedModel:
    """The model, or a fresh copy with its weights if it was read from GGUF.

    Its weights are dequantised, but its configuration still says that it came from GGUF, and such a model refuses to be
    saved.
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
    """Remove ``_model_name_or_path`` from a saved configuration; only models that were read from GGUF have it there."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_model_name_or_path", None)
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")
