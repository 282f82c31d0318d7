"""Two tasks from the AWS command line (``awscli``, Apache-2.0): a wish finds a command, an operation its documentation.

The package's examples are reStructuredText: a heading, a sentence, then an indented command. Its service models are
JSON; only the newest version of each service is read. In both tasks the group of a pair is its service.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from zipfile import ZipFile

from tdro.quickstart.pairs import Pair, without_tags

EXAMPLES = "awscli/examples/"
MODELS = "awscli/botocore/data/"

_BOLD = re.compile(r"^\*\*(?:Example \d+\s*[:.]?\s*)?(.+?)\*\*\s*$")
_UNDERLINE = re.compile(r"^([=\-~^\"'])\1{3,}\s*$")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+|\d+")


def cli_examples(archive: ZipFile) -> Iterator[Pair]:
    """The query is a wish with the service in brackets, the positive the command line that does it.

    Example: "To list your buckets (s3)" and "aws s3 ls".
    """
    for name in sorted(archive.namelist()):
        if name.startswith(EXAMPLES) and name.endswith(".rst") and name.count("/") >= 3:
            service = name.split("/")[2]
            text = archive.read(name).decode("utf-8", "replace")
            for title, command in _examples(text.splitlines()):
                yield Pair(f"aws {service}", f"{title} ({service})", (command,))


def _examples(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Each heading of a file, with the first command below it. A command that goes on with ``\\`` is joined."""
    title = ""
    at = 0
    while at < len(lines):
        line = lines[at]
        if bold := _BOLD.match(line):
            title = bold[1]
        elif at + 1 < len(lines) and line.strip() and _UNDERLINE.match(lines[at + 1]):
            title = line.strip()
        elif title and line[:1].isspace() and line.lstrip().startswith("aws "):
            command = [line.strip()]
            while command[-1].endswith("\\") and at + 1 < len(lines):
                at += 1
                command[-1] = command[-1].rstrip("\\ ")
                command.append(lines[at].strip())
            yield title.rstrip(" :."), " ".join(command)
            title = ""
        at += 1


def api_operations(archive: ZipFile) -> Iterator[Pair]:
    """The query is an operation's name in words, with the service in brackets; the positive is its documentation.

    Example: the operation ``ListBuckets`` of S3 gives the query "List Buckets (S3)".
    """
    newest: dict[str, str] = {}
    for name in sorted(archive.namelist()):  # <service>/<date>/service-2.json; the newest date comes last
        if name.startswith(MODELS) and name.endswith("/service-2.json"):
            newest[name[len(MODELS) :].split("/")[0]] = name
    for service, name in newest.items():
        model = json.loads(archive.read(name))
        known_as = model["metadata"].get("serviceId", service)
        for operation, details in model["operations"].items():
            text = html.unescape(without_tags(details.get("documentation", "")))
            yield Pair(f"aws {service}", f"{' '.join(_WORDS.findall(operation))} ({known_as})", (text,))
