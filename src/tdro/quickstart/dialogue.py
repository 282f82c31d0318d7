"""Two tasks of small talk: ``chitchat-dataset`` (MIT; noisy) and ``chatterbot-corpus`` (BSD; many answers each)."""

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
    """The query is what one speaker says, the positive what the other replies. The group is the conversation.

    All messages that one speaker sends in a row count as one utterance.
    """
    conversations = json.loads(archive.read("chitchat_dataset/dataset.json"))
    for identity, conversation in conversations.items():
        turns = [" ".join(message["text"] for message in turn) for turn in conversation["messages"]]
        for said, reply in pairwise(turns):
            yield Pair(f"chat {identity}", said, (reply,))


def chatterbot(archive: ZipFile) -> Iterator[Pair]:
    """The query is a question, the positive its answer, in 28 languages. The group is the file.

    A file that is not valid YAML is skipped.
    """
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
