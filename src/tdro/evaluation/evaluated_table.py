"""Results of models on benchmarks as text: a line a test set, and the mean of each benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tdro.evaluation.evaluate_models import Evaluated

_SHOWN = {"ndcg@10": "nDCG@10", "recall@100": "Recall@100"}
_MKQA = {"accuracy@10": "Acc@10", "accuracy@100": "Acc@100"}


def evaluated_table(models: Sequence[Evaluated]) -> str:
    """The measures that the paper reports, times 100; the mean is that over test sets, each counting the same."""
    return "\n\n".join(
        "\n".join([f"{model.name}: {model.folder}", *_rows(name, results)])
        for model in models
        for name, results in model.benchmarks.items()
    )


def _rows(name: str, results: Sequence[Mapping[str, Any]]) -> list[str]:
    shown = _SHOWN if "ndcg@10" in results[0]["mean"] else _MKQA
    mean = {key: sum(result["mean"][key] for result in results) / len(results) for key in shown}
    lines = [(result["test"], result["mean"]) for result in results]
    if len(results) > 1:
        lines.append((f"mean of {name} ({len(results)} test sets)", mean))
    width = max(len(title) for title, _ in lines)
    header = f"{'':{width}}" + "".join(f"{title:>12}" for title in shown.values())
    return [header, *(f"{title:{width}}" + "".join(f"{100 * of[key]:12.2f}" for key in shown) for title, of in lines)]
