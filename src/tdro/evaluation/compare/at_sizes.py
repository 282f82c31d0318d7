"""What a comparison says of embeddings that are cut to smaller sizes (``finetune.matryoshka``).

The results at each smaller size are in a folder of their own. See docs/decisions.md, sizes-beside-evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from tdro.evaluation.compare.compare import compare
from tdro.evaluation.compare.comparison_cells import cut, measure_label, points
from tdro.evaluation.compare.same_model import is_baseline
from tdro.evaluation.compare.verdict import significant
from tdro.terminal_table import terminal_table


def compare_at_sizes(
    comparison: Mapping[str, Any],
    width: int,
    folders: Mapping[int, Path],
    *,
    models: Collection[str],
    test_sets: Collection[str],
    permutations: int = 10_000,
) -> list[dict[str, Any]]:
    """A group's models at each size of their embeddings, the largest first; the key ``sizes`` of its comparison.

    Args:
        comparison: of whole embeddings, as :func:`tdro.evaluation.compare.compare.compare` returns it.
        width: how many numbers whole embeddings have.
        folders: each smaller size, with the folder of the results at it.
        models: names of the models' folders.
        test_sets: names of the test sets.
        permutations: how many sign flips.

    Returns:
        A dict for each size: ``size``, and ``rows`` with a dict for each mixture. It has ``mixture``, under the
        measure's name its mean over all test sets, ``spread`` (over seeds, or None), and ``versus``: the difference
        from the baseline at the same size, as :func:`tdro.evaluation.compare.against_baseline.against_baseline`
        returns it for all test sets; None where there is none.
    """
    measure = comparison["measure"]
    found = [{"size": width, "rows": [_row(row, measure) for row in comparison["rows"] if row["mixture"] != "bm25"]}]
    for size, folder in folders.items():
        at_size = compare(folder, str(size), models=models, test_sets=test_sets, permutations=permutations)
        found.append({"size": size, "rows": [_row(row, measure) for row in at_size["rows"]]})
    return found


def _row(row: Mapping[str, Any], measure: str) -> dict[str, Any]:
    versus = row["versus"] and not is_baseline(row)
    return {
        "mixture": row["mixture"],
        measure: row[measure]["all"],
        "spread": row[measure]["spread"],
        "versus": row["versus"][measure]["all"] if versus else None,
    }


def sizes_lines(comparison: Mapping[str, Any], width: int = 100) -> list[str]:
    """A table with a line for each mixture and a column for each size; empty if there are no sizes.

    A cell has the mean, and in brackets the difference from the baseline at the same size, with a ``*`` where it holds
    for other queries and other seeds. Where that is more than ``width`` columns of text, the means alone.
    """
    if not comparison.get("sizes"):
        return []
    title = f"{measure_label(comparison['measure'])} at each size of the embeddings"
    lines = _table(comparison, _mean_and_difference)
    if max(map(len, lines)) > width:
        return [f"{title}:", *_table(comparison, _mean)]
    stars = ["* holds for other queries and other seeds."] if any("*" in line for line in lines) else []
    return [f"{title}, and the difference from the baseline at that size:", *lines, *stars]


def _table(comparison: Mapping[str, Any], cell: Callable[[Mapping[str, Any], str], str]) -> list[str]:
    sizes, measure = comparison["sizes"], comparison["measure"]
    heads = [str(each["size"]) for each in sizes]
    columns = [{row["mixture"]: cell(row, measure) for row in each["rows"]} for each in sizes]
    lines = [[cut(name, 30), *(column.get(name, "-") for column in columns)] for name in columns[0]]
    return terminal_table(["", *heads], lines, left=heads).splitlines()


def _mean(row: Mapping[str, Any], measure: str) -> str:
    return points(row[measure])


def _mean_and_difference(row: Mapping[str, Any], measure: str) -> str:
    if (versus := row["versus"]) is None:
        return _mean(row, measure)
    return f"{_mean(row, measure)} ({100 * versus['difference']:+.1f}{'*' if significant(versus) else ''})"
