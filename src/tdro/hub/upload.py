"""Upload a model to a repository of the hub: first see that it may be done, then do it, as one folder.

A repository of other content is not overwritten unless that is asked for, and what is private does not become public
by being pushed to a public repository. See docs/decisions.md, push-as-a-folder.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tdro.errors import UserError
from tdro.hub.faults import ask_patiently, hub_fault
from tdro.hub.repo_id import wrong_repo_id

Files = Mapping[str, Path | bytes]  # of a repository: the name of each to its content or where that is
_KEPT = {".gitattributes"}  # the hub's own file


def check_upload(repo: str, pushed: str = "") -> None:
    """Refuse an upload that cannot be done, before the model is there.

    Args:
        repo: the repository's id.
        pushed: the commit that was pushed before and may be replaced; empty: none.

    Raises:
        UserError: a wrong id, no token or one that may not write, an owner that is not the user, a repository that is
            public, or one with other content.
    """
    sha, names = _look_at(repo, public=False)
    if names and sha != pushed:
        raise UserError(
            f"{repo}: has content on the hub that was not pushed from here ({_some(names)}).\n"
            "Take another name, or replace it by tdro push MODEL OWNER/NAME --force when the model is there."
        )


def upload(repo: str, files: Files, *, public: bool = False, force: bool = False) -> str:
    """Upload files as the content of a repository, which is made if it is new; returns its newest commit.

    Nothing is uploaded where all of them are there already. With ``force``, files that are there and not among
    these are deleted; the repository's history keeps them.

    Args:
        repo: the repository's id.
        files: all files of the repository.
        public: make it public; a new repository is private otherwise.
        force: replace other content.

    Raises:
        UserError: as :func:`check_upload`, or the connection fails.
    """
    from huggingface_hub import HfApi

    sha, names = _look_at(repo, public)
    api = HfApi()
    try:
        there = _known_files(api, repo) if names else {}
        others = sorted(name for name, known in there.items() if name not in files or known != _id(files[name], known))
        if others and not force:
            raise UserError(
                f"{repo}: has other content on the hub ({_some(others)}).\n"
                "Replace it with --force, or take another name."
            )
        if there and not others and len(there) == len(files):
            return sha
        if not sha:
            api.create_repo(repo, private=not public)
        with tempfile.TemporaryDirectory(prefix="tdro-push-") as made:
            _lay_out(files, Path(made))
            api.upload_folder(
                repo_id=repo, folder_path=made, commit_message="Upload model", delete_patterns="*" if others else None
            )
        return str(ask_patiently(lambda: api.model_info(repo), repo).sha)
    except UserError:
        raise
    except Exception as error:  # the client's own, httpx's, hf_xet's RuntimeError, OSError, ValueError
        line = hub_fault(error, repo) or f"{repo}: the upload failed ({type(error).__name__}: {_one_line(error)})"
        raise UserError(f"{line}.\nThe model is kept here; push it again.") from error


def place_of(repo: str) -> str:
    """The address of a repository's page."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{repo}"


def _look_at(repo: str, public: bool) -> tuple[str, list[str]]:
    """A repository's newest commit and the names of its files, both empty for a new one. Raises as check_upload."""
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    if problem := wrong_repo_id(repo):
        raise UserError(f"{repo}: {problem}")
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{repo}: HF_HUB_OFFLINE forbids asking the hub; unset it")
    if get_token() is None:
        raise UserError(f"{repo}: no token for the hub; log in with `hf auth login`, or set HF_TOKEN")
    api = HfApi()
    try:
        user = ask_patiently(api.whoami, repo)
        token = (user.get("auth") or {}).get("accessToken") or {}
        if token.get("role") == "read":
            raise UserError(f"{repo}: your token may read only; log in with one that may write (`hf auth login`)")
        try:
            info = ask_patiently(lambda: api.model_info(repo), repo)
        except RepositoryNotFoundError:
            _check_owner(repo, user)
            return "", []
    except UserError:
        raise
    except Exception as error:  # as in upload
        if "Invalid user token" in str(error):
            raise UserError(
                f"{repo}: the hub does not know your token; log in again (`hf auth login`, or HF_TOKEN)"
            ) from error
        raise UserError(hub_fault(error, repo) or f"{repo}: the hub cannot be asked ({_one_line(error)})") from error
    if not info.private and not public:
        raise UserError(f"{repo}: is public on the hub; publish there with tdro push --public, or take another name")
    if info.private and public:
        raise UserError(
            f"{repo}: is private on the hub; make it public in its settings there, or push without --public"
        )
    return str(info.sha), [file.rfilename for file in info.siblings or () if file.rfilename not in _KEPT]


def _check_owner(repo: str, user: Mapping[str, object]) -> None:
    orgs = user.get("orgs")
    names = [str(user.get("name")), *(str(org["name"]) for org in (orgs if isinstance(orgs, list) else []))]
    owner = repo.partition("/")[0]
    if owner.lower() not in [name.lower() for name in names]:
        raise UserError(f"{repo}: {owner} is not you; you can push to {', '.join(f'{name}/…' for name in names)}")


def _known_files(api: object, repo: str) -> dict[str, str]:
    """The files of a repository and their ids: the SHA-256 of large ones, git's id of the others."""
    from huggingface_hub import HfApi, RepoFile

    assert isinstance(api, HfApi)
    tree = ask_patiently(lambda: list(api.list_repo_tree(repo, recursive=True)), repo)
    files = [entry for entry in tree if isinstance(entry, RepoFile) and entry.path not in _KEPT]
    return {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in files}


def _id(content: Path | bytes, known: str) -> str:
    """The id of a content, of the kind that ``known`` is of."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    digest = hashlib.sha256() if len(known) == 64 else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    if isinstance(content, bytes):
        digest.update(content)
    else:
        with content.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _lay_out(files: Files, folder: Path) -> None:
    """Make a folder of the files: links to those that are on disk, or copies where there are no links."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
            continue
        try:
            path.symlink_to(content.resolve())
        except OSError:
            shutil.copyfile(content, path)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
