"""The exception for whatever the user can mend.

Whatever is wrong with a recipe, a file, a model or a run folder is raised as :class:`UserError`, with one or two lines
that name the file, line, task or key and say what to do. The command line prints them and exits with status 2. Any
other exception is a bug of tdro and keeps its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can mend; the message says where and how."""


def first_line(error: BaseException) -> str:
    """The first line of another library's message, at most 200 characters, to be quoted in a message of ours."""
    return str(error).strip().partition("\n")[0][:200]
