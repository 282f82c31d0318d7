"""What `tdro inspect` prints: a table of what was found and what tdro would make of it, and warnings last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdro.terminal_table import terminal_table

if TYPE_CHECKING:
    from tdro.models.inspect.facts import Adapter, ModelFacts, State, Token, Tokenization

_FORMS = {"sentence-transformers": "sentence-transformers model", "transformers": "bare model", "GGUF": "GGUF file"}
_POOLING = {"lasttoken": "last token", None: "none"}
_WOULD = "tdro would (blank: the same)"
_WIDEST = 44  # characters; a longer cell stands below the table, so that it does not push the other columns away


def facts_table(facts: ModelFacts) -> str:
    """A line for each fact: its name, what was found, and what tdro would make of it.

    Below the table: facts that are too long for it (a path, many prompts), then a line for each warning, which begins
    with ``warning:``.
    """
    found, built = _state_cells(facts.found), _state_cells(facts.built)
    if facts.found.tokenization.chat_template and not facts.built.tokenization.chat_template:
        built["chat template"] = "remove it"
    width = str(facts.width) + (f" (truncate_dim; {facts.whole_width} without)" if facts.whole_width else "")
    rows = [
        ("model", facts.source, ""),
        ("form", _FORMS.get(facts.form, facts.form), _what_becomes(facts)),
        ("architecture", facts.architecture, ""),
        ("width", width, ""),
        *((name, found[name], _if_other(built[name], found[name])) for name in found),
        ("tied weights", {True: "yes", False: "no", None: "-"}[facts.tied], ""),
        ("similarity", facts.similarity or "none", _if_other(facts.trained_similarity, facts.similarity)),
        ("prompts", ", ".join(facts.prompts) or "none", ""),
        ("attention", *_attention(facts)),
        ("adapter", *_adapter(facts)),
        ("trained", "", _trained(facts)),
    ]
    long = [(name, cell) for name, cell, would in rows if len(cell) > _WIDEST and not would]
    table = terminal_table(
        ["", "found", _WOULD], [row for row in rows if (row[0], row[1]) not in long], left=["found", _WOULD]
    )
    return "\n".join(
        [table, *(f"{name}: {cell}" for name, cell in long), *(f"warning: {warning}" for warning in facts.warnings)]
    )


def _if_other(built: str, found: str | None) -> str:
    """What tdro would make of it, or nothing where it would stay the same."""
    return "" if built == found else built


def _state_cells(state: State) -> dict[str, str]:
    """The facts that a model has as it was found and as it would be trained."""
    tokens = state.tokenization
    return {
        "layers": "-" if state.layers is None else str(state.layers),
        "parameters": f"{state.parameters:,}",
        "vocabulary": f"{tokens.tokens:,} tokens, {state.rows:,} rows of embeddings",
        "dtype": state.dtype,
        "pooling": _POOLING.get(state.pooling, state.pooling or ""),
        "padding side": tokens.padding_side or "-",
        "pad token": _token(tokens.pad),
        "EOS token": _token(tokens.eos),
        "EOS appended": _eos(tokens),
        "chat template": "yes" if tokens.chat_template else "none",
        "maximum length": "none" if tokens.max_tokens is None else f"{tokens.max_tokens} tokens",
    }


def _token(token: Token | None) -> str:
    return "none" if token is None else f"{token.text} (id {token.id})"


def _eos(tokens: Tokenization) -> str:
    if tokens.eos is None:
        return "-"
    if not tokens.ends_in_eos:
        return "no"
    return "yes, also to texts that are cut" if tokens.cut_ends_in_eos else "yes, but cut off from long texts"


def _what_becomes(facts: ModelFacts) -> str:
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
