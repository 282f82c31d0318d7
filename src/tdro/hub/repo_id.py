"""What may be the id of a repository on the hub that something is pushed to."""

from __future__ import annotations

import re


def wrong_repo_id(text: str) -> str:
    """What is wrong with an id, in a few words; empty if it can be one.

    Example::

        wrong_repo_id("me/model")  # ""
        wrong_repo_id("model")     # "no owner; write owner/name"
    """
    owner, slash, name = text.partition("/")
    if not slash:
        return "no owner; write owner/name"
    for part in (owner, name):
        if not re.fullmatch(r"[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?", part, re.ASCII):
            return f"{part!r} is not made of letters, digits, '_', and '.' or '-' within; write owner/name"
    if ".." in text or "--" in text:
        return "the hub has no '..' and no '--' in ids"
    if name.endswith(".git") or len(text) > 96:
        return "the hub has no ids of over 96 characters or ending in .git"
    return ""
