"""How tests start processes: forks of the test's own process, ranks among them, and processes as users start them.

A fork has imported everything; to start Python and import torch again takes longer than most of what tests do there.
See docs/decisions.md, ranks-are-forks.
None of them can hang a test: after ``SECONDS`` each prints where all its threads stand, and is ended.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing import util as _multiprocessing
from pathlib import Path
from typing import Any
from unittest import mock

HERE = Path(__file__).parent
SECONDS = 600
FAULTS = {"PYTHONFAULTHANDLER": "1"}  # Python prints its stacks when it is aborted


# ---- forks


def fork(work: Callable[[], Any], output: Path, seconds: float | None = SECONDS) -> int:
    """Do something in a fork of this process, which prints to the file ``output``; returns its process id.

    The fork ends with status 0 when ``work`` has returned, and with 1 when it has raised or taken too long.
    Give no ``seconds`` if it forks in turn: the thread that counts them is missing in its forks, and waited for there.
    """
    gc.freeze()  # or each training of a fork collects, and so copies, all that is imported here
    if child := os.fork():
        return child
    status = 1
    try:
        _print_to(output)
        if seconds is not None:
            faulthandler.dump_traceback_later(seconds, exit=True, file=2)
        _alone()
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)  # nothing of pytest's is cleaned up here, and no thread is waited for


def _print_to(output: Path) -> None:
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(file, number)
        setattr(sys, name, open(number, "w", buffering=1, closefd=False))  # noqa: SIM115


def _alone() -> None:
    """Leave what a fork must not share with its parent: threads, which are not here, and locks that they may hold."""
    import torch
    from accelerate.state import AcceleratorState, GradientState
    from tqdm import tqdm

    os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # the other one is shared, and stays locked if a fork is killed just then
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def ended(children: Sequence[int]) -> list[int]:
    """Wait for forks; returns their exit codes. When one fails, the others are killed, as torchrun does."""
    codes: dict[int, int] = {}
    try:
        while len(codes) < len(children):
            for child in set(children) - codes.keys():
                pid, status = os.waitpid(child, os.WNOHANG)
                if pid:
                    codes[pid] = os.waitstatus_to_exitcode(status)
            if any(codes.values()):
                break
            time.sleep(0.005)
    finally:
        if left := set(children) - codes.keys():
            time.sleep(0.05)  # it may be about to end by itself
        for child in left:
            os.kill(child, signal.SIGKILL)
            codes[child] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [codes[child] for child in children]


def in_fork(work: Callable[[], Any], folder: Path, seconds: float | None = SECONDS) -> int:
    """Do something in a fork; returns its exit code, which is negative if a signal has ended it."""
    output = _new_file(folder)
    (code,) = ended([fork(work, output, seconds)])
    if code > 0:
        print(output.read_text(errors="replace")[-4000:])  # pytest shows it if the test fails
    return code


def run_in_fork(
    work: Callable[[], int | None], folder: Path, seconds: float | None = SECONDS
) -> subprocess.CompletedProcess[str]:
    """What a command would do, in a fork; ``work`` returns its exit status. All that it prints is in ``stdout``.

    It may start processes of its own, which find the environment of :func:`environment`.
    """
    output = _new_file(folder)

    def process() -> None:
        os.environ |= environment()
        status = work()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status or 0)

    (code,) = ended([fork(process, output, seconds)])
    return subprocess.CompletedProcess([], code, output.read_text(errors="replace"), "")


# ---- workers


def fork_server_is_a_fork() -> None:
    """From now on, the server of which ``tdro.workers`` forks its processes is itself a fork of this process.

    By itself it is a new Python, which imports all that workers need: that takes longer than the tests' work in them.
    """
    _multiprocessing.spawnv_passfds = _fork_if_server


@contextlib.contextmanager
def real_fork_server() -> Iterator[None]:
    """Inside, the server is a new Python, as it is for users; it finds the modules of the tests too."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    _multiprocessing.spawnv_passfds = _SPAWN
    try:
        with mock.patch.dict(os.environ, PYTHONPATH=environment()["PYTHONPATH"]):
            yield
    finally:
        forkserver._forkserver._stop()  # type: ignore[attr-defined]
        fork_server_is_a_fork()


