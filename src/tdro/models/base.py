"""Build the base model of a recipe: a static, decoder or encoder embedder, written as a sentence-transformers folder.

The recipe's ``base.kind`` says what is built:

- ``static``: an embedding of tokens, with random vectors and the tokenizer of ``base.source``;
- ``decoder``: a causal language model, cut to its first layers, with last-token pooling (:mod:`tdro.models.decoder`);
- ``encoder``: an embedding model that is taken as it is.

The folder is a plain sentence-transformers model and loads without tdro. See docs/decisions.md, base-as-plain-folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from tdro.errors import UserError
from tdro.files import whole_folder
from tdro.models.adapters import has_adapter
from tdro.models.decoder import decoder_embedder
from tdro.models.embedder_check import check_embedder
from tdro.models.kinds import refuse_as_base
from tdro.models.load import load_model
from tdro.models.sources import encoder_source, model_source, plain_tokenizer

if TYPE_CHECKING:
    from tdro.recipe.training_sections import Base

# Standard deviation of a static model's random vectors. Their scale changes no cosine, but it decides how far a step of
# Adam turns a vector (learning rate / spread). With 0.1, a learning rate of 1e-2 works well.
STATIC_SPREAD = 0.1


def build_base(
    settings: Base,
    target: Path | str,
    *,
    seed: int = 0,
    max_tokens: int = 512,
    prompted: Mapping[str, int] | None = None,
    trust_remote_code: bool = False,
) -> Path:
    """Write the base model as a sentence-transformers folder, replacing an older one, and return its path.

    Args:
        settings: the recipe's ``base``, or anything with its ``kind``, ``source``, ``dimension`` and ``layers``. The
            source may be a ``.gguf`` file too; a static model takes only its tokenizer.
        target: the folder; it is there whole or not at all.
        seed: of a static model's random vectors; the same seed gives the same bytes.
        max_tokens: longest text of a decoder, in tokens, as far as it has positions. An encoder keeps its own limit.
        prompted: prompt → longest text after it, in tokens. A decoder is made to read prompt and text together, even
            where that is more than ``max_tokens``.
        trust_remote_code: run code that comes with the model.

    Raises:
        UserError: the source cannot be read, does not fit the kind, or the embedder fails
            :func:`tdro.models.embedder_check.check_embedder`.
    """
    target = Path(target)
    if settings.kind == "static":
        model = _static(settings, seed)
    elif settings.kind == "decoder":
        folder, gguf_file = model_source(settings.source)
        model = decoder_embedder(
            folder,
            layers=settings.layers,
            gguf_file=gguf_file,
            max_tokens=max_tokens,
            prompted=prompted,
            trust_remote_code=trust_remote_code,
        )
    else:
        source = encoder_source(settings.source)
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


def _static(settings: Base, seed: int) -> SentenceTransformer:
    tokenizer = plain_tokenizer(settings.source)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    generator = torch.Generator().manual_seed(seed)
    rows = max(tokenizer.get_vocab().values()) + 1  # not the number of tokens: ids may have gaps
    vectors = torch.empty(rows, settings.dimension or 256)
    vectors.normal_(std=STATIC_SPREAD, generator=generator)
    embedding = StaticEmbedding(tokenizer, embedding_weights=vectors)
    return SentenceTransformer(modules=[embedding], similarity_fn_name="cosine", device="cpu")
