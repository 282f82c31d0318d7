"""Upload what the recipe's groups push to the hub: before the work, see that it may be done; after it, do it.

See docs/decisions.md, push-by-mixture.
"""

from __future__ import annotations

from pathlib import Path

from tdro.console import say
from tdro.errors import UserError
from tdro.files import read_json, write_json
from tdro.hub.upload import check_upload, place_of, upload
from tdro.recipe.names import model_name
from tdro.recipe.schema import Recipe
from tdro.report.published_files import published_files

PUSHED = "pushed.json"  # in a run's folder: the commit that the run pushed to each repository


def check_pushes(recipe: Recipe, run: Path) -> None:
    """Refuse a run that could not push its models at its end.

    Args:
        recipe: the recipe.
        run: the run's folder, which says what this run has pushed before.

    Raises:
        UserError: as :func:`tdro.hub.upload.check_upload`.
    """
    pushed = _pushed(run)
    for group in recipe.finetune:
        for repo in group.push.values():
            check_upload(repo, pushed=pushed.get(repo, ""))


def push_models(recipe: Recipe, run: Path) -> None:
    """Upload the models that the groups name, and say where they are. Arguments and errors as above."""
    for group in recipe.finetune:
        for mixture, repo in group.push.items():
            model = run / "models" / group.name / model_name(mixture, group.seeds[0])
            check_upload(repo, pushed=_pushed(run).get(repo, ""))
            commit = upload(repo, published_files(model, repo), force=True)
            write_json(run / PUSHED, {**_pushed(run), repo: commit})
            say(f"pushed: {model.name} to {place_of(repo)} (private)", answer=True)


def _pushed(run: Path) -> dict[str, str]:
    try:
        found = read_json(run / PUSHED)
    except UserError:  # nothing was pushed yet
        return {}
    return {str(repo): str(commit) for repo, commit in found.items()} if isinstance(found, dict) else {}
