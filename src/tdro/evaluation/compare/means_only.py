"""Systems of which only means are known: shown beside a comparison, and said to be untestable."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tdro.evaluation.compare.readable_numbers import points
from tdro.evaluation.others.mean_scores import MeanScores
from tdro.terminal_table import terminal_table

_WHY = "Means only: these files have no value for each query, so no difference from them can be tested."


def about_means(systems: Sequence[MeanScores], tests: Collection[str], measures: Sequence[str]) -> list[dict[str, Any]]:
    """What a comparison says of systems that have means only.

    Args:
        systems: their means.
        tests: the test sets of the comparison; empty if nothing was compared.
        measures: of the comparison.

    Returns:
        For each system a dict with ``name``, ``file``, ``tests`` (test set to measure to mean, in [0, 1]), and for
        each of ``measures`` its mean over the test sets of the comparison (over all of the system's, if nothing was
        compared); null if the system lacks one of them.
    """
    found = []
    for system in systems:
        wanted = list(tests) or list(system.tests)
        entry: dict[str, Any] = {"name": system.name, "file": str(system.path), "tests": system.tests}
        for measure in measures:
            values = [system.tests.get(test, {}).get(measure) for test in wanted]
            known = [value for value in values if value is not None]
            entry[measure] = float(np.mean(known)) if len(known) == len(values) else None
        found.append(entry)
    return found


def means_lines(systems: Sequence[Mapping[str, Any]], measure: str, label: str, width: int) -> list[str]:
    """The lines about these systems in the comparison's text, the tested measure x 100."""
    if not systems:
        return []
    tests = list(dict.fromkeys(test for system in systems for test in system["tests"]))
    cells = [
        [test, *(points(system["tests"].get(test, {}).get(measure)) for system in systems)] for test in sorted(tests)
    ]
    if len(tests) > 1:
        cells.append(["mean of the test sets compared", *(points(system[measure]) for system in systems)])
    names = [system["name"] if len(system["name"]) <= 24 else f"{system['name'][:23]}…" for system in systems]
    return [*textwrap.wrap(_WHY, width), *terminal_table([label, *names], cells).splitlines()]
