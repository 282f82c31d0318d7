"""Facts about a model as a table for a terminal: what was found, what tdro would do, and warnings last."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tdro.models.inspect.facts import Adapter, ModelFacts, State, Token, Tokenization

_FORMS = {"sentence-transformers": "sentence-transformers model", "transformers": "bare model", "GGUF": "GGUF file"}
_POOLING = {"lasttoken": "last token", None: "none"}
_FOUND_WIDTH = 44  # of its column; longer cells push their neighbour to the right


def facts_table(facts: ModelFacts) -> str:
    """A line a fact: its name, what was found, and what tdro would make of it.

    Below it a line for each warning, beginning with ``warning:``.
    """
    found, built = _cells(facts.found), _cells(facts.built)
    if facts.found.tokenization.chat_template and not facts.built.tokenization.chat_template:
        built["chat template"] = "remove it"
    rows = [
        ("model", facts.source, ""),
        ("form", _FORMS.get(facts.form, facts.form), _plan(facts)),
        ("architecture", facts.architecture, ""),
        (
            "width",
            str(facts.width) + (f" (truncate_dim; {facts.whole_width} without)" if facts.whole_width else ""),
            "",
        ),
        *((name, found[name], built[name] if built[name] != found[name] else "") for name in found),
        ("tied weights", {True: "yes", False: "no", None: "-"}[facts.tied], ""),
        ("similarity", facts.similarity or "none", _if_other(facts.trained_similarity, facts.similarity)),
        ("prompts", ", ".join(facts.prompts) or "none", ""),
        ("attention", *_attention(facts)),
        ("adapter", *_adapter(facts)),
        ("trained", "", _trained(facts)),
    ]
    names = max(len(name) for name, _, _ in rows)
    width = min(_FOUND_WIDTH, max(len(cell) for _, cell, would in rows if would))
    lines = [f"{'':{names}}  {'found':{width}}  tdro would (blank: the same)"]
    lines += [f"{name:{names}}  {cell:{width}}  {would}".rstrip() for name, cell, would in rows]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in facts.warnings)])


def _if_other(built: str, found: str | None) -> str:
    return "" if built == found else built


def _cells(state: State) -> dict[str, str]:
    read = state.tokenization
    return {
        "layers": "-" if state.layers is None else str(state.layers),
        "parameters": f"{state.parameters:,}",
        "vocabulary": f"{read.tokens:,} tokens, {state.rows:,} rows of embeddings",
        "dtype": state.dtype,
        "pooling": _POOLING.get(state.pooling, state.pooling or ""),
        "padding side": read.padding_side or "-",
        "pad token": _token(read.pad),
        "EOS token": _token(read.eos),
        "EOS appended": _eos(read),
        "chat template": "yes" if read.chat_template else "none",
        "maximum length": "none" if read.max_tokens is None else f"{read.max_tokens} tokens",
    }


def _token(token: Token | None) -> str:
    return "none" if token is None else f"{token.text} (id {token.id})"


def _eos(read: Tokenization) -> str:
    if read.eos is None:
        return "-"
    if not read.ends_in_eos:
        return "no"
    return "yes, also to texts that are cut" if read.cut_ends_in_eos else "yes, but cut off from long texts"


def _plan(facts: ModelFacts) -> str:
    if facts.form == "adapter":
        return "evaluate it; as a base it has to be merged first"
    return "make an embedder of it" if facts.kind == "decoder" else "take it as it is"


def _attention(facts: ModelFacts) -> tuple[str, str]:
    if facts.attention is None:
        return "-", ""
    flash = "installed" if facts.attention.flash_installed else "not installed"
    return f"{', '.join(facts.attention.kernels)}; flash-attn {flash}", facts.attention.taken


def _adapter(facts: ModelFacts) -> tuple[str, str]:
    if facts.adapter is None:
        return "none", ""
    text = _describe(facts.adapter)
    if facts.form != "adapter":
        return "none", text
    if not facts.adapter.changes:
        return f"{text}: changes nothing", ""
    return f"{text}: cosine {facts.adapter.similarity:.4f} with and without it", ""


def _describe(adapter: Adapter) -> str:
    rank = "" if adapter.r is None else f"r {adapter.r}, alpha {adapter.alpha:g}, "
    return f"{rank}{adapter.layers} layers ({', '.join(adapter.targets)})"


def _trained(facts: ModelFacts) -> str:
    if facts.form == "adapter":
        return f"{facts.trained:,} parameters of the adapter"
    share = 100 * facts.trained / facts.built.parameters
    text = f"{facts.trained:,} parameters ({share:.3g} %)"
    if facts.adapter is None and facts.trained_with_lora is not None:
        text += f"; with LoRA r 8 {facts.trained_with_lora:,}"
    return text
