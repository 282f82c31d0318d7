"""Small talk: ``chitchat-dataset`` (MIT, noisy) and ``chatterbot-corpus`` (BSD, many answers a question)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from zipfile import ZipFile

import yaml

from tdro.quickstart.pairs import Pair

# The C loader is ten times faster; both build plain values only.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def chitchat(archive: ZipFile) -> Iterator[Pair]:
    """An utterance → the reply. A turn is all that one says in a row; the group is the conversation."""
    conversations = json.loads(archive.read("chitchat_dataset/dataset.json"))
    for identity, conversation in conversations.items():
        turns = [" ".join(message["text"] for message in turn) for turn in conversation["messages"]]
        for said, reply in pairwise(turns):
            yield Pair(f"chat {identity}", said, (reply,))


def chatterbot(archive: ZipFile) -> Iterator[Pair]:
    """A question → its answer, in 28 languages. The group is the file; one that is not YAML is skipped."""
    for name in sorted(archive.namelist()):
        if not (name.startswith("chatterbot_corpus/data/") and name.endswith(".yml")):
            continue
        try:
            content = yaml.load(archive.read(name).decode("utf-8"), Loader=_Loader)
        except yaml.YAMLError:
            continue
        for conversation in (content or {}).get("conversations") or []:
            if isinstance(conversation, list) and len(conversation) > 1:
                question, answer = conversation[:2]
                if isinstance(question, str) and isinstance(answer, str):
                    yield Pair(name, question, (answer,))
