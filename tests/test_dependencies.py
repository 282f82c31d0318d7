"""Every package that tdro imports is one that its pyproject.toml asks for; an extra that is missing is named."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tdro.errors import UserError
from tdro.models import sources

ROOT = Path(__file__).parent.parent
BROUGHT_BY = {"pydantic_core": "pydantic", "markupsafe": "jinja2"}  # part of what these two hand out


def imported():
    """The packages that a module of tdro imports, wherever in it, with one such module each."""
    found = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            found |= {name.partition(".")[0]: path.name for name in names}
    return {name: path for name, path in found.items() if name not in {*sys.stdlib_module_names, "tdro"}}


def listed():
    """The distributions that the dependencies and the extras name."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lists = re.findall(r"^(?:dependencies|lora|gguf|mteb|ray) = (\[.*?\])$", text, re.MULTILINE | re.DOTALL)
    return {plain(name) for part in lists for name in re.findall(r'"([\w.-]+)', part)}


def plain(name):
    return name.lower().replace("_", "-")


def test_what_is_imported_is_asked_for():
    known, asked = packages_distributions(), listed()
    for name, module in imported().items():
        names = {BROUGHT_BY.get(name, name), *known.get(name, [])}
        assert {plain(one) for one in names} & asked, f"{module} imports {name}, which pyproject.toml does not ask for"


@pytest.mark.parametrize("source", ["smollm2", "models/a.gguf"])
def test_gguf_without_its_package_is_refused_before_anything_is_downloaded(source, monkeypatch):
    monkeypatch.setattr(sources, "find_spec", lambda _: None)
    monkeypatch.setattr(sources, "packaged_model", lambda _: pytest.fail("downloaded"))
    with pytest.raises(UserError, match=r"^base.source .*: read from a GGUF file.*pip install 'tdro\[gguf\]'"):
        sources.model_source(source)
