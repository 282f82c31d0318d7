"""What a run says: progress bars and plain lines on the terminal, everything also in ``run.log``.

Only rank 0 speaks. Libraries are asked to keep their own bars and chatter to themselves: a user should see the run's,
not that a model of 20 tensors was loaded for the tenth time.
"""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from tdro.disk import writing

_SECONDS_BEFORE_BAR = 5
# What turns the order of the text behind it (U+202E and its kind, direction marks), ends a line or controls a terminal,
# writes in characters that nobody sees (tags), or cannot be written at all (halves of a pair); not tab and newline.
_UNSEEN = {
    code: f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    for part in (
        *(range(0x09), range(0x0B, 0x20), range(0x7F, 0xA0), range(0x061C, 0x061D), range(0x200E, 0x2010)),
        *(range(0x2028, 0x202F), range(0x2066, 0x206A), range(0xD800, 0xE000), range(0xE0000, 0xE0080)),
    )
    for code in part
}
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Terminal(logging.Handler):
    """Warnings above the progress bars, not through them; each once, however many models it is said for."""

    def __init__(self) -> None:
        super().__init__(level=logging.WARNING)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        line = visible(f"{record.levelname.lower()}: {record.getMessage()}")
        if line not in self._said:
            self._said.add(line)
            tqdm.write(line)


class _File(logging.FileHandler):
    """A log that says when its disk is full, as all that writes does; Python's prints a traceback a line."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Go on with the error, which names the file."""
        with writing(self.baseFilename):
            raise


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
    """Send tdro's warnings to the terminal and, in a run, all its messages to ``folder/run.log``; from rank 0 only."""
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


def progress_bar(iterable: Any = None, title: str = "", **options: Any) -> tqdm:
    """tqdm's bar for what may take long: there after 5 seconds, and gone when it is done."""
    return tqdm(iterable, title, delay=_SECONDS_BEFORE_BAR, leave=False, **options)


def end_bars() -> None:
    """Leave the line of a bar that an error has stopped, so that what is said of it has a line of its own."""
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()


def visible(text: str) -> str:
    """Other people's text as it may be shown: what would turn or hide the text around it is written as its escape.

    Example::

        visible("a\\u202eb")  # 'a\\\\u202eb': the reader sees the character's name, not its effect
    """
    return text.translate(_UNSEEN)


def show(text: str) -> None:
    """Print what a command has found, such as a table with texts of the user's data."""
    print(visible(text))


def say(message: str, main: bool = True) -> None:
    """Print a line of the run, and log it."""
    message = visible(message)
    if main:
        tqdm.write(message)
    logging.getLogger("tdro").info(message)
