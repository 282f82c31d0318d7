"""A task of code: a docstring finds its function (the running interpreter's standard library, PSF).

The files are parsed, never imported. They differ between Python versions, so this is the only task of the sample whose
bytes depend on the interpreter. The group is the source file.
"""

from __future__ import annotations

import ast
import sysconfig
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

from tdro.quickstart.pairs import Pair

_SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "turtledemo"}


def functions(folder: Path | None = None) -> Iterator[Pair]:
    """The query is the first paragraph of a function's docstring, the positive the function's code without it.

    Args:
        folder: Python files; None for the standard library.
    """
    root = folder or Path(sysconfig.get_paths()["stdlib"])
    for path in _files(root):
        place = path.relative_to(root)
        source = path.read_text(encoding="utf-8", errors="replace")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes such as "\\d" in old docstrings
                tree = ast.parse(source)
        except (SyntaxError, ValueError):
            continue  # a few files of the library are broken on purpose
        lines = source.split("\n")
        for node in _functions(tree.body):
            if len(node.body) > 1 and (text := ast.get_docstring(node)):
                yield Pair(f"python {place.as_posix()}", text.split("\n\n")[0], (_code(node, lines),))


def _files(folder: Path) -> Iterator[Path]:
    """The Python files below a folder in order, without tests and installed packages."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in _SKIPPED:
            yield from _files(path)
        elif path.suffix == ".py" and path.is_file():
            yield path


def _functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions and methods, without functions inside functions, which would take twice as long to find."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _functions(node.body)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def _code(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    """A function's lines without its docstring and without blank lines."""
    docstring, end = node.body[0], node.end_lineno
    code = lines[node.lineno - 1 : docstring.lineno - 1] + lines[docstring.end_lineno : end]
    return textwrap.dedent("\n".join(line for line in code if line.strip()))
