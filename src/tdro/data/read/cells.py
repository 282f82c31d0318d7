"""Read one cell: a text, a list of passages, an object with a title and a text, a chat message, or nothing.

One and the same passage comes in many forms: as a text, as ``{"title": "Cats", "text": "They purr."}`` with a dozen
names for ``text``, as the answer in a chat, or in a list of such things. Tools write an empty cell as a word (``nan``,
``NULL``, ``#N/A``), and pandas writes a list into a CSV file as the text ``"['a', 'b']"``. Each is read as what it
means. What cannot be a passage is left out, and a note says so. Texts are never evaluated as code. See
docs/decisions.md, cells-without-eval.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from tdro.data.read.column_names import listed, plain_name, shown_key
from tdro.data.read.titled import titled

Note = Callable[[str, str], None]  # called with a kind of problem and its place ("null", "positive")

# How pandas, SQL, R, JavaScript and spreadsheets write an empty cell; case makes no difference.
NOTHING = {
    *("[]", "nan", "-nan", "none", "null", "(null)", "nil", "undefined", "na", "n/a", "<na>", "nat", "\\n"),
    *("#n/a", "#na", "#n/a n/a", "#null!", "#value!", "#ref!", "#name?", "#div/0!", "#num!"),
}
_LEFT_OUT = object()  # stands for a passage that cannot be read; a note says why
LONGEST_NOTHING = max(map(len, NOTHING))
_WITH_SPACES = 20  # a longer cell is not looked at for such a word with spaces around it
_LONGEST_LIST = 1 << 20  # characters; a longer cell is not parsed as a list
_TEXTS = {  # the keys under which a passage's text may be, in lower case without punctuation
    *("text", "segment", "content", "contents", "body", "passage", "passagetext", "document", "documenttext", "doc"),
    *("para", "paragraph", "paragraphtext", "pagecontent", "chunk", "chunktext", "snippet", "context", "sentence"),
}
_JUDGED = {"label", "relevance", "relevant", "isrelevant", "selected", "isselected", "ispositive", "iscorrect"}
_STRING = r"""(?:[rub]?'(?:[^'\\]|\\.)*'|[rub]?"(?:[^"\\]|\\.)*")"""
_ITEM = rf"(?:{_STRING}|None|nan|null|NaN|<NA>)"
_BEGINNING = re.compile(r"""\s*(?:(?:array\()?[\[(]\s*(?:['"{]|None\b|nan\b)|\{\s*')""")
_FLAT = {  # a list of texts, with commas as Python writes it, or with spaces as NumPy does
    between: re.compile(rf"[\[(]\s*(?:{_ITEM}(?:{between}{_ITEM})*\s*,?)?\s*[\])]", re.DOTALL)
    for between in (r"\s*,\s*", r"\s+")
}


def is_nothing(text: str) -> bool:
    """Whether a text (without spaces around it) is a word for an empty cell, such as ``nan``."""
    return len(text) <= LONGEST_NOTHING and text.casefold() in NOTHING


def is_missing(value: object) -> bool:
    """Whether a cell is empty: null, NaN, a blank text, or a word such as ``nan``."""
    if isinstance(value, str):
        return not value.strip() or is_nothing(value.strip())
    return value is None or value != value


def _is_word(value: object) -> bool:
    """Whether a cell is a word for an empty cell, perhaps with spaces around it."""
    return isinstance(value, str) and len(value) < _WITH_SPACES and is_nothing(value.strip())


def passages_in(value: object, place: str, note: Note, wanted: bool | None = None) -> list[Any]:
    """The passages in one cell, each as one text. What is not a text (a number) is returned as it is.

    Args:
        value: the cell: a passage or a list of them; null holds none.
        place: of the cell, for notes: ``positive``.
        note: is told what was left out.
        wanted: passages may say of themselves whether they are relevant (``{"text": …, "label": 0}``). Those that say
            the opposite of ``wanted`` are left out. None keeps all.
    """
    if value is None:
        return []
    items = value if isinstance(value, (list, tuple)) and not _is_chat(value) else [value]
    found: list[Any] = []
    for item in items:
        if isinstance(item, dict):
            found.append(_titled(item, place, note, wanted))
        elif isinstance(item, (list, tuple)) and _is_chat(item):
            found.append(answer_in(item, place, note))
        else:
            found.append(item)
    return [text for text in found if text is not _LEFT_OUT]


