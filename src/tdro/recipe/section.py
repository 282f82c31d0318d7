"""What all sections of a recipe share: strict types, and the types of names, seeds and lists."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tdro.recipe import rules

Item = TypeVar("Item")
# A list with at least one item and none twice. `strict=False` is for the list alone, which YAML gives instead of a
# tuple; its items stay strict.
Several = Annotated[tuple[Item, ...], Field(strict=False, min_length=1), AfterValidator(rules.check_no_duplicates)]
Name = Annotated[str, AfterValidator(rules.check_folder_name)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """The base of all sections.

    A key that the section does not have is an error, types are strict (1 is not true, "1" is not 1), NaN and infinity
    are no numbers, and values cannot be changed once they are read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
