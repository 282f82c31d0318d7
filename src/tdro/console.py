"""What a command prints: lines and progress bars on the terminal, and in a run all lines in ``run.log`` too.

Only the first rank prints. The libraries' own bars and messages are turned off: a user should see how the run goes, not
that a model of 20 tensors was loaded for the tenth time.
"""

from __future__ import annotations

import io
import logging
import math
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tdro.disk import writing

_SECONDS_BEFORE_BAR = 5
_LINES: dict[str, Any] = {"shown": True, "file": None}  # where the lines go that are not a command's answer
SAID = "tdro"  # the name of the logger of lines that :func:`say` prints; those of single files have longer names
_SAID = set[str]()  # since :func:`log_to`, so by this run
# Characters that hide others: they turn the direction of the text behind them (U+202E and its kind), end a line or
# control a terminal, are invisible letters (tags), or cannot be written at all (halves of a surrogate pair). Tab and
# newline are not among them.
_INVISIBLE = {
    code: f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    for part in (
        *(range(0x09), range(0x0B, 0x20), range(0x7F, 0xA0), range(0x061C, 0x061D), range(0x200E, 0x2010)),
        *(range(0x2028, 0x202F), range(0x2066, 0x206A), range(0xD800, 0xE000), range(0xE0000, 0xE0080)),
    )
    for code in part
}
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Terminal(logging.Handler):
    """Prints warnings above the progress bars, and each text once, even if it comes for every model."""

    def __init__(self) -> None:
        super().__init__(level=logging.WARNING)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        line = visible(f"{record.levelname.lower()}: {record.getMessage()}")
        if line not in self._said:
            self._said.add(line)
            _print_line(line)


class _File(logging.FileHandler):
    """A log file that raises a :class:`tdro.disk.DiskError` if the disk is full, where Python's prints tracebacks."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Raise the error, with the name of the file."""
        with writing(self.baseFilename):
            raise


def lines_go(shown: bool, to_errors: bool = False) -> None:
    """Say where the lines go that are not a command's answer: warnings, stages that are done, progress bars.

    Args:
        shown: False prints none of them: ``--quiet``.
        to_errors: print them to the error stream, because the output is for the answer alone: ``--json``.
    """
    _LINES.update(shown=shown, file=sys.stderr if to_errors else None)


def _print_line(text: str) -> None:
    if _LINES["shown"]:
        tqdm.write(text, file=_LINES["file"])


def quiet_libraries() -> None:
    """Turn off the libraries' own progress bars and informational messages."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning)


def log_to(folder: Path | None, main: bool) -> None:
    """Send tdro's warnings to the terminal, and all its messages to ``folder/run.log``.

    Args:
        folder: of the run; None outside a run.
        main: whether this is the first rank; the others are silent.
    """
    _SAID.clear()
    logger = logging.getLogger("tdro")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    if not main:
        logger.addHandler(logging.NullHandler())
        return
    logger.addHandler(_Terminal())
    if folder is not None:
        file = _File(folder / "run.log", encoding="utf-8")
        file.setFormatter(logging.Formatter(_FORMAT))
        logger.addHandler(file)


class _OneLine(io.TextIOBase):
    """Where tqdm draws if there is no terminal: of all that it draws, one line is printed, after some seconds.

    A bar that is drawn again and again, with a carriage return before each time, would fill a log.
    """

    def __init__(self, seconds: float) -> None:
        self._due = time.monotonic() + seconds

    def write(self, text: str) -> int:
        """Print this text as a line, if it is not blank, the time has come and nothing has been printed yet."""
        line = text.strip()
        if line and time.monotonic() >= self._due:
            self._due = math.inf
            print(line, file=sys.stderr, flush=True)
        return len(text)


def progress_bar(iterable: Any = None, title: str = "", **options: Any) -> tqdm:
    """tqdm's progress bar for what may take long: it appears after 5 seconds and is gone when all is done.

    Where the error stream is no terminal (a log file, CI), one line is printed instead, after 5 seconds, with the time
    that is left::

        learning the weights: 40 of 400 steps after 00:05, 00:45 left
    """
    options = {"delay": _SECONDS_BEFORE_BAR, "leave": False, "disable": not _LINES["shown"]} | options
    if not sys.stderr.isatty():
        line = "{desc}: {n_fmt} of {total_fmt}{unit} after {elapsed}, {remaining} left"
        options |= {"file": _OneLine(options["delay"]), "bar_format": line, "leave": False}
    return tqdm(iterable, title, **options)


def end_bars() -> None:
    """Close the progress bars that an error has stopped, so that its message has a line of its own."""
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()


def visible(text: str) -> str:
    """Other people's text as it may be printed: characters that would hide or turn the text around them are escaped.

    Example::

        visible("a\\u202eb")  # 'a\\\\u202eb': the reader sees the character's name, not its effect
    """
    return text.translate(_INVISIBLE)


def show(text: str) -> None:
    """Print what a command found, such as a table with texts from the user's data."""
    print(visible(text))


def say(message: str, main: bool = True, answer: bool = False) -> None:
    """Print a line about the run (on the first rank, ``main``), and log it.

    Args:
        message: the line.
        main: whether this is the first rank.
        answer: whether it is what the command was called for, which ``--quiet`` prints too.
    """
    message = visible(message)
    _SAID.add(message)
    if main and answer:
        tqdm.write(message)
    elif main:
        _print_line(message)
    logging.getLogger(SAID).info(message)


def say_once(message: str) -> None:
    """Print and log a line that another process has said, unless this run has said the same before.

    All processes that share a run read its data, so what is to be said of these comes from each.
    """
    if visible(message) not in _SAID:
        say(message)
