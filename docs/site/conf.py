"""How Sphinx makes the site: `make docs` builds it from the pages on GitHub and three pages that only the site has.

The source folder is the repository, so that links between README.md, docs/ and benchmarks/ are checked as they stand.
See docs/decisions.md, sphinx-from-the-repository.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import options_page  # noqa: E402
import run_notebook  # noqa: E402

from tdro import __version__  # noqa: E402

project = "tdro"
author = "The tdro developers"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/site/*.md", "benchmarks/*.md", "benchmarks/*/*.md"]
exclude_patterns = [".*", "site", "runs", "tests", "src", "examples", "docs/site/contents.md"]
source_suffix = {".md": "markdown"}

myst_heading_anchors = 4  # GitHub's anchors
myst_enable_extensions = ["deflist"]

autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88
napoleon_custom_sections = ["Inputs (of :meth:`update`)"]

html_theme = "furo"
html_title = "tdro"
html_copy_source = False
html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["site.css"]

# What the README links to on GitHub, and the page that the site has for it.
SITE_ONLY = {"examples/own_data.ipynb": "docs/site/notebook.md", "#the-other-commands": "docs/site/options.md"}


def setup(app: Sphinx) -> None:
    """Tell Sphinx which pages are made and not written."""
    app.connect("source-read", make_page)
    app.connect("build-finished", make_index)


def make_page(app: Sphinx, name: str, source: list[str]) -> None:
    """Give the home page the site's table of contents, and the made pages their text."""
    if name == root_doc:
        for link, page in SITE_ONLY.items():
            source[0] = source[0].replace(f"({link})", f"({page})")
        source[0] += (HERE / "contents.md").read_text(encoding="utf-8")
    elif name == "docs/site/options":
        source[0] += options_page.options_as_markdown()
    elif name == "docs/site/notebook":
        source[0] += run_notebook.as_markdown(run_notebook.NOTEBOOK)


def make_index(app: Sphinx, error: Exception | None) -> None:
    """A server shows index.html first: it is the README."""
    if error is None:
        shutil.copyfile(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")
