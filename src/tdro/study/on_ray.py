"""Makes pieces on a Ray cluster: each is a task that asks for a core, or for a GPU where the cluster has some.

All machines must see the folder of the studies under one path, as they must for any run on several machines. When a
machine or a process dies, Ray gives its pieces to others; what was done is on disk and stays. See docs/decisions.md,
pieces-not-trials.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tdro.errors import UserError, first_line
from tdro.machine import Machine
from tdro.recipe.schema import Recipe
from tdro.study.pieces import Piece
from tdro.study.workers import Done, MakePiece
from tdro.workers import TRIES, taken

_SECONDS_TO_ANSWER = 10


class OnRay:
    """A cluster that makes pieces; see :class:`tdro.study.workers.Runner`.

    Args:
        address: of the cluster, as ``ray.init`` takes it (``auto``, ``HOST:PORT``, ``ray://HOST:PORT``); ``local``
            starts one on this machine, which ends with the block.
        recipe: whose device and precision the cluster's machines are asked about.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.

    Example::

        with OnRay("auto", recipe) as cluster:
            run_study(question, cluster, cluster.machine())
    """

    def __init__(self, address: str, recipe: Recipe) -> None:
        self.address, self.recipe = address, recipe

    def __enter__(self) -> OnRay:
        try:
            import ray
        except ModuleNotFoundError:
            raise UserError("--ray: Ray is not installed; pip install 'tdro[ray]'") from None
        _check_reachable(self.address)
        environment = {"TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false"}
        try:
            ray.init(
                address=self.address,
                ignore_reinit_error=True,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": environment},
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"--ray {self.address}: no cluster there ({first_line(error)})") from None
        return self

    def __exit__(self, *raised: object) -> None:
        import ray

        ray.shutdown()

    def machine(self) -> Machine:
        """What the tasks compute on. A piece's key says in which precision it was made, so this must be known here."""
        import ray

        found: Machine = ray.get(self._task(_machine).remote(self.recipe))
        return found

    def __call__(self, pieces: Sequence[Piece], root: Path, done: Done) -> None:
        """Make all pieces; see :class:`tdro.study.workers.Runner`."""
        import ray

        make = self._task(_make)
        running = {make.remote(piece, str(root), str(Path.cwd())): piece for piece in pieces}
        try:
            while running:
                (finished,), _ = ray.wait(list(running))
                piece = running.pop(finished)
                try:
                    done(piece, taken(piece.title, ray.get(finished)))
                except ray.exceptions.RayError as error:
                    raise UserError(
                        f"{piece.title}: {TRIES} workers of the cluster died with it ({first_line(error)}).\n"
                        "What is done is kept; the same command goes on."
                    ) from None
        finally:
            for task in running:
                ray.cancel(task)

    def _task(self, function: Any) -> Any:
        """A function as a Ray task with the core or the GPU that it needs."""
        import ray

        on_gpu = self.recipe.device != "cpu" and ray.cluster_resources().get("GPU", 0) >= 1
        task: Any = ray.remote(function)
        return task.options(num_cpus=1, num_gpus=1 if on_gpu else 0, max_retries=TRIES - 1)


def _machine(recipe: Recipe) -> Machine:
    from tdro.machine import this_machine

    return this_machine(recipe.device, recipe.precision)


def _make(piece: Piece, root: str, folder: str) -> tuple[str, float | str]:
    """Make a piece on whatever machine this is, in the folder of the one that asks: paths may be relative to it."""
    import socket

    from tdro.workers import answer

    if not Path(root).is_dir() or not Path(folder).is_dir():
        missing = root if not Path(root).is_dir() else folder
        return "user error", f"{missing} is not on {socket.gethostname()}; all machines of the cluster must see it"
    os.chdir(folder)
    return answer(MakePiece(piece, Path(root)))


def _check_reachable(address: str) -> None:
    """Refuse a ``HOST:PORT`` at which nobody answers: Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # a word of Ray's own, such as auto
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--ray {address}: no cluster there ({first_line(error)})") from None
