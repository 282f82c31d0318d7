"""Small stacks of modules such as other people's models have, each saved by stock sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import (
    CNN,
    LSTM,
    Dense,
    Dropout,
    LayerNorm,
    Normalize,
    Pooling,
    StaticEmbedding,
    Transformer,
    WeightedLayerPooling,
    WordEmbeddings,
)
from sentence_transformers.sentence_transformer.modules.tokenizer import WhitespaceTokenizer
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, PreTrainedTokenizerFast

import tiny

WIDTH = 16
PROMPTS = {"query": "w7 w8 ", "document": "w9 "}


def bare(folder: Path, *, padding: str = "right", hidden: bool = False, family: str = "bert") -> str:
    """A folder of a transformer and its tokenizer, without a word of pooling."""
    if not (folder / "config.json").exists():
        torch.manual_seed(len(str(folder.name)))
        if family == "bert":
            config: Any = BertConfig(
                vocab_size=203, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                max_position_embeddings=64, output_hidden_states=hidden, initializer_range=0.3,
            )  # fmt: skip
            model: Any = BertModel(config)
        else:
            config = GPT2Config(
                vocab_size=203, n_embd=WIDTH, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3
            )
            model = GPT2Model(config)
        model.save_pretrained(folder)
        PreTrainedTokenizerFast(
            tokenizer_object=tiny.tokenizer(), pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]",
            padding_side=padding,
        ).save_pretrained(folder)  # fmt: skip
    return str(folder)


def dense(inputs: int = WIDTH, outputs: int = 8) -> Dense:
    """A layer behind the pooling that changes the width, and lengths of vectors."""
    torch.manual_seed(outputs)
    layer = Dense(inputs, outputs, activation_function=torch.nn.Tanh())
    torch.nn.init.normal_(layer.linear.weight, std=0.6)
    return layer


def static(outputs: int = WIDTH) -> StaticEmbedding:
    """A vector a token."""
    torch.manual_seed(outputs)
    return StaticEmbedding(tiny.tokenizer(eos=False), embedding_dim=outputs)


def words() -> WordEmbeddings:
    """Word vectors of the old kind, whose tokenizer is none of transformers'."""
    torch.manual_seed(0)
    tokenizer = WhitespaceTokenizer(["[PAD]", *tiny.WORDS], stop_words=set())
    return WordEmbeddings(tokenizer, torch.randn(len(tiny.WORDS) + 1, WIDTH))


def _stack(folder: Path, modules: list[Any], **more: Any) -> Path:
    model = SentenceTransformer(modules=modules, device="cpu", **more)
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def _encoder(*after: Any, pooling: Any = "mean", **more: Any) -> Callable[[Path], Path]:
    """A BERT with a pooling; ``after`` are functions that make the modules behind it."""
    include, options = more.pop("include_prompt", True), more.pop("transformer", {})

    def make(folder: Path) -> Path:
        raw = bare(folder.parent / "raw-bert")
        pool = Pooling(WIDTH, pooling_mode=pooling, include_prompt=include)
        return _stack(
            folder, [Transformer(raw, **{"max_seq_length": 12, **options}), pool, *(f() for f in after)], **more
        )

    return make


def _other(modules: Callable[[Path], list[Any]], **more: Any) -> Callable[[Path], Path]:
    return lambda folder: _stack(folder, modules(folder.parent), **more)


