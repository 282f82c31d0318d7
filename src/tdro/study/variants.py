"""The variants of a study: every point of its figure, with what it is compared with."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tdro.errors import UserError
from tdro.files import fingerprint
from tdro.mixture_name import known_mixture
from tdro.recipe.schema import Recipe
from tdro.study.schema import Series, Study

_COMPUTED = ("tasks.", "alpha.")


@dataclass(frozen=True)
class Variant:
    """A point of the figure.

    Attributes:
        line: the name of the line that it is on.
        axis: the key that varies along the line.
        value: of that key.
        settings: all keys that are set, with their values.
        versus: the settings of what it is compared with.
    """

    line: str
    axis: str
    value: Any
    settings: Mapping[str, Any]
    versus: Mapping[str, Any]

    @property
    def name(self) -> str:
        """``weights.offset 0.5``; for a mixture its name alone."""
        return str(self.value) if self.axis == "mixture" else f"{self.axis} {_shown(self.value)}"

    @property
    def place(self) -> float | None:
        """Where it is on a numeric axis: the number itself, the factor of ``x0.5``, P of ``top-P``; else None."""
        if isinstance(self.value, bool):
            return None
        if isinstance(self.value, int | float):
            return float(self.value)
        mixture = known_mixture(str(self.value)) if self.axis == "mixture" else None
        if mixture is not None:
            return mixture.percent
        times = re.fullmatch(r"x([\d.]+)", str(self.value))
        return float(times[1]) if times else None


def fitting(study: Study, recipe: Recipe) -> tuple[Study, list[str]]:
    """The study without the lines that need what the recipe does not have, and why each of them is left out.

    Raises:
        UserError: no line is left.

    Example::

        study, left_out = fitting(load_study(find_study("proxy")), recipe)
        left_out  # ["fewer layers: the recipe has no base.layers"]
    """
    left_out = [series for series in study.lines if series.needs and _said(recipe, series.needs) is None]
    reasons = [f"{series.name}: the recipe has no {series.needs}" for series in left_out]
    kept = tuple(series for series in study.lines if series not in left_out)
    if not kept:
        raise UserError(f"nothing of the study fits this recipe. {'; '.join(reasons)}")
    return study.model_copy(update={"vary": None, "series": kept}) if left_out else study, reasons


def _said(recipe: Recipe, key: str) -> Any:
    value: Any = recipe
    for part in key.split("."):
        value = getattr(value, part, None)
    return value


def settings_key(settings: Mapping[str, Any]) -> str:
    """A short name for settings: the same for the same settings in any order."""
    return fingerprint(dict(settings))


def variants_of(study: Study) -> list[Variant]:
    """Every variant of a study, line by line.

    Raises:
        UserError: two variants of one line are the same.

    Example::

        [variant.name for variant in variants_of(Study(vary={"weights.offset": [0, 0.5]}))]
        # ["weights.offset 0", "weights.offset 0.5"]
    """
    found: list[Variant] = []
    for series in study.lines:
        found += _line(study, series, several=len(study.lines) > 1)
    seen: dict[tuple[str, str], Variant] = {}
    for variant in found:
        key = (variant.line, settings_key(variant.settings))
        if key in seen:
            raise UserError(f"line {variant.line!r}: the variant {variant.name} is there twice")
        seen[key] = variant
    return found


def _line(study: Study, series: Series, several: bool) -> list[Variant]:
    axis, *others = series.vary
    versus = study.versus if series.versus is None else series.versus
    found = []
    for combination in itertools.product(*(series.vary[key] for key in others)):
        extra = dict(zip(others, combination, strict=True))
        words = [f"{key.rpartition('.')[2]} {_shown(value)}" for key, value in extra.items()]
        named = [series.name] if series.name else [axis] if several and not words else []
        line = ", ".join([*named, *words])
        for value in series.vary[axis]:
            settings = _together(study.set, series.set, extra, {axis: value})
            found.append(Variant(line, axis, value, settings, _together(settings, versus)))
    return found


def _together(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Settings one over the other. A computed key (``tasks.…``, ``alpha.…``) that is null is not set at all."""
    merged: dict[str, Any] = {}
    for part in parts:
        merged |= part
    return {key: value for key, value in merged.items() if value is not None or not key.startswith(_COMPUTED)}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(_shown(inner) for inner in value.values())
    return f"{value:g}" if isinstance(value, float) else str(value)


def mixtures_of(variants: Sequence[Variant]) -> list[str]:
    """The mixtures that the variants name, in order."""
    return list(dict.fromkeys(str(one.settings["mixture"]) for one in variants if "mixture" in one.settings))
