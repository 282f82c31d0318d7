"""The wheel and the sdist: they hold all that tdro needs and nothing else. The wheel works without the repository."""

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
INFO = "tdro-0.1.0.dist-info"

# What lies beside the code is read once: recipes, studies, and the weights that the paper's authors released.
READ = """
import sys
sys.path.insert(0, sys.argv[1])
from tdro import TaskWeights, weights
from tdro.recipe import builtin, schema
from tdro.study import schema as study
assert weights.__file__.startswith(sys.argv[1])
print(*(schema.load_recipe(builtin.find(name)).name for name in builtin.built_in()))
print(*(study.load_study(study.find_study(name)).question for name in study.built_in()))
print(len(TaskWeights.paper()))
"""


def own_files() -> set[str]:
    """The files of ``src/tdro`` as they are named in the wheel: code, templates, recipes, studies, ``py.typed``."""
    source = ROOT / "src"
    files = {path.relative_to(source) for path in source.joinpath("tdro").rglob("*") if path.is_file()}
    return {path.as_posix() for path in files if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    built = next(iter(WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")))))
    return zipfile.ZipFile(built)


def test_the_wheel_holds_tdro_its_licence_and_nothing_else(wheel: zipfile.ZipFile):
    about = {f"{INFO}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    assert set(wheel.namelist()) == own_files() | about
    assert {Path(name).suffix for name in own_files()} >= {".py", ".yaml", ".html", ".css", ".md", ".json", ".typed"}
    metadata = Parser().parsestr(wheel.read(f"{INFO}/METADATA").decode())
    assert (metadata["License-Expression"], metadata["License-File"]) == ("Apache-2.0", "LICENSE")
    assert wheel.read(f"{INFO}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


def test_the_wheel_works_without_the_repository(wheel: zipfile.ZipFile, tmp_path: Path):
    wheel.extractall(tmp_path / "site")
    command = [sys.executable, "-I", "-c", READ, str(tmp_path / "site")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    recipes, studies, tasks = done.stdout.splitlines()
    assert "quickstart" in recipes.split() and studies.count("?") >= 11 and tasks == "25"


def test_the_sdist_holds_what_builds_and_tests_it_and_nothing_else(tmp_path: Path):
    with tarfile.open(next(iter(SdistBuilder(str(ROOT)).build(directory=str(tmp_path))))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in own_files()} <= names
    assert {"tests/tiny.py", "docs/recipe.md", "examples/own_data.ipynb", "benchmarks/README.md"} <= names
    pages = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"}
    tools = {"pyproject.toml", "Makefile", "constraints.txt", "constraints-lowest.txt", ".gitignore", "PKG-INFO"}
    assert {name for name in names if "/" not in name} == pages | tools
    folders = {name.partition("/")[0] for name in names if "/" in name}
    assert folders == {"src", "tests", "docs", "examples", "benchmarks"}
