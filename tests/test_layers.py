"""The walls of the house: rooms import downwards only, no file imports itself through others, type hints included."""

import ast
import functools
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "tdro"

# From the top down. Every room and every file outside a room stands here once; there are no exceptions.
ORDER = (
    *("__main__", "cli", "commands"),
    "study",
    *("run", "init", "report", "planning"),
    *("mining", "evaluation", "search"),
    *("gain", "dro", "training", "sampler", "sampler_tasks", "models"),
    *("quickstart", "data", "recipe", "launch", "workers"),
    *("other_trainers", "weights_on_tasks", "weights", "weights_file", "mixture_name", "epoch_cap", "machine"),
    *("versions", "terminal_table", "console", "files", "disk", "hub", "errors"),
)
CLOSED = {"data.neardup": "data.neardup.near_duplicates"}  # rooms with one door: what others import of them


def modules():
    """Every module's name, without ``tdro.``, and its file; not ``tdro`` itself, which lends names from everywhere."""
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        if name != "__init__":
            yield name, path


MODULES = dict(modules())


def imports(path):
    """The modules of tdro that a file imports, wherever in the file, those that only types need too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tdro":
            package = node.module.removeprefix("tdro").lstrip(".")
            for alias in node.names:
                inner = f"{package}.{alias.name}".lstrip(".")
                if inner in MODULES:
                    yield inner
                elif package:
                    yield package


@functools.cache  # and not while pytest collects, which each of its processes does
def graph():
    """What each module imports."""
    return {name: set(imports(path)) for name, path in MODULES.items()}


def test_rooms_import_downwards():
    level = {room: number for number, room in enumerate(ORDER)}
    upward = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in sorted(others)
        if level[other.split(".")[0]] < level[name.split(".")[0]]
    ]
    assert not upward


def test_no_circle_of_files():
    try:
        tuple(TopologicalSorter(graph()).static_order())
    except CycleError as error:
        pytest.fail(f"circle: {' → '.join(error.args[1])}")


@pytest.mark.parametrize("room", CLOSED)
def test_closed_rooms_have_one_door(room):
    inside = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in sorted(others)
        if other.startswith(f"{room}.") and not name.startswith(f"{room}.") and other != CLOSED[room]
    ]
    assert not inside


def test_every_room_says_what_its_files_hold():
    """A package's docstring has a line for each of its files."""
    missing = []
    for name, path in MODULES.items():
        if path.name == "__init__.py":
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            held = [file.stem for file in path.parent.glob("*.py") if file.stem != "__init__"]
            missing += [f"{name}: {file}" for file in held if f"{file}.py" not in text]
    assert not missing
