"""What all sections of a recipe share: strict settings, and the types of names, seeds and lists."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tdro.recipe import rules

Item = TypeVar("Item")
# A YAML list; lax only about being a list, its items stay strict. Never empty, never twice the same.
Several = Annotated[tuple[Item, ...], Field(strict=False, min_length=1), AfterValidator(rules.check_no_duplicates)]
Name = Annotated[str, AfterValidator(rules.check_folder_name)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """Keys are exact, types are strict (1 is not true, "1" is not 1), values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
