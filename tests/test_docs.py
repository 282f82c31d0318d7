"""The pages for people name what is there: links, files, modules, commands and options, rooms, decisions."""

from __future__ import annotations

import contextlib
import io
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from tdro.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
PAGES += [page for page in sorted(ROOT.glob("docs/*.md")) if page.name != "decisions.md"]  # which tells what is gone
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PLACE = re.compile(r"(?:src|tests|docs|examples|benchmarks)/[\w./-]+\w")
COMMAND = re.compile(r"tdro ((?:data )?[a-z]+)\b([^#]*)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def page_ids(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in HEADING.findall(text)}


@pytest.mark.parametrize("page", PAGES, ids=page_ids(PAGES))
def test_links_lead_somewhere(page: Path):
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=page_ids(PAGES))
def test_named_files_and_modules_are_there(page: Path):
    text = page.read_text(encoding="utf-8")
    for place in PLACE.findall(text):
        if place.startswith("tests/") and page.name == "mixture.md":
            continue  # of somebody's mixture
        assert (ROOT / place).exists() or place == "docs/decisions.md", place
    for name in re.findall(r"`(test_\w+\.py)`", text):
        assert (ROOT / "tests" / name).is_file(), name
    for name in re.findall(r"`(tdro(?:\.\w+)+)`", text):
        assert named(name), name


def named(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    module, _, attribute = name.rpartition(".")
    with contextlib.suppress(ModuleNotFoundError):
        if find_spec(name):
            return True
    found = find_spec(module)
    return found is not None and found.origin is not None and attribute in Path(found.origin).read_text("utf-8")


def test_every_page_is_in_the_contents_of_the_site():
    contents = (ROOT / "docs" / "site" / "contents.md").read_text(encoding="utf-8")
    for page in ROOT.glob("docs/*.md"):
        assert re.search(rf"\bdocs/{page.stem}\b", contents), f"add {page.name} to docs/site/contents.md"


@cache
def options(command: str) -> set[str]:
    """The options of a command, by its help; nothing where there is no such command."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()), pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    return set(re.findall(r"(?<![\w-])--[a-z-]+", printed.getvalue()))


@pytest.mark.parametrize("page", PAGES, ids=page_ids(PAGES))
def test_commands_and_their_options_are_there(page: Path):
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"`(tdro [^`]+)`", text)
    shown += [line.removeprefix("$ ") for block in FENCE.findall(text) for line in block.split("\n")]
    for line in shown:
        if match := COMMAND.match(line):
            known = options(match[1])
            assert known, line
            assert set(re.findall(r"(?<![\w-])--[a-z-]+", match[2])) <= known, line


def test_the_tree_has_every_room():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = text.split("src/tdro/\n", 1)[1].split("```", 1)[0]
    here = (path for path in (ROOT / "src/tdro").iterdir() if path.name[0] not in "_." and path.name != "py.typed")
    rooms = {path.name + "/" * path.is_dir() for path in here}
    inner = {f"{path.name}/" for room in rooms if room[-1] == "/" for path in (ROOT / "src/tdro" / room).iterdir()}
    assert rooms <= set(re.findall(r"[\w.]+/|\w+\.py", tree))
    assert set(re.findall(r"[\w.]+/|\w+\.py", tree)) <= rooms | inner


DECISIONS = ROOT / "docs" / "decisions.md"


def test_pointers_lead_to_decisions():
    names = set(re.findall(r"^##+ ([\w-]+)$", DECISIONS.read_text(encoding="utf-8"), re.MULTILINE))
    files = [path for folder in ("src", "tests", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.[pm][yd]")]
    for path in files:
        text = re.sub(r"[#\s]+", " ", path.read_text(encoding="utf-8"))
        for name in re.findall(r"docs/decisions\.md, ([a-z0-9-]+[a-z0-9])", text):
            assert name in names, f"{path.relative_to(ROOT)}: {name}"
