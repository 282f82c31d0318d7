"""The ``base`` section of a recipe for a model: decoder, encoder or static, told from the model's files.

No weights are read. See docs/decisions.md, kind-from-files.
"""

from __future__ import annotations

from transformers import AutoConfig

from tdro.errors import UserError, first_line
from tdro.files import exists
from tdro.models.inspect.probes import is_causal
from tdro.models.kinds import refuse_as_base
from tdro.models.sources import has_file, model_source
from tdro.recipe.rules import PACKAGED
from tdro.recipe.training_sections import Base


def base_of(source: str) -> Base:
    """The recipe's ``base`` section for a model.

    A GGUF file or a causal language model is a decoder. A sentence-transformers model, or one of any other
    architecture, is an encoder. A folder that has only a ``tokenizer.json`` makes a static model.

    Args:
        source: ``smollm2``, ``minilm``, a folder, a ``.gguf`` file, or a hub id.

    Raises:
        UserError: there is no such model, or it is an adapter and not a whole model.
    """
    if source in PACKAGED:
        return Base.model_validate({"kind": PACKAGED[source], "source": source})
    if not exists(source) and (source.startswith((".", "/", "~")) or source.count("/") > 1 or not source):
        raise UserError(f"{source}: no such model folder")
    folder, gguf_file = model_source(source)
    if gguf_file is None and has_file(folder, "adapter_config.json"):
        raise UserError(f"{source}: an adapter, not a whole model; merge it into its base first")
    if gguf_file is None:
        refuse_as_base(source)
    if gguf_file is not None:
        kind = "decoder"
    elif has_file(folder, "modules.json"):
        kind = "encoder"
    elif not has_file(folder, "config.json") and has_file(folder, "tokenizer.json"):
        kind = "static"
    else:
        try:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{source}: not a model that transformers can read ({first_line(error)})") from error
        kind = "decoder" if is_causal(config) else "encoder"
    return Base.model_validate({"kind": kind, "source": source})
