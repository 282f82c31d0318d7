"""Tiny models and tasks made on the spot, so that no test needs a network."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from tdro.data.task import Task
from tdro.data.tokens.mixture_index import index_mixture
from tdro.data.tokens.tokenize import tokenize
from tdro.training.steps import TokenizedMixture

WORDS = [f"w{i}" for i in range(200)]


def tokenizer(eos: bool = True) -> Tokenizer:
    """A word-level tokenizer over ``w0``…``w199`` that appends an end-of-sequence token."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[EOS]", *WORDS])}
    result = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    result.pre_tokenizer = pre_tokenizers.Whitespace()
    if eos:
        result.post_processor = processors.TemplateProcessing(single="$A [EOS]", special_tokens=[("[EOS]", 2)])
    return result


def static_model(dimension: int = 16, seed: int = 0) -> SentenceTransformer:
    """A static embedding with random weights."""
    torch.manual_seed(seed)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer(eos=False), embedding_dim=dimension)], device="cpu")


def _transformer(folder: Path, model: torch.nn.Module, pooling: str) -> SentenceTransformer:
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(), pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]", padding_side="right"
    )
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    transformer = Transformer(str(folder), max_seq_length=32)
    return SentenceTransformer(modules=[transformer, Pooling(16, pooling_mode=pooling)], device="cpu")


def encoder(folder: Path, seed: int = 0, dropout: float = 0.0, layers: int = 2) -> SentenceTransformer:
    """A BERT with mean pooling."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=203, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    return _transformer(folder, BertModel(config), "mean")


def decoder(folder: Path, seed: int = 0, layers: int = 2) -> SentenceTransformer:
    """A Llama with last-token pooling."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=203, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, num_key_value_heads=2,
        intermediate_size=32, max_position_embeddings=64, pad_token_id=0, eos_token_id=2,
    )  # fmt: skip
    return _transformer(folder, LlamaModel(config), "lasttoken")


def task(name: str, rows: int = 20, negatives: int = 3, seed: int = 0, instruction: str = "") -> Task:
    """Rows of random words; a query shares words with its positive, so that there is something to learn."""
    draw = random.Random(f"{name}-{seed}")

    def text(length: int) -> list[str]:
        return [draw.choice(WORDS) for _ in range(length)]

    made = []
    for number in range(rows):
        query = text(draw.randint(2, 6))
        made.append(
            {
                "id": f"{name}-{number}",
                "query": " ".join(query),
                "positives": [" ".join([*query, *text(draw.randint(1, 8))])],
                "negatives": [" ".join(text(draw.randint(2, 12))) for _ in range(negatives)],
            }
        )
    return Task(name, Dataset.from_list(made), instruction=instruction)


def lora_decoder(folder: Path, seed: int = 0, layers: int = 2) -> SentenceTransformer:
    """A decoder with adapters of random weights (fresh ones start at zero), and gradient checkpointing."""
    from peft import LoraConfig

    model = decoder(folder, seed, layers)
    model.add_adapter(LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear"))
    inner = model.transformers_model
    inner.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    inner.enable_input_require_grads()
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


MODELS = ("static", "encoder", "decoder", "lora")


def model(kind: str, folder: Path, seed: int = 0, layers: int = 2) -> SentenceTransformer:
    """One of :data:`MODELS` by name. A test that trains for many steps takes half of the time with one layer."""
    if kind == "static":
        return static_model(seed=seed)
    make = {"encoder": encoder, "decoder": decoder, "lora": lora_decoder}[kind]
    return make(folder / f"{kind}-{seed}", seed, layers=layers)


def tokenized(model: SentenceTransformer, tasks: list[Task], tokens: int = 24) -> TokenizedMixture:
    """Tasks indexed and tokenized for a model."""
    index = index_mixture(tasks)
    return TokenizedMixture(index, tokenize(model, index.queries, tokens), tokenize(model, index.passages, tokens))


def columns(batch: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """A planned batch as the columns that the trainer's collator hands to a loss."""
    names = ["query", "positive", *(f"negative_{i}" for i in range(1, len(batch)))]
    found = []
    for name in names:
        keys = [key for key in ("input_ids", "attention_mask", "offsets") if f"{name}_{key}" in batch]
        if keys:
            found.append({key: batch[f"{name}_{key}"] for key in keys})
    return found
