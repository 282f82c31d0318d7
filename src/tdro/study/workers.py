"""Who makes the pieces of a study: this process, or several processes of this machine (:mod:`tdro.workers`).

A Ray cluster is in :mod:`tdro.study.on_ray`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tdro.study.pieces import Piece, make_piece
from tdro.workers import Workers

Done = Callable[[Piece, float], None]


class Runner(Protocol):
    """Makes pieces somewhere: in this process, in others, or on a cluster."""

    def __call__(self, pieces: Sequence[Piece], root: Path, done: Done) -> None:
        """Make all pieces, in any order, and call ``done`` with each and its seconds.

        Raises:
            UserError: what a stage raises, or a piece with which worker after worker dies.
        """


def in_this_process(pieces: Sequence[Piece], root: Path, done: Done) -> None:
    """Make one piece after the other here."""
    for piece in pieces:
        done(piece, make_piece(piece, root))


@dataclass(frozen=True)
class MakePiece:
    """A piece and the folder of all studies of its recipe, as they are sent to whoever makes it."""

    piece: Piece
    root: Path

    @property
    def title(self) -> str:
        """The piece's."""
        return self.piece.title

    def __call__(self) -> float:
        """Make the piece; the seconds that it took."""
        return make_piece(self.piece, self.root)


class InProcesses:
    """Makes pieces in ``count`` processes, which are started when there is work and end with the block.

    Example::

        with InProcesses(2) as runner:
            run_study(question, runner)
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._workers: Workers | None = None
        self._open = ExitStack()

    def __enter__(self) -> InProcesses:
        return self

    def __exit__(self, *raised: object) -> None:
        self._open.__exit__(*raised)  # type: ignore[arg-type]
        self._workers = None

    def __call__(self, pieces: Sequence[Piece], root: Path, done: Done) -> None:
        """See :class:`Runner`."""
        if self._workers is None:
            self._workers = self._open.enter_context(Workers(self.count, __name__, root / "logs"))
        for task, seconds in self._workers.do([MakePiece(piece, root) for piece in pieces]):
            done(task.piece, seconds)
