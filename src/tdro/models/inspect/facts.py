"""What `tdro inspect` finds out about a model, as plain data.

Most facts are there twice, as two :class:`State`: the model as it was found, and as tdro would train it.
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
        ends_in_eos: the token ids of a text end in EOS.
        cut_ends_in_eos: they do so also for a text that is cut to the maximum length.
        chat_template: the tokenizer has a chat template.
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
        layers: number of transformer layers; None for a static model.
        parameters: number of parameters, without a head that predicts tokens.
        rows: rows of the input embeddings; there may be more or fewer than tokens.
        dtype: the type of most of the weights; for a GGUF file the name of its quantisation.
        pooling: as sentence-transformers calls it (``mean``, ``lasttoken``); None if there is none.
    """

    tokenization: Tokenization
    layers: int | None
    parameters: int
    rows: int
    dtype: str
    pooling: str | None = None


@dataclass(frozen=True)
class Attention:
    """The attention kernels of a model.

    Attributes:
        kernels: those that the architecture has and this machine can use, best first.
        taken: the one that training would use.
        flash_installed: the package ``flash-attn`` is installed.
    """

    kernels: tuple[str, ...]
    taken: str
    flash_installed: bool


@dataclass(frozen=True)
class Adapter:
    """A low-rank adapter.

    Attributes:
        r: its rank; None if the adapter is not of low rank.
        alpha: its scale; what it adds is multiplied by alpha / r.
        targets: the last parts of its layers' names, ``q_proj`` and so on.
        layers: how many layers of the base carry it.
        similarity: cosine between a text's embeddings with and without it; None if that was not tried.
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
        source: what the user called it.
        form: the format that was found there.
        kind: how tdro reads it, as ``base.kind`` in a recipe: a ``decoder`` is made into an embedder, an ``encoder`` is
            taken as it is.
        architecture: name of the model's class.
        width: length of the embeddings.
        tied: the input embeddings are the output embeddings too; None where the model has no output embeddings.
        found: the model as it is.
        built: the model as tdro would train it.
        trained: number of parameters that training changes; for an adapter, the adapter's.
        trained_with_lora: number of parameters of adapters of rank 8; None if no layer can carry one.
        attention: the attention kernels; None for a static model.
        prompts: name → text of the model's own prompts that are not empty.
        similarity: what the model ranks by; None where it has no similarity yet.
        trained_similarity: what it would rank by after training.
        whole_width: length of the embeddings before ``truncate_dim`` cuts them to ``width``; None where nothing is cut.
        adapter: the adapter that it has, or would get.
        warnings: what the user should look at, one line each.
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
