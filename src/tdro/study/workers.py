"""Makes pieces in processes of this machine, each on a core or a GPU of its own.

Every process takes the next piece when it is done with one. If a process dies, killed for its memory, say, its piece
alone is lost; another process takes its place and the piece is tried again.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from tdro.errors import UserError
from tdro.study.pieces import Piece

_SECONDS_TO_END = 5
TRIES = 3  # a piece is given up when so many processes have died with it
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
    from tdro.study.pieces import make_piece

    for piece in pieces:
        done(piece, make_piece(piece, root))


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    piece: Piece | None = None


class InProcesses:
    """Makes pieces in ``count`` processes, which are started when there is work and end with the block.

    Example::

        with InProcesses(2) as runner:
            run_study(question, runner)
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._workers: list[_Worker] = []

    def __enter__(self) -> InProcesses:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for worker in self._workers:
            worker.pipe.close()  # at which a process that waits for work ends
        for worker in self._workers:
            if kind is None:
                worker.process.join(_SECONDS_TO_END)
            worker.process.terminate()
            worker.process.join()
        self._workers = []

    def __call__(self, pieces: Sequence[Piece], root: Path, done: Done) -> None:
        """See :class:`Runner`."""
        waiting, deaths = deque(pieces), Counter[str]()
        while len(self._workers) < min(self.count, len(pieces)):
            self._workers.append(_start(len(self._workers), root))
        while waiting or any(worker.piece for worker in self._workers):
            for worker in self._workers:
                if worker.piece is None and waiting:
                    worker.piece = waiting.popleft()
                    with contextlib.suppress(OSError):  # it has died; its end is seen below
                        worker.pipe.send(worker.piece)
            ready = wait([worker.pipe for worker in self._workers if worker.piece])
            for number, worker in enumerate(self._workers):
                if worker.pipe in ready and not _receive(worker, done):
                    waiting.appendleft(_lost(worker, deaths))
                    self._workers[number] = _start(number, root)


def _start(number: int, root: Path) -> _Worker:
    with _quiet_children():
        if sys.platform == "win32":
            process, here = _process(multiprocessing.get_context("spawn"), number, root)
        else:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["tdro.study.worker"])  # torch is imported once, not by every worker
            process, here = _process(context, number, root)
    return _Worker(process, here)


def _process(context: Any, number: int, root: Path) -> tuple[Any, Connection]:
    """A started process, and the end of its pipe that is ours."""
    from tdro.study.worker import work

    here, there = context.Pipe()
    process = context.Process(target=work, args=(number, there, str(root)), daemon=True)
    process.start()
    there.close()
    return process, here


@contextlib.contextmanager
def _quiet_children() -> Iterator[None]:
    """Processes that are started inside have no progress bars of their own, and compute on one core."""
    wanted = {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _receive(worker: _Worker, done: Done) -> bool:
    """Take what a worker has sent; whether it is still alive."""
    try:
        answer = worker.pipe.recv()
    except (EOFError, OSError):
        return False
    piece, worker.piece = worker.piece, None
    assert piece is not None
    done(piece, taken(piece, answer))
    return True


def taken(piece: Piece, answer: tuple[str, float | str]) -> float:
    """The seconds in a worker's answer (see :func:`tdro.study.worker.answer`); its error is raised here."""
    kind, value = answer
    if kind == "user error":
        raise UserError(f"{piece.title}: {value}")
    if kind == "error":
        raise RuntimeError(f"{piece.title}: {value}")
    return float(value)


def _lost(worker: _Worker, deaths: Counter[str]) -> Piece:
    piece = worker.piece
    assert piece is not None
    worker.process.join()
    deaths[piece.key] += 1
    if deaths[piece.key] == TRIES:
        code = worker.process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit status {code}"
        raise UserError(
            f"{piece.title}: its process died {TRIES} times ({how}).\n"
            "If the machine has run out of memory, use fewer --workers; what is done is kept."
        )
    return piece