@lru_cache(maxsize=256)
def _keys_of(keys: tuple[str, ...]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Which of a passage's keys is its title, which may be its text (``text`` first), and which judge it."""
    title = "title" if "title" in keys else next((key for key in keys if plain_name(key) == "title"), "title")
    texts = sorted((key for key in keys if plain_name(key) in _TEXTS), key=lambda key: key != "text")
    return title, tuple(texts), tuple(key for key in keys if plain_name(key) in _JUDGED)


def text_of(passage: Mapping[str, Any]) -> Any:
    """The text of a passage object: the value under ``text`` or, if there is none, under another name for it.

    For example, ``{"contents": "They purr."}`` has the text ``They purr.``. None if there is no such name, or if two of
    them have a value, because then nobody knows which is meant.
    """
    if (text := passage.get("text")) is not None:
        return text
    found = [key for key in _keys_of(tuple(passage))[1] if passage[key] is not None]
    return passage[found[0]] if len(found) == 1 else None


def _titled(passage: Mapping[str, Any], place: str, note: Note, wanted: bool | None) -> object:
    """A passage object as one text, ``"title text"``; :data:`_LEFT_OUT`, with a note, if it is none."""
    title_key, text_keys, judged_by = _keys_of(tuple(passage))
    for key in judged_by if wanted is not None else ():
        if yes_or_no(passage[key]) not in (None, wanted):
            note("judged", f"{place} ({shown_key(key)} is {shown_key(passage[key])})")
            return _LEFT_OUT
    title, text = passage.get(title_key), text_of(passage)
    if text is None:
        found = [key for key in text_keys if passage[key] is not None]
        if found or not text_keys:
            what = f"the text may be {' or '.join(map(shown_key, found))}" if found else "no key text"
            note("no-text", f"{place} ({what}; found {listed(list(passage), 6)})")
            return _LEFT_OUT
    if isinstance(text, str) and not text.strip() and passage.get("text") is None:
        return text  # a title alone is a passage only if "text" itself is there and empty, as in BEIR's corpora
    if title is None or title == "" or text is None or _is_word(text):
        return text
    if not isinstance(title, str):
        note("wrong-type", f"{place}'s title")
        return text
    if _is_word(title):
        note("null-word", f"{place}'s title")
        return text
    return titled(title, text) if isinstance(text, str) else text or title


def yes_or_no(value: object) -> bool | None:
    """What a judgement says: True for ``true``, ``1``, ``"1"``, ``"yes"``; False for the opposite; None for others."""
    if isinstance(value, str):
        text = value.strip().casefold()
        return {**dict.fromkeys(_YES, True), **dict.fromkeys(_NO, False)}.get(text)
    return bool(value) if isinstance(value, (bool, int, float)) and value in (0, 1) else None


_YES = ("1", "1.0", "true", "yes", "y", "t")
_NO = ("0", "0.0", "false", "no", "n", "f")


def _is_chat(value: Sequence[Any]) -> bool:
    """Whether a list is a chat: all of its items are messages, which are objects with ``role`` and ``content``."""
    return bool(value) and all(isinstance(item, dict) and {"role", "content"} <= item.keys() for item in value)


def question_in(value: object, note: Note) -> object:
    """The query in a cell. Usually the cell is the query; if it is a chat, the query is what the user says in it."""
    if isinstance(value, (list, tuple)) and _is_chat(value):
        return _said([message for message in value if message["role"] != "assistant"], "the query", note)
    return value


def answer_in(messages: Sequence[Mapping[str, Any]], place: str, note: Note) -> object:
    """The passage in a chat: what the assistant says in it or, if it says nothing, the only message."""
    answers = [message for message in messages if message["role"] == "assistant"]
    return _said(answers or messages, place, note)


def _said(messages: Sequence[Mapping[str, Any]], place: str, note: Note) -> object:
    """The content of the only message that is not a system message; with a note if there are several."""
    said = [message["content"] for message in messages if message["role"] != "system"]
    if len(said) < len(messages):
        note("system-message", place)
    if len(said) != 1:
        note("several-messages", place)
        return _LEFT_OUT if place != "the query" else None
    content = said[0]
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        content = content[0].get("text")
    return content


class ListColumns(NamedTuple):
    """Which cells hold lists that were written as text, such as ``"['a', 'b']"``.

    Attributes:
        columns: the columns in which every cell is such a list.
        table: whether the file is a table (CSV or TSV). There is no other way to write a list into a table, so any cell
            with passages may be one.
    """

    columns: frozenset[str] = frozenset()
    table: bool = False


NO_LISTS = ListColumns()


def unpacked(text: str, always: bool, place: str, note: Note) -> object:
    """The list or object that was written as a cell's text; the text itself if it is just a text.

    Args:
        text: the cell.
        always: whether all cells of the column are lists. Then a cell that begins as a list and cannot be parsed (a
            spreadsheet has cut it) is left out with a note. Else such a cell is a text that begins with a bracket.
        place: of the cell, for the note.
        note: is told what was left out.
    """
    found = list_in(text)
    if always:
        if found is None and looks_like_list(text):
            note("list-text", place)
            return None
        return text if found is None else found
    items = found if isinstance(found, (list, tuple)) else [found]
    readable = all(item is None or isinstance(item, (str, dict)) for item in items)
    return found if found is not None and readable and all(map(_has_text, items)) else text


def looks_like_list(text: str) -> bool:
    """Whether a text begins as Python or JSON writes a list of texts or an object: ``['``, ``[{``, ``{'``."""
    return _BEGINNING.match(text) is not None


def is_passage_list(text: str) -> bool:
    """Whether a cell's text is a list that was written as text, or an object that holds a passage's text."""
    found = list_in(text)
    return isinstance(found, (list, tuple)) or (found is not None and _has_text(found))


def _has_text(item: object) -> bool:
    """Whether an item of a list can be a passage: anything but an object in which no key is a name for a text."""
    return not isinstance(item, dict) or not _TEXTS.isdisjoint(map(plain_name, item))


def list_in(text: str) -> Any:
    """The list or object that was written as a text by JSON, Python or NumPy; None if the text is something else.

    For example, ``list_in("['a', 'b']")`` is ``["a", "b"]``. NumPy writes such a list without commas, ``['a' 'b']``,
    which Python would read as the one text ``ab``. So flat lists are read by a regular expression.
    """
    text = text.strip()
    if text.startswith("array(") and text.endswith(")"):
        text = re.sub(r",\s*dtype=[^,\[\]]*$", "", text[len("array(") : -1])
    if text[:1] not in ("[", "(", "{") or len(text) > _LONGEST_LIST:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _of_python(text)
    return found if isinstance(found, (list, tuple, dict)) else None


def _of_python(text: str) -> Any:
    """The value of a list or object that is not JSON, as Python or NumPy write it; None if it is none of theirs."""
    if any(flat.fullmatch(text) for flat in _FLAT.values()):
        items = [_literal(item) if item[-1] in "'\"" else None for item in re.findall(_ITEM, text, re.DOTALL)]
        quoted = text[0] == "(" and len(items) == 1 and not re.search(r",\s*\)$", text)  # ('so') is a quotation
        return None if quoted else items
    nested = "{" in text or "[" in text[1:]
    return _literal(text) if nested and not _joins_texts(text) else None


def _joins_texts(text: str) -> bool:
    """Whether two texts stand side by side without a comma, which Python would join to one."""
    try:
        tokens = [token.type for token in tokenize.generate_tokens(io.StringIO(text).readline)]
    except (tokenize.TokenError, SyntaxError):
        return True
    tokens = [token for token in tokens if token != tokenize.NL]
    return any(pair == (tokenize.STRING, tokenize.STRING) for pair in pairwise(tokens))


def _literal(text: str) -> Any:
    """The value of a Python literal; None if the text is none. Nothing is run."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