def _router(default: str | None, query: Callable[[Path], list[Any]]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        document = [
            Transformer(bare(folder.parent / "raw-bert"), max_seq_length=16),
            Pooling(WIDTH, pooling_mode="mean"),
        ]
        router = Router.for_query_document(query(folder.parent), document, default_route=default)
        return _stack(folder, [router, Normalize()])

    return make


def _asym(folder: Path) -> Path:
    """A Router's folder as older versions wrote an ``Asym``."""
    _router("document", _cls)(folder)
    path = folder / "modules.json"
    modules = json.loads(path.read_text())
    modules[0]["type"] = "sentence_transformers.models.Asym"
    path.write_text(json.dumps(modules))
    return folder


def _cls(folder: Path) -> list[Any]:
    return [Transformer(bare(folder / "raw-bert"), max_seq_length=6), Pooling(WIDTH, pooling_mode="cls")]


def _left(family: str) -> Callable[[Path], list[Any]]:
    def modules(folder: Path) -> list[Any]:
        raw = bare(folder / f"raw-left-{family}", padding="left", family=family)
        return [Transformer(raw, max_seq_length=32), Pooling(WIDTH, pooling_mode="lasttoken")]

    return modules


def _llama(folder: Path) -> Path:
    model = tiny.decoder(folder.parent / "raw-llama")
    model.tokenizer.padding_side = "left"
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def _layers(folder: Path) -> list[Any]:
    weighted = WeightedLayerPooling(WIDTH, num_hidden_layers=2, layer_start=1)
    torch.nn.init.uniform_(weighted.layer_weights)
    return [Transformer(bare(folder / "raw-hidden", hidden=True), max_seq_length=32), weighted, Pooling(WIDTH)]


def _custom(folder: Path) -> Path:
    """A module of the model's own, in a file beside it."""
    _encoder()(folder)
    (folder / "doubled.py").write_text(
        "from sentence_transformers.base.modules import Module\n\n\n"
        "class Doubled(Module):\n"
        "    def forward(self, features, **kwargs):\n"
        "        vectors = features['sentence_embedding']\n"
        "        features['sentence_embedding'] = vectors * (1 + vectors.abs())\n"
        "        return features\n\n"
        "    def save(self, output_path, *args, **kwargs):\n"
        "        pass\n\n"
        "    @classmethod\n"
        "    def load(cls, *args, **kwargs):\n"
        "        return cls()\n"
    )
    path = folder / "modules.json"
    modules = json.loads(path.read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_Doubled", "type": "doubled.Doubled"})
    (folder / "2_Doubled").mkdir()
    path.write_text(json.dumps(modules))
    return folder


# Name to a function that makes the model in a folder, whose parent it may use.
STACKS: dict[str, Callable[[Path], Path]] = {
    **{mode: _encoder(pooling=mode) for mode in Pooling.POOLING_MODES},
    "concatenated": _encoder(pooling=("cls", "max", "mean_sqrt_len_tokens")),
    "dense": _encoder(dense),
    "dense-wider": _encoder(lambda: dense(WIDTH, 24), Normalize),
    "normalize-dot": _encoder(Normalize, similarity_fn_name="dot"),
    "dense-dot": _encoder(dense, similarity_fn_name="dot"),
    "dense-euclidean": _encoder(dense, similarity_fn_name="euclidean"),
    "manhattan": _encoder(similarity_fn_name="manhattan"),
    "layer-norm": _encoder(lambda: LayerNorm(WIDTH), lambda: Dropout(0.5)),
    "truncated": _encoder(Normalize, truncate_dim=6),
    "truncated-dot": _encoder(dense, truncate_dim=5, similarity_fn_name="dot"),
    "truncated-wider-than-it-is": _encoder(dense, truncate_dim=100),
    "prompts": _encoder(prompts=PROMPTS),
    "default-prompt": _encoder(prompts=PROMPTS, default_prompt_name="query"),
    "default-prompt-only": _encoder(prompts={"mine": "w7 w8 "}, default_prompt_name="mine"),
    "passage-prompt": _encoder(prompts={"query": "w7 ", "passage": "w9 "}),
    "prompt-left-out": _encoder(prompts=PROMPTS, include_prompt=False),
    "prompt-left-out-max-dot": _encoder(pooling="max", prompts=PROMPTS, include_prompt=False, similarity_fn_name="dot"),
    "prompt-left-out-none": _encoder(include_prompt=False),
    "lower-case": _encoder(transformer={"do_lower_case": True}),
    "lengths-by-side": _encoder(transformer={"query_length": 4, "document_length": 8}),
    "layers-weighted": _other(_layers),
    "left-padding-llama": _llama,
    "left-padding-gpt2": _other(_left("gpt2")),
    "left-padding-bert": _other(_left("bert")),
    "cnn": _other(lambda folder: [Transformer(bare(folder / "raw-bert")), CNN(WIDTH, 8), Pooling(24)]),
    "lstm": _other(lambda folder: [words(), LSTM(WIDTH, 8), Pooling(16)]),
    "words": _other(lambda folder: [words(), Pooling(WIDTH)]),
    "static": _other(lambda folder: [static()]),
    "static-dense-dot": _other(lambda folder: [static(), dense()], similarity_fn_name="dot", truncate_dim=6),
    "router": _router(None, _cls),
    "router-document": _router("document", _cls),
    "router-static-queries": _router("document", lambda folder: [static()]),
    "asym": _asym,
    "custom-module": _custom,
}
# Of these, training can take the tokens of. The others are refused as a base.
NOT_FROM_TOKENS = {
    *("cnn", "lstm", "words", "router", "router-document", "router-static-queries", "asym", "custom-module"),
    *("lengths-by-side", "left-padding-gpt2", "left-padding-bert"),
}
