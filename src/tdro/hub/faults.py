"""Says in a line what is wrong where the hub or the network refuses, and what to do; asks again where it may pass.

The libraries that read from the hub wrap its errors in each other's: transformers says that it could not connect where
the hub said "too many requests". :func:`hub_fault` looks through all of them for the one that says most. See
docs/decisions.md, one-line-for-the-hub and docs/decisions.md, asked-again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_LOG_IN = "`hf auth login`, or HF_TOKEN"
# Of httpx, under whatever name the hub's client has it, of the client, the standard library and aiohttp.
_NETWORK = {
    *("TransportError", "TimeoutException", "LocalEntryNotFoundError"),
    *("ConnectionError", "TimeoutError", "IncompleteRead", "ClientError"),
}
_WAITS = (1.0, 2.0, 4.0)  # seconds
_LONGEST_WAIT = 60.0


def hub_fault(error: BaseException, name: str, kind: str = "model") -> str | None:
    """What went wrong at the hub or on the way there, in one line that says what to do; None for any other error.

    Args:
        error: as a library raised it; the errors that it was raised from are looked at too. If it is about another
            repository than ``name``, the line names both.
        name: the repository's id, or whatever the user called it.
        kind: what it is: "model" or "data set".

    Example::

        hub_fault(error, "owner/name")  # "owner/name: gated on the hub; ask for access at https://…/owner/name, then …"
    """
    from huggingface_hub import constants, errors

    chain = list(_causes(error))
    repo = str(next(filter(None, (getattr(one, "repo_id", None) for one in chain)), name))
    if repo.lower() != name.lower():  # such as the base of an adapter
        name = f"{name}: {repo}"

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(one, kinds) for one in chain)

    status = _status(chain)
    if has(errors.GatedRepoError) or "gated dataset" in str(error):
        folder = "datasets/" if kind == "data set" else ""
        return (
            f"{name}: gated on the hub; ask for access at {constants.ENDPOINT}/{folder}{repo}, then log in ({_LOG_IN})"
        )
    if has(errors.RevisionNotFoundError):
        return f"{name}: the hub has no such revision of it"
    if any("Invalid credentials" in str(one) for one in chain):
        return f"{name}: the hub does not know your token; log in again ({_LOG_IN}), or remove it"
    if has(errors.RepositoryNotFoundError) or "doesn't exist on the Hub" in str(error):
        return (
            f"{name}: no such file or folder here, and no such {kind} on the hub; for a private one, log in ({_LOG_IN})"
        )
    if has(errors.RemoteEntryNotFoundError):
        return f"{name}: the hub has no such file"
    if said := _by_status(status):
        return f"{name}: {said}"
    if _is_network(chain) and not Path(name).exists():  # a folder that is here says more by its own error
        if constants.HF_HUB_OFFLINE:
            return f"{name}: not here and never downloaded, and HF_HUB_OFFLINE forbids asking the hub; unset it"
        return f"{name}: the connection to {constants.ENDPOINT} failed; run the same command again, which goes on"
    return None


def ask_patiently(ask: Callable[[], Answer], name: str) -> Answer:
    """What ``ask`` returns; it is asked up to three times more where the hub is busy or the connection fails.

    Args:
        ask: a question to the hub, which its client asks only once.
        name: the repository's id, for the log.
    """
    from huggingface_hub import constants

    for wait in _WAITS:
        try:
            return ask()
        except Exception as error:  # as in hub_fault
            chain = list(_causes(error))
            status = _status(chain)
            lost = status is None and _is_network(chain) and not constants.HF_HUB_OFFLINE
            if not (lost or status == 429 or (status is not None and status >= 500)):
                raise
            seconds = _asked_to_wait(chain) or wait
            logger.info("%s: the hub is busy or not reached; asking again in %g s", name, seconds)
            time.sleep(seconds)
    return ask()


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and those it was raised from or during, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop(0)
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__]


def _by_status(status: int | None) -> str:
    """What an HTTP status means and what to do; empty for one that means nothing by itself."""
    if status == 429:
        return (
            "too many requests, says the hub (429); run the same command again in some minutes, "
            f"or log in for more ({_LOG_IN})"
        )
    if status is not None and status >= 500:
        return f"the hub has a fault ({status}); run the same command again later"
    if status in (401, 403):
        return f"the hub does not let you ({status}); log in with a token that may ({_LOG_IN})"
    return ""


def _is_network(chain: list[BaseException]) -> bool:
    """Whether nobody answered, or not to the end."""
    return any(base.__name__ in _NETWORK for one in chain for base in type(one).__mro__)


def _status(chain: list[BaseException]) -> int | None:
    """The HTTP status that the hub answered with, if it answered."""
    found = (getattr(getattr(one, "response", None), "status_code", None) for one in chain)
    return next((status for status in found if isinstance(status, int)), None)


def _asked_to_wait(chain: list[BaseException]) -> float | None:
    """The seconds after which the hub wants to be asked again, if it says so and they are not many."""
    for one in chain:
        headers = getattr(getattr(one, "response", None), "headers", None) or {}
        said = str(headers.get("Retry-After") or "")
        if said.isdigit() and float(said) <= _LONGEST_WAIT:
            return float(said)
    return None
