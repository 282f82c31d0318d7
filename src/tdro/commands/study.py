"""``tdro study NAME RECIPE``: runs a study of learned weights; without a name, lists the studies that there are."""

from __future__ import annotations

import argparse

from tdro.commands.arguments import whole_number
from tdro.commands.output import add_json, print_answer
from tdro.errors import UserError

NAME = "study"
SUMMARY = "answer a question about learned weights on your data, such as how many tasks can go; alone: list them"
EXAMPLE = "tdro study selection quickstart --workers 2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="a built-in study, or the file of one's own")
    parser.add_argument(
        "recipe", metavar="RECIPE", nargs="?", help="the file of a recipe, or the name of a built-in one"
    )
    parser.add_argument(
        "--seeds",
        metavar="N",
        type=whole_number("seeds"),
        help="trainings of each variant (default: the study's own)",
    )
    parser.add_argument(
        "--group", metavar="NAME", help="which group of fine-tunings of the recipe (default: the first)"
    )
    parser.add_argument("--plan", action="store_true", help="say what it would cost, and do nothing")
    parser.add_argument(
        "--workers",
        metavar="N",
        type=whole_number("workers"),
        default=1,
        help="processes that share the variants, each on a core or a GPU of its own (default: 1)",
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="share the variants on this Ray cluster, or start one: local")
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """List the studies, say what one would cost, or run it and print its answer."""
    from tdro.study.schema import find_study

    if options.name is None:
        questions = _questions()
        print_answer(options, questions, lambda: _list(questions))
        return
    path = find_study(options.name)
    if options.recipe is None:
        raise UserError(f"name the recipe too: tdro study {options.name} RECIPE")
    from tdro.recipe.builtin import find
    from tdro.recipe.schema import load_recipe

    recipe = load_recipe(find(options.recipe))
    from tdro.study.cost import cost_page
    from tdro.study.engine import Question, plan_study, run_study

    question = Question.of(path, recipe, options.seeds, options.group)
    if options.plan:
        costs = plan_study(question)
        print_answer(options, costs, lambda: cost_page(costs, options.workers))
    elif options.ray:
        from tdro.study.on_ray import OnRay

        with OnRay(options.ray, recipe) as cluster:
            answer = run_study(question, cluster, cluster.machine())
            print_answer(options, answer, lambda: str(answer))
    else:
        from tdro.study.workers import InProcesses

        with InProcesses(options.workers) as processes:
            answer = run_study(question, processes)
            print_answer(options, answer, lambda: str(answer))


def _questions() -> dict[str, str]:
    """The question of each built-in study."""
    from tdro.study.schema import built_in, find_study, load_study

    return {name: load_study(find_study(name)).question or "" for name in built_in()}


def _list(questions: dict[str, str]) -> str:
    from tdro.terminal_table import terminal_table

    rows = [[name, question] for name, question in questions.items()]
    return terminal_table(["study", "question"], rows, left=["question"]) + "\n\nRun one: tdro study NAME RECIPE"
