"""The base models of a run: how each is built once in the user's cache, loaded to be trained, and saved afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from tdro.disk import cache_folder, writing
from tdro.errors import UserError
from tdro.files import fingerprint
from tdro.machine import Machine, in_turn
from tdro.models.base import build_base
from tdro.models.base_notes import base_notes
from tdro.models.base_tokens import BaseTokens
from tdro.models.dropout import disable_dropout
from tdro.models.fingerprint import model_fingerprint
from tdro.models.load import load_model
from tdro.models.prompts import saved_prompts
from tdro.models.saving import Saving, public_base
from tdro.models.sources import source_content
from tdro.planning.cuts import tokens_as_trained
from tdro.recipe.schema import Recipe
from tdro.recipe.training_sections import Base
from tdro.run.training_data import RunData

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BaseModel:
    """A base model on disk: its folder, the fingerprint of its content, and the recipe's ``base`` it was built from."""

    path: Path
    fingerprint: str
    settings: Base


class BaseModels:
    """The base models of a recipe, each built when it is first asked for.

    Args:
        recipe: the recipe.
        machine: where models are loaded.
        data: the training data, whose prompts a model must have room for and keeps when it is saved.
    """

    def __init__(self, recipe: Recipe, machine: Machine, data: RunData) -> None:
        self.recipe, self.machine, self.data = recipe, machine, data
        self._built: dict[str, BaseModel] = {}

    def base(self, settings: Base) -> BaseModel:
        """A base as a sentence-transformers folder in the user's cache; it is built and checked when it is new there.

        Raises:
            UserError: no such model, one that cannot be trained, or a cache that other machines do not see.
        """
        longest = max(self.recipe.data.query_tokens, self.recipe.data.passage_tokens)
        after_prompt = self.data.tokens_after_prompt if settings.kind == "decoder" else {}
        kept = settings.model_dump(mode="json", exclude={"lora", "gradient_checkpointing", "source"})
        made_of = [kept, source_content(settings.source), self.recipe.seed, longest]
        key = fingerprint([*made_of, *([after_prompt] if after_prompt else [])])
        if key not in self._built:
            path = cache_folder() / "bases" / key
            with in_turn(self.machine):
                if not (path / "modules.json").exists():
                    if not self.machine.main:  # transformers writes models on rank 0 only
                        raise UserError(
                            f"{path}: rank 0 has put a base model there, but it is not on this machine.\n"
                            "Set TDRO_CACHE to a folder that all machines see."
                        )
                    # Two runs that begin at once build it once.
                    with writing(path), _locked(path):
                        if not (path / "modules.json").exists():
                            build_base(
                                settings,
                                path,
                                seed=self.recipe.seed,
                                max_tokens=longest,
                                prompted=after_prompt,
                                trust_remote_code=self.recipe.trust_remote_code,
                            )
            self._built[key] = BaseModel(path, model_fingerprint(path), settings)
        # Two bases that differ only in LoRA or gradient checkpointing share a folder, not their settings.
        return replace(self._built[key], settings=settings)

    def check(self) -> None:
        """Build the base of every training. Refuse one that cannot be trained, and say what training does not take
        over from it, such as prompts of its own."""
        recipe = self.recipe
        first = [recipe.base] if recipe.trains_proxy else []
        bases = [self.base(settings) for settings in (*first, *map(recipe.base_of, recipe.finetune))]
        prompts = bool(self.data.tokens_after_prompt)
        for base in {base.fingerprint: base for base in bases}.values():
            for line in base_notes(base.path, base.settings.source, base.settings.kind, prompts):
                logger.warning(line)

    def tokens_as_trained(self, settings: Base) -> BaseTokens:
        """How the finished base cuts texts into tokens, whatever it was built from."""
        return tokens_as_trained(self.base(settings).path, settings.source, self.recipe.trust_remote_code)

    def loader(self, base: BaseModel, dropout: bool = True) -> Callable[[], SentenceTransformer]:
        """A function that loads a base to be trained, with the adapters and checkpointing of its settings."""

        def load() -> SentenceTransformer:
            model = load_model(
                base.path,
                device=self.machine.loading,
                computes_on=self.machine.device,
                lora=base.settings.lora,
                gradient_checkpointing=base.settings.gradient_checkpointing,
                bf16=self.machine.bf16,
                trained=True,
                trust_remote_code=self.recipe.trust_remote_code,
            )
            if not dropout:
                disable_dropout(model)
            return model

        return load

    def finished_loader(self, path: Path) -> Callable[[], SentenceTransformer]:
        """A function that loads a model to compute embeddings: a trained one of this run, or a base as it is."""

        def load() -> SentenceTransformer:
            machine, trusted = self.machine, self.recipe.trust_remote_code
            return load_model(path, device=machine.device, bf16=machine.bf16, trust_remote_code=trusted)

        return load

    def saving(self, base: BaseModel, merge: bool, may_be_cut: bool = False) -> Saving:
        """How a model that was trained from a base is saved: with which prompts, adapters merged or alone.

        Adapters are merged if ``merge`` says so, and wherever nobody else could load the base that they belong to.
        """
        trusted = self.recipe.trust_remote_code
        alone = base.settings.lora is not None and not merge
        name = public_base(base.settings, base.path, trusted) if alone else None
        return Saving(
            prompts=saved_prompts(self.data.unmined) if self.recipe.data.prompts else {},
            merge_into=None if name else base.path,
            adapter_base=name,
            trust_remote_code=trusted,
            may_be_cut=may_be_cut,
        )


def _locked(path: Path) -> FileLock:
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f"{path.name}.lock"))
