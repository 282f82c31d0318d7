"""Tiny bare models, as they lie on the hub: weights, configuration and tokenizer, nothing of sentence-transformers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

TEXTS = ["the lamp in the kitchen", "eine Lampe", "電池の残量", "set the volume of the zone to a value", ""]
LORA = SimpleNamespace(r=4, alpha=8.0, dropout=0.1)
LONG = "word " * 300
FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
}


def settings(kind: str, source: object, dimension: int | None = None, layers: int | None = None) -> Any:
    """What ``build_base`` reads of a recipe's base."""
    return SimpleNamespace(kind=kind, source=str(source), dimension=dimension, layers=layers)


def backend(special: tuple[str, ...] = ("<s>", "</s>", "<pad>", "<unk>")) -> Tokenizer:
    """A byte-level BPE tokenizer with some special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def write_causal_lm(
    folder: Path,
    *,
    family: str = "llama",
    layers: int = 3,
    special: tuple[str, ...] = ("<s>", "</s>", "<pad>", "<unk>"),
    more_rows: int = 0,
    dtype: torch.dtype = torch.float32,
    **tokens: str | None,
) -> Path:
    """A tiny causal LM with tied embeddings, and its tokenizer with a chat template, left padding and no EOS.

    ``more_rows`` is how many more rows the embeddings have than the tokenizer has tokens (or fewer).
    """
    tokens = {"bos_token": "<s>", "eos_token": "</s>", **tokens}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend(special), padding_side="left", **tokens)
    tokenizer.chat_template = "{% for m in messages %}<s>{{ m['content'] }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config, model = FAMILIES[family]
    model(
        config(
            vocab_size=len(tokenizer) + more_rows,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            attention_dropout=0.25,
        )
    ).to(dtype).save_pretrained(folder)
    return folder


def write_encoder(folder: Path) -> Path:
    """A bare BERT."""
    tokenizer = backend(("[PAD]", "[CLS]", "[SEP]", "[UNK]"))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder
