"""Evaluates a model on one test set and keeps nothing on disk."""

from __future__ import annotations

from tempfile import TemporaryDirectory

from tdro.evaluation.scoring.evaluate import evaluate_all


def evaluate_once(model, test, *, bf16=None):
    """The result of a model on a test set, as :func:`evaluate_all` gives it."""
    with TemporaryDirectory() as folder:
        (result,) = evaluate_all(model, [test], folder, model_name="model", bf16=bf16, progress=False)
    return result
