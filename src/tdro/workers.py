"""Processes of this machine that share tasks, each on a core or a GPU of its own.

Every process takes the next task when it is done with one. If a process dies, killed for its memory, say, its task
alone is lost; another process takes its place and the task is tried again. ``tdro run --workers`` trains and evaluates
models in them, ``tdro study --workers`` makes its pieces. See docs/decisions.md, workers-that-may-die.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from tdro.console import SAID, say_once
from tdro.errors import UserError

TRIES = 3  # a task is given up when so many processes have died with it
_SECONDS_TO_END = 5


class Task(Protocol):
    """What a process is sent: a value that can be pickled, and called there without arguments."""

    @property
    def title(self) -> str:
        """What it does, for people."""

    def __call__(self) -> Any:
        """Do it. What it returns is sent back."""


AnyTask = TypeVar("AnyTask", bound=Task)


@dataclass
class _Worker(Generic[AnyTask]):
    process: Any
    pipe: Connection
    task: AnyTask | None = None


@dataclass
class Workers:
    """``count`` processes, which are started when there is work and end with the block.

    Attributes:
        count: how many. On a machine with GPUs, worker n uses GPU n, or shares it if there are fewer.
        preload: a module that all of them need; it is imported once, before they part.
        logs: a folder; what worker n prints goes to ``worker-n.log`` there. What it logs goes to this process's log.
        threads: that each computes with on a CPU.

    Example::

        with Workers(2, "tdro.run.in_workers", folder / "logs") as workers:
            for task, result in workers.do([MakeStage(...), MakeStage(...)]):
                print(task.title)
    """

    count: int
    preload: str
    logs: Path
    threads: int = 1
    _workers: list[_Worker[Any]] = field(default_factory=list, init=False)

    def __enter__(self) -> Workers:
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

    def do(self, tasks: Iterable[AnyTask]) -> Iterator[tuple[AnyTask, Any]]:
        """Do all tasks, in any order.

        Args:
            tasks: each is asked for when a worker is free, so what an iterator does before a task is done just before
                that task.

        Yields:
            each task when it is done, and what it has returned.

        Raises:
            UserError: what a task raises, or a task with which worker after worker dies.
            RuntimeError: any other error of a task, with its traceback.
        """
        coming, again, deaths = iter(tasks), deque[AnyTask](), Counter[int]()
        while True:
            self._hand_out(coming, again)
            busy = [number for number, worker in enumerate(self._workers) if worker.task]
            if not busy:
                return
            ready = wait([self._workers[number].pipe for number in busy])
            for number in busy:
                worker = self._workers[number]
                if worker.pipe not in ready:
                    continue
                try:
                    sent = worker.pipe.recv()
                except (EOFError, OSError):
                    again.append(_lost(worker, deaths))
                    self._workers[number] = self._start(number)
                    continue
                if isinstance(sent, logging.LogRecord):
                    _pass_on(sent)
                else:
                    task = worker.task
                    assert task is not None
                    worker.task = None
                    yield task, taken(task.title, sent)

    def _hand_out(self, coming: Iterator[AnyTask], again: deque[AnyTask]) -> None:
        """Give each worker that has nothing to do a task, as long as there are any; start workers that are missing."""
        for number in range(self.count):
            if number < len(self._workers) and self._workers[number].task:
                continue
            task = again.popleft() if again else next(coming, None)
            if task is None:
                return
            if number == len(self._workers):
                self._workers.append(self._start(number))
            worker = self._workers[number]
            worker.task = task
            with contextlib.suppress(OSError):  # it has died, which is seen when its answer is awaited
                worker.pipe.send(task)

    def _start(self, number: int) -> _Worker[Any]:
        with _quiet_children(self.threads), _deaf_children():
            if sys.platform == "win32":
                return self._started(multiprocessing.get_context("spawn"), number)
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload([self.preload])  # torch is imported once, not by every worker
            return self._started(context, number)

    def _started(self, context: Any, number: int) -> _Worker[Any]:
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(number, there, self.logs), daemon=True)
        process.start()
        there.close()
        return _Worker(process, here)


def _pass_on(record: logging.LogRecord) -> None:
    """Log what a worker has logged. What it has said (:func:`tdro.console.say`) is printed here too."""
    if record.name == SAID:
        say_once(record.getMessage())
    else:
        logging.getLogger(record.name).handle(record)


def answer(task: Callable[[], Any]) -> tuple[str, Any]:
    """Do a task and say so: ``("done", result)``, ``("user error", message)`` or ``("error", traceback)``."""
    try:
        return "done", task()
    except UserError as error:
        return "user error", str(error)
    except Exception:
        return "error", traceback.format_exc()


def taken(title: str, answered: tuple[str, Any]) -> Any:
    """The result in what :func:`answer` gave; its error is raised here, with the task's title before it."""
    kind, value = answered
    if kind == "user error":
        raise UserError(value if value.startswith(title) else f"{title}: {value}")
    if kind == "error":
        raise RuntimeError(f"{title}: {value}")
    return value


def _lost(worker: _Worker[AnyTask], deaths: Counter[int]) -> AnyTask:
    """The task of a worker that has died, to be tried again."""
    task = worker.task
    assert task is not None
    worker.process.join()
    deaths[id(task)] += 1
    if deaths[id(task)] == TRIES:
        code = worker.process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit status {code}"
        raise UserError(
            f"{task.title}: its process died {TRIES} times ({how}).\n"
            "If the machine has run out of memory, use fewer --workers; what is done is kept."
        )
    return task


@contextlib.contextmanager
def _quiet_children(threads: int) -> Iterator[None]:
    """Processes that are started inside have no progress bars of their own, and compute with so many threads."""
    wanted = {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
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


@contextlib.contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes that are started inside do not hear Ctrl-C, not even while they import; it comes here afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    resource_tracker.ensure_running()  # else it is started first inside, and lets the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ---- in the worker


class _ToPipe(logging.Handler):
    """Sends what is logged to the process that started this one."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None  # what is left can be pickled
        self._pipe.send(record)


def _work(number: int, pipe: Connection, logs: Path) -> None:
    """Do tasks until the pipe is closed."""
    import torch
    from tqdm import tqdm

    from tdro.console import quiet_libraries

    tqdm.set_lock(threading.RLock())  # its own is a semaphore, of which Python warns if a worker is stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _print_to_file(logs / f"worker-{number}.log")
    quiet_libraries()
    logger = logging.getLogger("tdro")
    logger.setLevel(logging.INFO)
    logger.propagate, logger.handlers = False, [_ToPipe(pipe)]
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
    with contextlib.suppress(EOFError, OSError):  # nobody is there any more
        while True:
            pipe.send(answer(pipe.recv()))


def _end_with_parent() -> None:
    """End this process as soon as the one that started it has ended, even if that was killed.

    Else a training would go on for nobody, on a GPU that the next run wants, and in a folder that it writes to.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _print_to_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a", encoding="utf-8", buffering=1)
    sys.stdout.flush()
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
