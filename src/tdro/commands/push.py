"""``tdro push MODEL OWNER/NAME``: uploads a fine-tuned model to the Hugging Face hub."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tdro.commands.output import add_json, print_answer

NAME = "push"
SUMMARY = "upload a model to the Hugging Face hub, with its card, prompts and the learned weights; private by default"
EXAMPLE = "tdro push runs/quickstart/models/static/top-70-seed1 OWNER/NAME --dry-run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="the model's folder")
    parser.add_argument("repo", metavar="OWNER/NAME", help="the repository on the hub; it is made if it is new")
    parser.add_argument("--public", action="store_true", help="everybody may see it (default: private)")
    parser.add_argument("--force", action="store_true", help="replace other content of the repository")
    parser.add_argument("--dry-run", action="store_true", help="list the files and upload nothing; needs no token")
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """List the files, or upload them."""
    from tdro.errors import UserError
    from tdro.hub.repo_id import wrong_repo_id

    if problem := wrong_repo_id(options.repo):
        raise UserError(f"{options.repo}: {problem}")
    from tdro.hub.upload import place_of, upload
    from tdro.report.published_files import published_files

    files = published_files(Path(options.model), options.repo)
    sizes = {name: len(one) if isinstance(one, bytes) else one.stat().st_size for name, one in files.items()}
    commit = None if options.dry_run else upload(options.repo, files, public=options.public, force=options.force)
    numbers: dict[str, Any] = {"place": place_of(options.repo), "private": not options.public}
    print_answer(options, {**numbers, "commit": commit, "files": sizes}, lambda: _text(numbers, sizes, commit))


def _text(numbers: dict[str, Any], sizes: dict[str, int], commit: str | None) -> str:
    from tdro.terminal_table import terminal_table

    rows = [[name, f"{size:,}"] for name, size in sizes.items()]
    table = terminal_table(["file", "bytes"], [*rows, ["together", f"{sum(sizes.values()):,}"]])
    seen = "private" if numbers["private"] else "public"
    end = f"{numbers['place']} ({seen})" + (f", commit {commit[:7]}" if commit else ": nothing was uploaded")
    return f"{table}\n{end}"
