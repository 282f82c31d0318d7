"""A study as a file: a question, and the variants of a recipe that answer it.

A study of one's own may be this short::

    vary: {weights.offset: [0, 0.5, 1]}

Everything is checked as a recipe is, by file, line and key; what the keys under ``vary`` and ``set`` may be is in
:mod:`tdro.study.settings`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from tdro.errors import UserError
from tdro.recipe.explain_errors import explain_errors
from tdro.recipe.messages import nearest, wrong
from tdro.recipe.section import Section
from tdro.recipe.yaml_lines import read_yaml

BUILTIN = Path(__file__).parent / "builtin"
Values = Annotated[tuple[Any, ...], Field(strict=False, min_length=1)]
UNIFORM = {"mixture": "uniform"}


class Series(Section):
    """A line of the figure: variants that differ in one key, the first of ``vary``."""

    name: str | None = Field(default=None, description="what the line is called (null: by what is set)")
    vary: dict[str, Values] = Field(
        min_length=1, description="key: its values. With several keys, every combination; the first key is the axis"
    )
    set: dict[str, Any] = Field(default_factory=dict, description="keys with one value in all variants of the line")
    versus: dict[str, Any] | None = Field(default=None, description="instead of the study's versus, for this line")
    needs: str | None = Field(
        default=None, description="leave the line out where the recipe says nothing here, such as base.layers"
    )


class Study(Section):
    """All of a study's file."""

    question: str | None = Field(default=None, description="what the study answers (null: made from the keys)")
    vary: dict[str, Values] | None = Field(default=None, description="one line; see Series.vary")
    series: Annotated[tuple[Series, ...], Field(strict=False, min_length=1)] | None = Field(
        default=None, description="several lines, instead of vary"
    )
    set: dict[str, Any] = Field(default_factory=dict, description="keys with one value in all variants")
    versus: dict[str, Any] = Field(
        default_factory=lambda: dict(UNIFORM),
        description="each variant is compared with itself after these keys are set",
    )
    seeds: int = Field(default=5, ge=0, description="trainings of each variant (0: only weights are learned)")
    says: Literal["gain", "agreement", "measure"] = Field(
        default="gain",
        description="what the answer is about. gain: scores; agreement: whether the learned weights are those of the "
        "recipe as it is; measure: the measure M of each task in stage 1",
    )
    tests: Literal["all", "trained"] = Field(
        default="all", description="which test sets count: all, or those of the tasks that are trained on"
    )
    weigh: Literal["equal", "rows"] = Field(
        default="equal", description="what a test set counts: all the same, or each by the rows of its task"
    )
    axis: str | None = Field(default=None, description="title of the figure's horizontal axis (null: the key)")
    opposite: str | None = Field(default=None, description="what would have shown the opposite, in a sentence")

    @model_validator(mode="after")
    def _one_way(self) -> Study:
        if (self.vary is None) == (self.series is None):
            raise wrong("give vary (one line) or series (several), one of the two", "vary")
        return self

    @property
    def lines(self) -> tuple[Series, ...]:
        """The series, also of a study that only has ``vary``."""
        return self.series or (Series(vary=dict(self.vary or {})),)


def built_in() -> list[str]:
    """The names of the studies that come with tdro."""
    return sorted(path.stem for path in BUILTIN.glob("*.yaml"))


def find_study(name_or_path: str) -> Path:
    """The file that a command line names: a file at that path, else the built-in study of that name.

    Raises:
        UserError: it is neither; with the studies that there are.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise UserError(f"{path}: no such file")
    if name_or_path not in built_in():
        known = built_in()
        hint = nearest(name_or_path, known) or f"; there are: {', '.join(known)}"
        raise UserError(f"study {name_or_path!r}: no such file, and no built-in study{hint}")
    return BUILTIN / f"{name_or_path}.yaml"


def load_study(path: Path) -> Study:
    """Read a study.

    Raises:
        UserError: the file is missing or no YAML, or has an unknown key or a wrong value; with file, line and key.
    """
    data, node = read_yaml(path)
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        raise UserError(explain_errors(error, path, node, Study)) from None
