"""What :mod:`tdro.models.inspect.look` finds out about a model: plain data, without the model.

A model has two states, as it was found and as tdro would train it, and the same questions are asked of both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Form = Literal["sentence-transformers", "transformers", "GGUF", "adapter"]
Kind = Literal["decoder", "encoder"]


@dataclass(frozen=True)
class Token:
    """A token and its id."""

    text: str
    id: int


@dataclass(frozen=True)
class Tokenization:
    """How texts become tokens.

    Attributes:
        tokens: size of the vocabulary.
        max_tokens: longest text; None if there is no limit.
        padding_side: ``left`` or ``right``; None if nothing is padded.
        pad: the pad token.
        eos: the end-of-sequence token.
        ends_in_eos: an encoded text does.
        cut_ends_in_eos: an encoded text that is cut to the maximum length does.
        chat_template: the tokenizer has one.
    """

    tokens: int
    max_tokens: int | None
    padding_side: str | None = None
    pad: Token | None = None
    eos: Token | None = None
    ends_in_eos: bool = False
    cut_ends_in_eos: bool = False
    chat_template: bool = False


@dataclass(frozen=True)
class State:
    """A model as it was found, or as tdro would train it.

    Attributes:
        tokenization: how texts become tokens.
        layers: transformer layers; None for a static model.
        parameters: all of them, without a head that predicts tokens.
        rows: of the input embeddings.
        dtype: of most of the weights; of a GGUF file the name of its quantisation.
        pooling: sentence-transformers' name for it; None if there is none.
    """

    tokenization: Tokenization
    layers: int | None
    parameters: int
    rows: int
    dtype: str
    pooling: str | None = None


@dataclass(frozen=True)
class Attention:
    """Kernels that the architecture has and this machine can use, best first; whether ``flash-attn`` is installed."""

    kernels: tuple[str, ...]
    taken: str
    flash_installed: bool


@dataclass(frozen=True)
class Adapter:
    """A low-rank adapter.

    Attributes:
        r: its rank; None if it is of another kind.
        alpha: its scale, which is divided by the rank.
        targets: the last parts of its layers' names.
        layers: how many layers of the base carry it.
        similarity: cosine between a text's embeddings with and without it; None if there is nothing to compare.
        changes: the two embeddings differ.
    """

    r: int | None
    alpha: float | None
    targets: tuple[str, ...]
    layers: int
    similarity: float | None = None
    changes: bool = True


@dataclass(frozen=True)
class ModelFacts:
    """What a model is, and what tdro would make of it.

    Attributes:
        source: as it was given.
        form: what lies there.
        kind: how tdro reads it, as ``base.kind`` in a recipe: a ``decoder`` is made into an embedder, an ``encoder``
            is taken as it is.
        architecture: name of the model's class.
        width: length of the embeddings.
        tied: the input embeddings are the output embeddings too; None where the model has none of the latter.
        found: as it is.
        built: as tdro would train it.
        trained: parameters that training changes; of an adapter, its own.
        trained_with_lora: parameters of adapters of rank 8; None if no layer can carry one.
        attention: None for a static model.
        prompts: name → text, those that are not empty.
        similarity: that the model ranks by; None where it has none yet.
        trained_similarity: that it would rank by after training.
        whole_width: length of the embeddings before they are cut to ``width``, where they are.
        adapter: the one that it has, or would get.
        warnings: what the user should look at.
    """

    source: str
    form: Form
    kind: Kind
    architecture: str
    width: int
    tied: bool | None
    found: State
    built: State
    trained: int
    trained_with_lora: int | None = None
    attention: Attention | None = None
    prompts: dict[str, str] = field(default_factory=dict)
    similarity: str | None = None
    trained_similarity: str = "cosine"
    whole_width: int | None = None
    adapter: Adapter | None = None
    warnings: tuple[str, ...] = ()
