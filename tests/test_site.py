"""The site: its pictures are those of the results, its notebook runs, and it builds without a broken link."""

from __future__ import annotations

import importlib
import json
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
PICTURES, SITE = ROOT / "docs" / "pictures", ROOT / "docs" / "site"


def script(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module(name)


def test_pictures_are_those_of_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    script(PICTURES, "draw", monkeypatch).draw(tmp_path)
    drawn = sorted(tmp_path.iterdir())
    assert [picture.name for picture in drawn] == sorted(picture.name for picture in PICTURES.glob("*.svg"))
    for picture in drawn:
        assert picture.read_bytes() == (PICTURES / picture.name).read_bytes(), "run docs/pictures/draw.py"


def test_pictures_are_small():
    for picture in [*PICTURES.glob("*.svg"), *PICTURES.glob("*.png")]:
        assert picture.stat().st_size < 150_000, picture.name


def test_the_notebook_comes_to_a_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its cells run in a folder of their own, and it holds what they print: it is not a page that nobody has run."""
    notebook = script(SITE, "run_notebook", monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    stored = json.loads(notebook.NOTEBOOK.read_text("utf-8"))
    for content in (stored, notebook.run_cells(notebook.NOTEBOOK)):
        printed = "".join(text for cell in content["cells"] for out in cell.get("outputs", ()) for text in out["text"])
        assert "leaves out chat\n" in printed and "decision: train by top-75\n" in printed
    assert (tmp_path / "runs" / "mine" / "report.html").is_file()


def test_every_command_is_on_the_page_of_commands(monkeypatch: pytest.MonkeyPatch):
    page = script(SITE, "options_page", monkeypatch).options_as_markdown()
    for line in ("## `tdro run`", "## `tdro data check`", "`--hold-out N`", "`--tests FOLDER …`", "`--top P`"):
        assert line in page
    assert "%(" not in page and "SUPPRESS" not in page


class Anchors(HTMLParser):
    """The links of a page, and what can be linked to in it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.ids |= {named[key] or "" for key in ("id", "name") if key in named}
        self.links += [named[key] or "" for key in ("href", "src") if key in named]


@pytest.mark.filterwarnings("ignore")  # of Sphinx about its own extensions
def test_the_site_builds_and_no_link_is_broken(tmp_path: Path):
    """Warnings are errors, such as a link to a heading that is not there; then every link of the pages is followed."""
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package)
    from sphinx.cmd.build import build_main

    out = tmp_path / "site"
    assert build_main(["-W", "--keep-going", "-q", "-E", "-c", str(SITE), str(ROOT), str(out)]) == 0
    pages = {}
    for path in out.rglob("*.html"):
        pages[path] = Anchors()
        pages[path].feed(path.read_text("utf-8"))
    assert {"index.html", "README.html", "api.html", "why.html", "notebook.html"} <= {path.name for path in pages}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.name}: {link}"
            anchor = unquote(parts.fragment)
            assert not anchor or target not in pages or anchor in pages[target].ids, f"{path.name}: {link}"
