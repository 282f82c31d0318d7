"""Writes every problem that a check finds, with the row that has it, as a line of JSON.

There may be millions, so they are written while the check runs: to a temporary file that gets its name in the end.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from tdro.data.quality.check import Sink
from tdro.data.read.problem import Problem
from tdro.disk import check_writable, writing
from tdro.errors import UserError


def not_the_data(path: Path | None, checked: Sequence[str]) -> None:
    """Raise :class:`UserError` if the file of bad rows would overwrite the data that are checked, or lie among them.

    A file in a data folder would be read as data by the next check.
    """
    for data in checked:
        if path is not None and Path(data).resolve() in (path.resolve(), path.resolve().parent):
            raise UserError(f"{path}: is data that is checked, or would be the next time; give another place")


@contextmanager
def bad_rows_file(path: Path | None, force: bool = False) -> Iterator[Sink | None]:
    """A sink that writes each problem, with the raw row that has it, as a line of JSON; None for no path.

    The file is there, whole, when the context has ended well.

    Raises:
        UserError: there is such a file already (without ``force``), or none can be written there.
    """
    if path is None:
        yield None
        return
    if path.exists() and not force:
        raise UserError(f"{path}: is there already; give another name, or --force to overwrite it")
    check_writable(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            temporary = Path(file.name)
            try:
                yield lambda problem, raw: _write(file, problem, raw)
                file.flush()
                os.fsync(file.fileno())
                temporary.chmod(0o644)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)


def _write(file: IO[str], problem: Problem, raw: object) -> None:
    told = asdict(problem)
    try:
        line = json.dumps(told if raw is None else {**told, "row": raw}, allow_nan=False, default=str)
    except ValueError:  # NaN, which JSON has not
        line = json.dumps({**told, "row": ascii(raw)})
    except RecursionError:  # nested as deep as could just be read
        line = json.dumps(told)
    file.write(line + "\n")
