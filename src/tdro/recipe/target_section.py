"""The recipe's section ``gain.target``: what the user cares about, if that is not all training tasks equally.

See docs/decisions.md, target-for-gain-alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from tdro.recipe import rules
from tdro.recipe.data_sections import Data, TestFolder
from tdro.recipe.messages import nearest, short, wrong
from tdro.recipe.section import Section, Several

ALL = "all"  # of the recipe's test sets


def _names_or_all(value: Any) -> Any:
    """A list of names, or the word ``all``. Refused here, so that the message does not speak of both types."""
    if value is None or value == ALL:
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
        return rules.check_no_duplicates(value)
    found = short(value) if isinstance(value, str) else "nothing in it" if value == [] else type(value).__name__
    raise wrong(f"expected 'all' or a list of names of test sets, found {found}")


class Target(Section):
    """What transfer gain is measured on instead of the held-out rows of every task. Give at least one of `tests`,
    `folders` and `tasks`."""

    tests: Annotated[Several[str] | Literal["all"] | None, BeforeValidator(_names_or_all)] = Field(
        default=None,
        description="test sets of this recipe, or all of them. Weights are learned on a fixed half of their queries; "
        "the comparison judges all models on the other half alone",
    )
    folders: Annotated[dict[str, TestFolder], AfterValidator(rules.check_keys_name_folders)] | None = Field(
        default=None,
        description="development sets by name, in BEIR's layout, with the keys of `data.test_sets.<name>`. Weights are "
        "learned on all of their queries",
    )
    tasks: Several[str] | None = Field(default=None, description="training tasks, of which the held-out rows count")
    shares: dict[str, float] | None = Field(
        default=None,
        description="how much each of these counts, by name; the shares sum to 1 (null: all count equally)",
    )

    @model_validator(mode="after")
    def _names_and_shares(self) -> Target:
        listed = [*((self.tests or ()) if self.tests != ALL else ()), *(self.folders or {}), *(self.tasks or ())]
        if not listed and self.tests is None:
            raise wrong("names nothing; give tests, folders or tasks")
        if twice := next((name for name in listed if listed.count(name) > 1), None):
            raise wrong(f"{short(twice)} is named twice here, as two kinds of data; rename or remove one")
        if self.shares is None:
            return self
        for name, share in self.shares.items():
            if self.tests != ALL and name not in listed:
                raise wrong(f"the target has no {short(name)}{nearest(name, listed)}", "shares", name)
            if not 0 < share <= 1:
                raise wrong(f"must be above 0 and at most 1, found {share:g}", "shares", name)
        if lacking := [name for name in listed if name not in self.shares]:
            raise wrong(f"{short(lacking[0])} has no share; give each one's, or none", "shares")
        if not math.isclose(total := math.fsum(self.shares.values()), 1, abs_tol=1e-6):
            raise wrong(f"the shares sum to {total:g}, not to 1", "shares")
        return self

    def check_names(self, data: Data) -> None:
        """Raise for a test set or task that the recipe's section ``data`` does not have, as far as it is known."""
        tests = None if self.tests == ALL else self.tests
        _chosen(data.tests, tests, "tests", "test set")
        _chosen(data.tasks, self.tasks, "tasks", "task")
        if data.mixture is not None:
            try:
                rules.check_names_in_mixture(data.mixture, {"tests": tests, "tasks": self.tasks})
            except PydanticCustomError as error:
                assert error.context is not None
                raise wrong(error.message(), "gain", "target", *error.context["key"]) from None
            return
        _chosen(list(data.test_sets or {}), tests, "tests", "test set")
        _chosen(list(data.sources or {}), self.tasks, "tasks", "task")
        if self.tests == ALL and not data.test_sets:
            raise wrong("the recipe has no test sets (data.test_sets)", "gain", "target", "tests")


def _chosen(known: Sequence[str] | None, wanted: Sequence[str] | None, key: str, what: str) -> None:
    for index, name in enumerate(wanted or ()):
        if known is not None and name not in known:
            message = f"the recipe has no {what} {short(name)}{nearest(name, known)}"
            raise wrong(message, "gain", "target", key, index)
