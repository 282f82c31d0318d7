"""The command line: each command parses, calls one function, and prints. No logic, nothing heavy at import.

A :class:`UserError` is printed in its one or two lines with exit status 2, and so is a disk that cannot be written to;
Ctrl-C ends with 130 and says how to go on; any other exception is a bug and keeps its traceback. Rejected: click and
typer, for their import time.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tdro import __version__
from tdro.commands import compare, data, evaluate, init, inspect, plan, weights
from tdro.console import end_bars, visible
from tdro.disk import told
from tdro.errors import UserError
from tdro.launch import LAUNCHED, launch, takes_processes, wants_launch

COMMANDS = (compare, data, init, inspect, plan, weights)  # besides the stages, in the order of --help

STAGES = {
    "reference": "stage 0: train the reference with uniform weights",
    "learn": "stage 1: learn the weights of the tasks",
    "finetune": "stage 2: fine-tune by each mixture and seed",
    "evaluate": "score every model on the test sets and compare the mixtures; with --on: any models on benchmarks",
    "report": "write the report, one HTML file",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command (``sys.argv`` if none is given) and return its exit status: 0, 1 (``check --strict``), 2 or 130."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 2
    try:
        if wants_launch(options):
            return launch(sys.argv[1:] if arguments is None else arguments, options.processes)
        status = options.function(options)
        sys.stdout.flush()
        return status or 0
    except UserError as error:
        end_bars()
        _complain(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        if LAUNCHED not in os.environ or "RANK" not in os.environ:  # else the process that launched this one says so
            _complain("\nstopped; the same command continues the run")
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has what it wants
        _forget_output()
    except Exception as error:
        line = told(error)
        if line is None:
            raise
        end_bars()
        _complain(f"error: {_forget_output() or line}")
        return 2
    return 0


def _complain(line: str) -> None:
    """Print to the terminal's error stream; of several ranks with the same error, the first one does.

    The others wait: when a rank fails, the launcher ends them within a tenth of a second. A rank that fails alone is
    heard.
    """
    if rank := int(os.environ.get("RANK", "0")):
        time.sleep(5)
        line = f"rank {rank}: {line}"
    print(visible(line), file=sys.stderr, flush=True)


def _forget_output() -> str:
    """Let what is still to be printed go nowhere if it cannot be printed; says so if the disk is why."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return f"the output cannot be written ({error.strerror}); send it elsewhere"
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tdro",
        description="Learn how much of each data set to fine-tune an embedding model on (task-level DRO).",
        epilog="Begin with: tdro run quickstart",
    )
    parser.add_argument("--version", action="version", version=f"tdro {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    text = "run all stages of a recipe; done and unchanged ones are skipped"
    run = commands.add_parser("run", help=text, description=text, epilog="Example: tdro run quickstart")
    _takes_recipe(run)
    _takes_merge(run)
    takes_processes(run)
    run.set_defaults(function=_run, stages=None)
    for stage, text in STAGES.items():
        example = "quickstart" if stage != "evaluate" else "MODEL --on nano-beir"
        command = commands.add_parser(stage, help=text, description=text, epilog=f"Example: tdro {stage} {example}")
        if stage == "evaluate":
            evaluate.arguments(command)
            takes_processes(command)
            command.set_defaults(function=_evaluate)
            continue
        _takes_recipe(command)
        if stage != "report":
            takes_processes(command)
        if stage == "finetune":
            _takes_merge(command)
        command.set_defaults(function=_run, stages=(stage,))

    text = "build the sample mixture of real text, and print where it is and its licences"
    sample = commands.add_parser("sample", help=text, description=text, epilog="Example: tdro sample my-folder")
    sample.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, help="where (default: the user's cache)")
    sample.set_defaults(function=_sample)

    text, example = "print a built-in recipe, to save and edit", "Example: tdro recipe quickstart > recipe.yaml"
    recipe = commands.add_parser("recipe", help=text, description=text, epilog=example)
    recipe.add_argument("name", metavar="NAME", nargs="?", help="of the recipe (default: list their names)")
    recipe.add_argument("--keys", action="store_true", help="print what every key of a recipe means instead")
    recipe.set_defaults(function=_recipe)
    for module in COMMANDS:
        module.add(commands)
    return parser


def _takes_recipe(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", metavar="RECIPE", help="a recipe's file, or the name of a built-in recipe")
    command.add_argument(
        "--force",
        action="store_true",
        help="do it anew where other settings or another recipe made it (default: refuse)",
    )


def _takes_merge(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--merge", action="store_true", help="save LoRA adapters merged, in every group (default: as the recipe says)"
    )


def _run(options: argparse.Namespace) -> None:
    from tdro.recipe.builtin import find
    from tdro.recipe.schema import load_recipe

    # Whatever is wrong with it shows before anything heavy is imported.
    recipe = load_recipe(find(options.recipe), data_may_be_gone=options.stages in (("evaluate",), ("report",)))
    if getattr(options, "merge", False):
        recipe = recipe.merged()
    # Idle OpenMP threads sleep instead of spinning: on a machine that does something else besides, spinning makes the
    # small steps of a static model four times as slow (100 steps on 2 busy cores: 11 to 14 s against 3). Read by the
    # OpenMP library when torch is loaded, so it must stand here.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Large tensors in huge pages: a training step of SmolLM2's first 6 layers took 9.5 s of CPU instead of 12.6.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from tdro.run.pipeline import run_recipe

    run_recipe(recipe, options.stages, options.force)


def _evaluate(options: argparse.Namespace) -> None:
    if options.on:
        evaluate.evaluate_on(options)
    else:
        options.recipe, options.stages = evaluate.recipe_of(options), ("evaluate",)
        _run(options)


def _sample(options: argparse.Namespace) -> None:
    from tdro.disk import cache_folder
    from tdro.quickstart import build_sample, licence_table

    print(build_sample(options.folder or cache_folder() / "sample-mixture"))
    print(licence_table())


def _recipe(options: argparse.Namespace) -> None:
    from tdro.recipe.builtin import built_in, built_in_file

    if options.keys:
        from tdro.recipe.explain import keys_as_markdown

        print(keys_as_markdown(), end="")
    elif options.name is None:
        print("\n".join(built_in()))
    else:
        print(built_in_file(options.name).read_text(encoding="utf-8"), end="")
