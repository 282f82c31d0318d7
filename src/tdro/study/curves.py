"""What the curves of a study say: the knee of selections, where a gain ends, and the steps that are saved.

All of it is read off the findings of a study; see :func:`tdro.study.findings.findings_of`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tdro.evaluation.compare.readable_numbers import nested, signed
from tdro.evaluation.compare.verdict import significant

Findings = Sequence[Mapping[str, Any]]


def shown(gain: Any) -> int:
    """1 for a gain that is shown, -1 for a loss that is shown, else 0."""
    if gain is None or not significant(gain):
        return 0
    return 1 if gain["difference"] > 0 else -1


def lines_of(found: Findings) -> dict[str, list[Mapping[str, Any]]]:
    """The variants of each line that were compared and stand at a number, by that number."""
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for one in found:
        if one["place"] is not None and nested(one, "scores", "gain") is not None:
            lines.setdefault(one["line"], []).append(one)
    return {name: sorted(line, key=lambda one: one["place"]) for name, line in lines.items()}


def ends(found: Findings) -> list[str]:
    """For each line along a number that begins with a gain, from where on it is not shown any more."""
    sentences = []
    for name, line in lines_of(found).items():
        signs = [shown(one["scores"]["gain"]) for one in line if one["axis"] != "mixture"]
        if len(signs) > 1 and signs[0] > 0 and (last := [at for at, sign in enumerate(signs) if sign <= 0]):
            title = f"{name}: the" if name else "The"
            sentences.append(
                f"{title} gain is shown up to {line[last[0] - 1]['name']} and not at {line[last[0]]['name']}."
            )
    return sentences


def knees(found: Findings) -> list[str]:
    """For each line of selections, the smallest that is not shown to be behind the best of the line."""
    sentences = []
    for name, line in lines_of(found).items():
        if len(line) < 3 or any(nested(one, "scores", "behind_best") is None for one in line):
            continue
        best = max(range(len(line)), key=lambda at: line[at]["scores"]["mean"])
        knee = best
        while knee and shown(line[knee - 1]["scores"]["behind_best"]) >= 0:
            knee -= 1
        title = f"{name}: " if name else ""
        text = f"{title}the best selection is {line[best]['name']}"
        if knee == best and best:
            below = line[best - 1]
            text += f", and the next smaller, {below['name']}, is shown to be behind it ({_difference(below)})"
        elif knee < best:
            text += f"; down to {line[knee]['name']} none is shown to be behind it ({_difference(line[knee])})"
        sentences.append((text[0].upper() + text[1:] if not name else text) + ".")
    return sentences


def _difference(one: Mapping[str, Any]) -> str:
    return signed(one["scores"]["behind_best"]["difference"])


def steps_saved(found: Findings) -> list[str]:
    """For each line along the steps of the fine-tuning, how many of them reach what the recipe's steps reach without.

    Scores between two variants are read off a straight line over the logarithm of the steps.
    """
    sentences = []
    for name, line in lines_of(found).items():
        own = [one for one in line if one["place"] == 1.0]
        if any(one["axis"] != "finetune.steps" for one in line) or len(line) < 3 or not own:
            continue
        wanted = own[0]["scores"]["baseline"]
        if own[0]["versus"].get("finetune.steps") != own[0]["value"]:
            continue  # compared with a training of other steps, so it is no curve beside another
        share = _reached(line, wanted)
        title = f"{name}: " if name else ""
        if share is None:
            sentences.append(f"{title}at no number of steps does it reach what the other reaches with the recipe's.")
        else:
            sentences.append(
                f"{title}{share:.2g} times the recipe's steps reach what the other reaches with all of them."
            )
    return sentences


def _reached(line: Findings, wanted: float) -> float | None:
    """The smallest multiple of the steps at which the mean score is ``wanted``; None if it never is."""
    places = [(one["place"], one["scores"]["mean"]) for one in line]
    if places[0][1] >= wanted:
        return float(places[0][0])
    for (left, low), (right, high) in itertools.pairwise(places):
        if low < wanted <= high:
            share = (wanted - low) / (high - low)
            return math.exp(math.log(left) + share * (math.log(right) - math.log(left)))
    return None
