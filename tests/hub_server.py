"""A small server of the Hugging Face hub's protocol on the loopback: what tdro downloads and uploads goes through it.

It speaks what ``huggingface_hub`` and ``datasets`` ask of the hub: the information and tree of a repository, its files
(small ones as they are, large ones by a redirect to another host, with ranges), creating a repository, and commits. It
answers as the hub does where something is missing or not allowed, and does what networks do: 429, 500, a connection
that is cut in the middle of a file. The port is taken when this file is imported, for ``HF_ENDPOINT`` is read when
``huggingface_hub`` is; nobody listens before :meth:`Hub.start`. See docs/decisions.md, hub-server-in-tests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 4096  # bytes from which a file is stored apart, as an LFS object
TOKEN = "hf_testsOfTdro"
USER = "me"


@dataclass
class Repo:
    """A repository: its files at its newest commit, and who may read it."""

    files: dict[str, bytes] = field(default_factory=dict)
    sha: str = "0" * 40
    private: bool = False
    gated: bool = False
    commits: int = 0
    revisions: tuple[str, ...] = ("main",)

    def commit(self, added: Mapping[str, bytes | str], deleted: list[str] | tuple[str, ...] = ()) -> None:
        """Make a commit: files are added or replaced, others deleted."""
        new = {name: data.encode() if isinstance(data, str) else data for name, data in added.items()}
        self.files = {name: data for name, data in self.files.items() if name not in deleted} | new
        self.commits += 1
        self.sha = hashlib.sha1(f"{self.commits}{sorted(self.files)}{self.sha}".encode()).hexdigest()


@dataclass
class Fault:
    """What goes wrong with the next requests whose path contains ``path``: a status, or a cut after ``cut`` bytes."""

    path: str
    times: int = 1
    status: int = 0
    cut: int = -1


class Hub:
    """The hub: its repositories by (``models`` or ``datasets``, id), the requests that came, and what goes wrong."""

    def __init__(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.hub = self  # type: ignore[attr-defined]
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.storage = f"http://localhost:{self.server.server_port}"  # another host: no token may come there
        self.thread: threading.Thread | None = None
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.repos: dict[tuple[str, str], Repo] = {}
        self.renamed: dict[str, str] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    def start(self) -> None:
        """Answer requests from now on, in a thread."""
        if self.thread is None:
            self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
            self.thread.start()

    def add(self, kind: str, name: str, files: Mapping[str, bytes | str], **about: Any) -> Repo:
        """Put a repository there; returns it."""
        repo = self.repos[kind, name] = Repo()
        repo.commit(files)
        for key, value in about.items():
            setattr(repo, key, value)
        return repo

    def asked(self, method: str, part: str = "") -> list[str]:
        """The paths of the requests by a method whose path contains ``part``."""
        return [path for how, path, _ in self.requests if how == method and part in path]


def etag(data: bytes) -> str:
    """A file's id: the SHA-256 of a large one, else git's."""
    if len(data) >= LARGE:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Refused(Exception):
    """A request is answered with an error: status, the hub's code for it, message."""


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer, or say why not, or do what is wrong today."""
        self.hub = self.server.hub  # type: ignore[attr-defined]
        self.url = urlsplit(self.path)
        self.place = unquote(self.url.path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append(
            (self.command, self.place, {key.lower(): value for key, value in self.headers.items()})
        )
        self.cut = -1
        fault = next((one for one in self.hub.faults if one.times and one.path in self.place), None)
        try:
            if fault is not None and (fault.cut < 0 or self.command == "GET"):
                fault.times -= 1
                self.cut = fault.cut
                if fault.status:
                    raise Refused(fault.status, "", "not now")
            self.answer()
        except Refused as error:
            status, code, message = error.args
            named = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
            wait = {"Retry-After": "1"} if status == 429 else {}
            self.send(json.dumps({"error": message}).encode(), status, **named, **wait)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def answer(self) -> None:
        """Find what is asked for."""
        place = self.place
        if match := re.fullmatch(r"/(datasets/)?([^/]+(?:/[^/]+)?)/resolve/([^/]+)/(.+)", self.url.path):
            self.file("datasets" if match[1] else "models", *(unquote(part) for part in match.groups()[1:]))
        elif place.startswith("/storage/"):
            self.stored(place.rpartition("/")[2])
        elif place == "/api/whoami-v2":
            if not self.signed_in():
                raise Refused(401, "", "Invalid username or password.")
            self.json({"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": {"role": "write"}}})
        elif place == "/api/validate-yaml":
            self.json({"errors": [], "warnings": []})
        elif place == "/api/repos/create":
            self.create(json.loads(self.body))
        elif match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", place):
            self.lfs_batch(json.loads(self.body))
        elif match := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/([a-z-]+)(?:/([^/]+)(/.*)?)?)?", place):
            self.api(*(part or "" for part in match.groups()))
        else:
            raise Refused(404, "", f"no {self.command} {place}")

    def signed_in(self) -> bool:
        """Whether the request has the token. Raises for a wrong one."""
        given = self.headers.get("Authorization")
        if given and given != f"Bearer {TOKEN}":
            raise Refused(401, "", "Invalid credentials in Authorization header")
        return bool(given)

    def repo(self, kind: str, name: str, revision: str = "main") -> Repo:
        """A repository that the request may read."""
        repo = self.hub.repos.get((kind, name))
        if repo is None or (repo.private and not self.signed_in()):
            if self.signed_in():
                raise Refused(404, "RepoNotFound", "Repository not found")
            raise Refused(401, "RepoNotFound", "Invalid username or password.")
        if revision not in (*repo.revisions, repo.sha):
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo

    def file(self, kind: str, name: str, revision: str, path: str) -> None:
        """A file of a repository; a large one is at the storage."""
        if name in self.hub.renamed:
            self.send(b"", 307, Location=self.path.replace(name, self.hub.renamed[name], 1))
            return
        repo = self.repo(kind, name, revision)
        if repo.gated:
            raise Refused(403 if self.signed_in() else 401, "GatedRepo", f"Access to {kind} {name} is restricted.")
        if path not in repo.files:
            self.send(b"", 404, **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.sha})
            return
        data, key = repo.files[path], etag(repo.files[path])
        if len(data) < LARGE:
            self.send(data, 200, **{"ETag": f'"{key}"', "X-Repo-Commit": repo.sha})
            return
        self.hub.objects[key] = data
        linked = {"X-Linked-Etag": f'"{key}"', "X-Linked-Size": str(len(data)), "X-Repo-Commit": repo.sha}
        self.send(b"", 302, Location=f"{self.hub.storage}/storage/{path}/{key}", **linked)

    def stored(self, key: str) -> None:
        """A large file: read or, by PUT, written."""
        if self.headers.get("Authorization"):
            raise Refused(400, "", "a token came to the storage")
        if self.command == "PUT":
            assert hashlib.sha256(self.body).hexdigest() == key
            self.hub.objects[key] = self.body
            self.send(b"", 200)
            return
        self.send(self.hub.objects[key], 200, ETag=f'"{key}"')

    def api(self, kind: str, name: str, what: str, revision: str, below: str) -> None:
        """What is said about a repository, or asked of it."""
        if name in self.hub.renamed:
            self.send(b"", 307, Location=self.path.replace(name, self.hub.renamed[name], 1))
            return
        repo = self.repo(kind, name, revision if what in ("tree", "revision", "paths-info") and revision else "main")
        if what in ("", "revision"):
            listed = [{"rfilename": path} for path in sorted(repo.files)]
            about = {
                "private": repo.private,
                "gated": "manual" if repo.gated else False,
                "tags": [],
                "siblings": listed,
            }
            self.json({"id": name, "modelId": name, "sha": repo.sha, "downloads": 0, "likes": 0, **about})
        elif what == "tree":
            self.json(self.tree(repo, below.strip("/")))
        elif what == "paths-info":
            sent = self.body.decode()
            asked = json.loads(sent)["paths"] if sent.startswith("{") else parse_qs(sent)["paths"]
            self.json([entry for entry in self.tree(repo, "", deep=True) if entry["path"] in asked])
        elif what == "refs":
            self.json({"branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": repo.sha}], "tags": []})
        elif what == "preupload":
            files = [(file["path"], file["size"]) for file in json.loads(self.body)["files"]]
            modes = [("lfs" if size >= LARGE else "regular", path) for path, size in files]
            self.json({"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for mode, path in modes]})
        elif what == "commit":
            self.commit(name, repo)
        else:
            raise Refused(404, "", f"no {self.command} {self.place}")

    def tree(self, repo: Repo, folder: str, deep: bool | None = None) -> list[dict[str, Any]]:
        """The files and folders in a folder, and below it where it is asked for."""
        deep = (
            parse_qs(self.url.query).get("recursive", ["false"])[0].lower() in ("true", "1") if deep is None else deep
        )
        before, found = f"{folder}/" if folder else "", {}
        for path, data in sorted(repo.files.items()):
            if path.startswith(before):
                parts = path.removeprefix(before).split("/")
                for depth in range(1, len(parts) if deep else min(len(parts), 2)):
                    inner = before + "/".join(parts[:depth])
                    found[inner] = {"type": "directory", "path": inner, "oid": "0" * 40, "size": 0}
                if deep or len(parts) == 1:
                    found[path] = {"type": "file", "path": path, "oid": etag(data), "size": len(data)}
                    if len(data) >= LARGE:
                        found[path] |= {"lfs": {"oid": etag(data), "size": len(data), "pointerSize": 130}}
        if folder and not found:
            raise Refused(404, "EntryNotFound", f"{folder} does not exist")
        return list(found.values())

    def create(self, asked: Mapping[str, Any]) -> None:
        """A new repository, with the file that the hub puts into it."""
        if not self.signed_in():
            raise Refused(401, "", "Invalid username or password.")
        name = f"{asked.get('organization') or USER}/{asked['name']}"
        if not name.startswith(f"{USER}/"):
            raise Refused(403, "", "You don't have the rights to create a model under this namespace")
        if ("models", name) in self.hub.repos:
            raise Refused(409, "", "You already created this model repo")
        private = asked.get("private", asked.get("visibility") == "private")
        self.hub.add("models", name, {".gitattributes": "*.safetensors filter=lfs\n"}, private=bool(private))
        self.json({"url": f"{self.hub.endpoint}/{name}", "name": name, "id": "1"})

    def lfs_batch(self, asked: Mapping[str, Any]) -> None:
        """Where large files are to be written; nothing for those that are there."""
        objects = []
        for wanted in asked["objects"]:
            key = wanted["oid"]
            upload = {"upload": {"href": f"{self.hub.storage}/storage/x/{key}", "header": {}}}
            objects.append({**wanted, **({} if key in self.hub.objects else {"actions": upload})})
        self.json({"transfer": "basic", "objects": objects})

    def commit(self, name: str, repo: Repo) -> None:
        """A commit, sent as lines of JSON."""
        if not self.signed_in():
            raise Refused(401, "", "Invalid username or password.")
        added, deleted = {}, []
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                added[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                added[value["path"]] = self.hub.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                deleted.append(value["path"])
        repo.commit(added, deleted)
        self.json(
            {"commitUrl": f"{self.hub.endpoint}/{name}/commit/{repo.sha}", "commitOid": repo.sha, "success": True}
        )

    def json(self, value: Any) -> None:
        """Send a value as JSON."""
        self.send(json.dumps(value).encode(), 200, **{"Content-Type": "application/json"})

    def send(self, data: bytes, status: int, **headers: str) -> None:
        """Send a body, or the part of it that is asked for, or only a piece of that where it is to be cut."""
        total = len(data)
        if status == 200 and (match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")):
            first, last = int(match[1]), int(match[2] or total - 1)
            data, status = data[first : last + 1], 206
            headers["Content-Range"] = f"bytes {first}-{min(last, total - 1)}/{total}"
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data)), "Accept-Ranges": "bytes"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.cut >= 0 and status < 300:
            self.wfile.write(data[: self.cut])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return
        self.wfile.write(data)


HUB = Hub()
