"""Runs a notebook's cells and keeps what they print, and makes a page of it.

python docs/site/run_notebook.py    runs examples/own_data.ipynb and writes what its cells print into it

See docs/decisions.md, notebook-without-jupyter.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "own_data.ipynb"


def run_cells(notebook: Path) -> dict[str, Any]:
    """The notebook with what each cell prints, run in the current folder. Nothing is written to the notebook.

    Raises:
        Exception: whatever a cell raises.
    """
    content = json.loads(notebook.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate((cell for cell in content["cells"] if cell["cell_type"] == "code"), 1):
        printed, errors = io.StringIO(), io.StringIO()  # progress bars go to the errors
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
                exec(compile("".join(cell["source"]), f"{notebook.name}, cell {number}", "exec"), names)
        except BaseException:
            print(errors.getvalue(), file=sys.stderr)
            raise
        said = printed.getvalue().splitlines(keepends=True)
        cell["execution_count"] = number
        cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": said}] if said else []
    return content


def as_markdown(notebook: Path) -> str:
    """The notebook as a page: text as it is, code and what it printed as blocks."""
    parts = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(re.sub(r"\]\(\.\./docs/", "](../", source))  # as seen from docs/site
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [f"```text\n{''.join(output['text']).rstrip()}\n```" for output in cell["outputs"]]
    parts.insert(1, f"[Download this page as a notebook](../../examples/{notebook.name})")
    return "\n\n".join(parts)


def main() -> None:
    """Run the notebook in a temporary folder and keep what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path.cwd()
        os.chdir(folder)
        try:
            content = run_cells(NOTEBOOK)
        finally:
            os.chdir(here)
    NOTEBOOK.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
