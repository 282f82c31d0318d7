"""The command line's main: parses, calls the command, and prints its error.

The commands are in :mod:`tdro.commands`. Nothing heavy is imported here, so that ``tdro --help`` is there at once.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from tdro.commands.parser import command_line
from tdro.console import end_bars, lines_go, visible
from tdro.disk import disk_error_line
from tdro.errors import UserError, first_line
from tdro.launch import LAUNCHED, launch, wants_launch


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Args:
        arguments: what was typed after ``tdro``; None: ``sys.argv``.

    Returns:
        0 if all went well, 1 if ``data check --strict`` found something, 2 for an error that the user can mend (a
        :class:`UserError`, a disk that cannot be written to, a device without memory), 130 after Ctrl-C. Any other
        exception is a bug and is raised, so that its traceback is seen. docs/commands.md says so to users.
    """
    parser = command_line()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 2
    lines_go(shown=not options.quiet, to_errors=getattr(options, "json", False))
    try:
        if wants_launch(options):
            return launch(sys.argv[1:] if arguments is None else arguments, options.processes)
        status = options.function(options)
        sys.stdout.flush()
        return status or 0
    except UserError as error:
        end_bars()
        _print_error(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        if LAUNCHED not in os.environ or "RANK" not in os.environ:  # else the process that launched this one says so
            _print_error("\nstopped; the same command continues the run")
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has what it wants
        _drop_output()
    except Exception as error:
        line = disk_error_line(error) or _memory_error_line(error)
        if line is None:
            raise
        end_bars()
        unnamed = getattr(error, "filename", None) is None  # as when a print fails
        _print_error(f"error: {_drop_output(write_first=unnamed) or line}")
        return 2
    finally:
        lines_go(shown=True)  # for a caller that goes on in this process
    return 0


def _memory_error_line(error: Exception) -> str | None:
    """What to say if a device has no memory left, as in ``tdro evaluate``; None for any other error."""
    if "torch" not in sys.modules or not isinstance(error, RuntimeError):
        return None
    from tdro.machine import ran_out_of_memory

    if not ran_out_of_memory(error):
        return None
    return (
        f"the device ran out of memory ({first_line(error)})\n"
        "End other processes that use it, or use the CPU: CUDA_VISIBLE_DEVICES= before the command."
    )


def _print_error(line: str) -> None:
    """Print to the terminal's error stream, once even if all ranks have the same error.

    The first rank prints at once. The others wait: when a rank fails, the launcher ends the others within a tenth of a
    second, so only a rank that fails alone gets to print its error.
    """
    if rank := int(os.environ.get("RANK", "0")):
        time.sleep(5)
        line = f"rank {rank}: {line}"
    print(visible(line), file=sys.stderr, flush=True)


def _drop_output(write_first: bool = False) -> str:
    """Throw away what is still to be printed, if it cannot be printed.

    Args:
        write_first: write an empty line first, which fails if the output is full: a print that failed leaves nothing
            behind that could fail again.

    Returns:
        what is wrong with the output; empty if nothing is.
    """
    try:
        if write_first:
            print()
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return f"the output cannot be written ({error.strerror}); send it elsewhere"
    return ""
