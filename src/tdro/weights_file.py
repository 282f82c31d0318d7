"""Reads a JSON file of weights, in any of its three forms. :meth:`tdro.weights.TaskWeights.load` uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tdro.errors import UserError
from tdro.files import read_json

FORMAT = "tdro-weights/1"


def read_weights_file(path: Path | str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The weights in a file, not checked yet, and where they come from.

    The file has one of these forms:

    - ``{"format": "tdro-weights/1", "weights": {"news": 0.7, "code": 0.3}, "provenance": {…}}``, as tdro writes it;
    - ``{"domain_weights": {…}, …}``, as the paper's authors released it;
    - ``{"news": 0.7, "code": 0.3}``.

    Raises:
        UserError: the file is missing, is not JSON, or has none of these forms.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object of weights, found {type(content).__name__}")
    provenance: Any = {"file": Path(path).name}
    # A plain file may have a task that is called "format"; its weight is a number.
    if "format" in content and not isinstance(content["format"], (int, float)):
        if content["format"] != FORMAT:
            raise UserError(f"{path}: format {content['format']!r} is not {FORMAT!r}, the one this version reads")
        weights, provenance = content.get("weights"), content.get("provenance", {})
    elif "domain_weights" in content:
        weights = content["domain_weights"]
        provenance |= {key: content[key] for key in ("source", "size") if key in content}
    else:
        weights = content
    if not isinstance(weights, dict) or not isinstance(provenance, dict):
        raise UserError(f"{path}: 'weights' must be an object of task: weight, and 'provenance' an object")
    return weights, provenance