_SPAWN = _multiprocessing.spawnv_passfds


def _fork_if_server(path: bytes, arguments: Sequence[str], passed: Sequence[int]) -> int:
    if "multiprocessing.forkserver" not in arguments[-1]:
        return _SPAWN(path, arguments, passed)

    def serve() -> None:
        ends = {(status.st_dev, status.st_ino) for status in map(os.fstat, passed)}
        for number in (int(path.name) for path in list(Path("/dev/fd").iterdir())):
            with contextlib.suppress(OSError):  # the one that lists them is closed by now
                status = os.fstat(number)
                if number not in passed and (status.st_dev, status.st_ino) in ends:
                    os.close(number)  # the other end of a pipe: the server ends when nobody has it any more
        exec(arguments[-1], {"__name__": "__main__"})

    return fork(serve, Path(os.devnull), seconds=None)


# ---- ranks


def become_rank(rank: int, world: int, meeting: Path) -> None:
    """Make this process a rank, as torchrun would, and wait for the others, which meet in the file ``meeting``."""
    from datetime import timedelta

    import torch
    from accelerate import PartialState

    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    os.environ |= {name: str(value) for name, value in ranks.items()}
    torch.distributed.init_process_group(  # a file and no port: nobody else can take it
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=world, timeout=timedelta(seconds=SECONDS / 2)
    )
    PartialState(cpu=True)


def in_ranks(world: int, work: Callable[[Any], Any], folder: Path) -> None:
    """Do ``work(machine)`` on all ranks, which are forks of this process. Fails with what they print if one fails."""
    from tdro.machine import this_machine

    outputs = [_new_file(folder) for _ in range(world)]
    meeting = outputs[0].with_suffix(".meeting")

    def rank(number: int) -> None:
        become_rank(number, world, meeting)
        work(this_machine("cpu", "fp32"))

    children = [fork(lambda number=number: rank(number), outputs[number]) for number in range(world)]
    codes = ended(children)
    assert not any(codes), "\n".join(
        f"rank {number}: exit code {code}\n{output.read_text(errors='replace')[-3000:]}"
        for number, (code, output) in enumerate(zip(codes, outputs, strict=True))
    )


def torchrun_forks(main: Callable[[list[str]], int]) -> None:
    """Have torch's launcher fork this process, for the rest of its life, where it would start Python for each rank.

    Each fork calls ``main`` with the command's arguments. All else is the launcher's: how ranks meet, whom it kills.
    """
    import torch.distributed.run as launcher

    settings_of = launcher.config_from_args

    def rank(*arguments: str) -> None:
        _alone()
        sys.exit(main(list(arguments)))

    def settings(options: Any) -> tuple[Any, Any, list[str]]:
        found, _, arguments = settings_of(options)
        found.start_method = "fork"
        return found, rank, arguments[arguments.index("-m") + 2 :]

    launcher.config_from_args = settings


def _new_file(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(".txt", "output-", folder)
    os.close(number)
    return Path(name)


# ---- processes as users start them


def end_with_stacks(process: subprocess.Popen[str]) -> None:
    """End a process and all that it has started; those of Python print their threads' stacks."""
    import psutil  # accelerate needs it too

    tree = [*psutil.Process(process.pid).children(recursive=True), process]
    for sent in (signal.SIGABRT, signal.SIGKILL):
        for one in tree:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                one.send_signal(sent)
        time.sleep(1)
    process.wait()


def environment(**more: str) -> dict[str, str]:
    """The environment of a process of ours, on one thread."""
    path = os.pathsep.join([str(HERE.parent / "src"), str(HERE)])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "TQDM_DISABLE": "1", **FAULTS, **more}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def launcher(configuration: str, *more: str) -> list[str]:
    """``accelerate launch`` of two ranks with one of the examples' configurations."""
    file = HERE.parent / "examples" / "accelerate" / configuration
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(file)]
    return [*command, "--num_processes", "2", "--main_process_port", "0", *more]
