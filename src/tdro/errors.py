"""The one exception that is the user's to mend.

Whatever is wrong with a recipe, a file, a model or a run folder is raised as :class:`UserError` with one or
two lines that name the file, line, task or key and say what to do. The command line prints the message and
exits with status 2; any other exception is a bug of ours and keeps its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can mend. The message is one or two lines and names the place."""


def first_line(error: BaseException) -> str:
    """The first line of another library's message, at most 200 characters, to be quoted in a message of ours."""
    return str(error).strip().partition("\n")[0][:200]
